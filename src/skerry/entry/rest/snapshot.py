"""One look at the store: what is wanted of every unit, and what this node reports of it.

A frozen value as of one revision for each half; the verbs plan on it and the lists show it. A record
that this version cannot read is not shown as absent: `unreadable` names it, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from skerry.fleet.state.document import RecordError
from skerry.fleet.state.unit import (
    REPORTS_PREFIX,
    UNITS_PREFIX,
    DesiredState,
    UnitRecord,
    UnitReport,
    report_key,
    unit_key,
)
from skerry.host.units.errors import UnitFileError, UnitNameError
from skerry.host.units.name import parse_name
from skerry.host.units.requirements import Requirements, requirements
from skerry.host.units.unit_file import parse_unit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from skerry.fleet.store.interface import Entry, Store

NO_REQUIREMENTS = Requirements()


@dataclass(frozen=True, slots=True)
class Stored:
    """A record with the revision of its last change, which a transaction compares."""

    record: UnitRecord
    mod_revision: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`revision` is that of the older half: a watch from there misses nothing."""

    revision: int
    units: Mapping[str, Stored]
    reports: Mapping[str, UnitReport]
    unreadable: Mapping[str, str]

    def view(self, name: str, node: str) -> UnitView:
        """A stored unit as clients see it."""
        return view(self.units[name].record, self.reports.get(name), node)


class UnitView(msgspec.Struct, frozen=True):
    """A unit as /v1 shows it; `active`, `sub`, `load` and `result` are systemd's words, "" unknown.

    `machine` is "" while the unit is on no machine. `unit` is what systemd runs: the same name, or the
    service made of a Quadlet file. `report_hash` is the content that the node's words are about.
    """

    name: str
    hash: str
    identity: str
    desired: DesiredState
    current: DesiredState
    machine: str
    is_global: bool
    description: str
    unit: str
    load: str
    active: str
    sub: str
    result: str
    problem: str | None
    report_hash: str
    drop_ins: tuple[str, ...]
    files: tuple[str, ...]


async def take_snapshot(store: Store, node: str) -> Snapshot:
    """Read all units and this node's reports."""
    units = await store.list(UNITS_PREFIX)
    reports = await store.list(report_key(node, ""))
    records: dict[str, Stored] = {}
    seen: dict[str, UnitReport] = {}
    unreadable: dict[str, str] = {}
    for entry in units.entries:
        try:
            records[entry.key.removeprefix(UNITS_PREFIX)] = _stored(entry)
        except RecordError as error:
            unreadable[entry.key.removeprefix(UNITS_PREFIX)] = error.message
    for entry in reports.entries:
        try:
            report = UnitReport.decode(entry.value)
        except RecordError:
            continue
        seen[report.name] = report
    return Snapshot(min(units.revision, reports.revision), records, seen, unreadable)


async def stored_unit(store: Store, name: str) -> Stored | None:
    """One record, None where there is none. Raises RecordError."""
    entry = await store.get(unit_key(name))
    return None if entry is None else _stored(entry)


async def stored_report(store: Store, node: str, name: str) -> UnitReport | None:
    """This node's report on one unit. Raises RecordError."""
    entry = await store.get(report_key(node, name))
    return None if entry is None else UnitReport.decode(entry.value)


def asked(record: UnitRecord) -> Requirements:
    """What the unit's [X-Fleet] asks; of one that cannot be read, nothing."""
    try:
        return requirements(parse_unit(record.text, record.name), parse_name(record.name))[0]
    except (UnitFileError, UnitNameError):
        return NO_REQUIREMENTS


def view(record: UnitRecord, report: UnitReport | None, node: str) -> UnitView:
    """Put what is wanted and what is reported side by side."""
    try:
        description = parse_unit(record.text, record.name).last("Unit", "Description") or ""
    except UnitFileError:
        description = ""
    placed = record.desired is not DesiredState.INACTIVE or (
        report is not None and report.current is not DesiredState.INACTIVE
    )
    return UnitView(
        name=record.name,
        hash=record.hash,
        identity=record.identity,
        desired=record.desired,
        current=DesiredState.INACTIVE if report is None else report.current,
        machine=node if placed else "",
        is_global=asked(record).is_global,
        description=description,
        unit=record.name if report is None else report.unit,
        load="" if report is None else report.load,
        active="" if report is None else report.active,
        sub="" if report is None else report.sub,
        result="" if report is None else report.result,
        problem=None if report is None else report.problem,
        report_hash="" if report is None else report.hash,
        drop_ins=tuple(d.name for d in record.drop_ins),
        files=tuple(f.name for f in record.files),
    )


def _stored(entry: Entry) -> Stored:
    return Stored(UnitRecord.decode(entry.value), entry.mod_revision)


def unit_of_key(key: str, node: str) -> str | None:
    """The unit that a key of the store is about: its record or this node's report; None for others."""
    if key.startswith(UNITS_PREFIX):
        return key.removeprefix(UNITS_PREFIX)
    mine = f"{REPORTS_PREFIX}{node}/"
    return key.removeprefix(mine) if key.startswith(mine) else None
