"""The store's records as the scheduler's values, and a whole scheduler out of one look at the store.

A text is read once for each different text: the instances of a template share what they ask, as long as no
specifier stands in it. A unit whose text cannot be read asks for nothing, and what this version cannot read
at all is left alone: neither placed nor moved.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from skerry.fleet.schedule.constraints import labels_of
from skerry.fleet.schedule.model import NO_WISHES, NodeSpec, UnitSpec
from skerry.fleet.schedule.scheduler import Scheduler
from skerry.fleet.state.document import RecordError
from skerry.fleet.state.node import NODES_PREFIX, PRESENCE_PREFIX, NodeRecord, PresenceRecord
from skerry.fleet.state.placement import PLACEMENTS_PREFIX, PlacementRecord
from skerry.fleet.state.unit import UNITS_PREFIX, DesiredState, UnitRecord
from skerry.host.units.errors import UnitFileError, UnitNameError
from skerry.host.units.name import parse_name
from skerry.host.units.quadlet import companions_of
from skerry.host.units.requirements import FLEET, requirements
from skerry.host.units.skerry_section import SECTION as SKERRY
from skerry.host.units.unit_file import Option, UnitFile, parse_unit

if TYPE_CHECKING:
    from skerry.fleet.store.interface import Store
    from skerry.host.units.requirements import Requirements

T = TypeVar("T")

MOST_TEXTS = 4096
# Where else than in our own sections a unit says what it takes of a machine; see skerry_section.py.
_TELLING = frozenset({"MemoryMax", "MemoryLimit", "CPUQuota", "Memory", "PublishPort"})


class UnitReader:
    """Reads units, and remembers the texts that it has read."""

    def __init__(self) -> None:
        self._texts: dict[bytes, _Text] = {}
        self._companions: dict[bytes, tuple[str, ...]] = {}

    def spec(self, record: UnitRecord) -> UnitSpec:
        """A unit as the scheduler sees it; templates are never active."""
        digest = hashlib.blake2b(record.text.encode(), digest_size=16)
        for drop_in in record.drop_ins:
            digest.update(b"\0" + drop_in.text.encode())
        key = digest.digest()
        text = self._texts.get(key)
        if text is None:
            text = _read(record)
            _keep(self._texts, key, text)
        _, at, instance = record.name.rpartition(".")[0].partition("@")
        active = record.desired is not DesiredState.INACTIVE and not (at and not instance)
        return UnitSpec(record.name, text.asks or _asks(record.name, text.telling), active)

    def companions(self, record: UnitRecord) -> tuple[str, ...]:
        """The Quadlet files that a unit's text names, sorted. Raises UnitFileError."""
        key = hashlib.blake2b(record.text.encode(), digest_size=16).digest()
        found = self._companions.get(key)
        if found is None:
            found = companions_of(parse_unit(record.text, record.name))
            _keep(self._companions, key, found)
        return found


@dataclass(frozen=True, slots=True)
class _Text:
    """`asks` is None where it differs from unit to unit: then `telling` has what is to be read for each."""

    telling: UnitFile
    asks: Requirements | None


def unit_spec(record: UnitRecord) -> UnitSpec:
    """One unit, for those who read few."""
    return UnitReader().spec(record)


def node_spec(node: str, record: NodeRecord | None, presence: PresenceRecord | None) -> NodeSpec:
    """A machine as the scheduler sees it; either record may be missing."""
    return NodeSpec(
        id=node,
        labels=labels_of(record, presence.facts.metadata if presence else {}),
        liveness=presence.liveness if presence else None,
        cordoned=record.cordoned if record else False,
        draining=record.draining if record else False,
        memory_bytes=presence.facts.memory_bytes if presence else 0,
        cpu_millis=presence.facts.cpus * 1000 if presence else 0,
    )


async def read_world(store: Store) -> Scheduler:
    """A scheduler that knows all that the store holds now, and has decided nothing; to ask it.

    Raises StoreError. What cannot be read is left out.
    """
    placements = await store.list(PLACEMENTS_PREFIX)
    units = await store.list(UNITS_PREFIX)
    nodes = await store.list(NODES_PREFIX)
    presences = await store.list(PRESENCE_PREFIX)
    scheduler, reader = Scheduler(), UnitReader()
    unreadable: set[str] = set()
    for entry in units.entries:
        try:
            scheduler.put_unit(reader.spec(UnitRecord.decode(entry.value)))
        except RecordError:
            unreadable.add(entry.key.removeprefix(UNITS_PREFIX))
    records: dict[str, NodeRecord] = {}
    heard: dict[str, PresenceRecord] = {}
    for entry in nodes.entries:
        try:
            records[entry.key.removeprefix(NODES_PREFIX)] = NodeRecord.decode(entry.value)
        except RecordError:
            continue
    for entry in presences.entries:
        try:
            heard[entry.key.removeprefix(PRESENCE_PREFIX)] = PresenceRecord.decode(entry.value)
        except RecordError:
            continue
    for node in sorted(records.keys() | heard.keys()):
        scheduler.put_node(node_spec(node, records.get(node), heard.get(node)))
    for entry in placements.entries:
        try:
            placement = PlacementRecord.decode(entry.value)
        except RecordError:
            continue
        if placement.unit not in unreadable:
            scheduler.placed(placement.unit, placement.node, leaving=placement.leaving)
    return scheduler


def _keep(read: dict[bytes, T], key: bytes, value: T) -> None:
    if len(read) >= MOST_TEXTS:
        read.clear()
    read[key] = value


def _read(record: UnitRecord) -> _Text:
    options: list[Option] = []
    for text in (record.text, *(drop_in.text for drop_in in record.drop_ins)):
        try:
            options.extend(parse_unit(text, record.name).options)
        except UnitFileError:
            continue
    told = tuple(o for o in options if o.section in (FLEET, SKERRY) or o.name in _TELLING)
    telling = UnitFile(record.name, told)
    if any("%" in option.value for option in told):
        return _Text(telling, None)
    return _Text(telling, _asks(record.name, telling))


def _asks(name: str, telling: UnitFile) -> Requirements:
    try:
        return requirements(telling, parse_name(name))[0]
    except UnitNameError:
        return NO_WISHES
