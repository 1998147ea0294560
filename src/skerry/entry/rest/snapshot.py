"""What an order is planned on: the records that it can mean, each with its revision, and no others.

The names come from the mirror (a glob means stored units), the records from the store. A record that this
version cannot read is not shown as absent: `unreadable` names it, with the reason.
"""

from __future__ import annotations

import asyncio
import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.entry.rest.companions import companions_named, named_in
from skerry.fleet.state.document import RecordError
from skerry.fleet.state.unit import UnitRecord, unit_key
from skerry.host.units.errors import UnitNameError
from skerry.host.units.name import parse_name
from skerry.host.units.template import lookup_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from skerry.fleet.store.interface import Store

AT_ONCE = 64  # reads under way at a time


@dataclass(frozen=True, slots=True)
class Stored:
    """A record with the revision of its last change, which a transaction compares."""

    record: UnitRecord
    mod_revision: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`revision` is one at which everything was so or earlier: a watch from there misses nothing."""

    revision: int
    units: Mapping[str, Stored]
    unreadable: Mapping[str, str]


async def read_snapshot(
    store: Store, revision: int, names: Iterable[str], texts: Mapping[str, str]
) -> Snapshot:
    """The records of `names`, of their templates, and of the Quadlet files that they and `texts` name.

    `texts` are units that are not stored yet, by name; `revision` is one that the names were known at.
    """
    units: dict[str, Stored] = {}
    unreadable: dict[str, str] = {}
    seen: set[str] = set()
    todo = {place for name in names for place in (name, *_templates(name))}
    todo |= {other for name, text in texts.items() for other in named_in(name, text)}
    while todo:
        seen |= todo
        found = await read_units(store, sorted(todo))
        todo = set()
        for name, stored in found.items():
            if isinstance(stored, RecordError):
                unreadable[name] = stored.message
            else:
                units[name] = stored
                todo |= set(companions_named(stored.record)) - seen
    return Snapshot(revision, units, unreadable)


async def read_units(store: Store, names: Sequence[str]) -> dict[str, Stored | RecordError]:
    """Those of the records that are there, or why they cannot be read."""
    found: dict[str, Stored | RecordError] = {}
    for start in range(0, len(names), AT_ONCE):
        some = names[start : start + AT_ONCE]
        entries = await asyncio.gather(*(store.get(unit_key(name)) for name in some))
        for name, entry in zip(some, entries, strict=True):
            if entry is None:
                continue
            try:
                found[name] = Stored(UnitRecord.decode(entry.value), entry.mod_revision)
            except RecordError as error:
                found[name] = error
    return found


async def stored_unit(store: Store, name: str) -> Stored | None:
    """One record, None where there is none. Raises RecordError."""
    found = (await read_units(store, [name])).get(name)
    if isinstance(found, RecordError):
        raise found
    return found


def is_glob(name: str) -> bool:
    """Whether a name means several: `*`, `?` and `[` stand in no unit's name."""
    return any(c in name for c in "*?[")


def matching(names: Iterable[str], wanted: str) -> list[str]:
    """Those of `names` that a glob means; the name itself where it is none."""
    return [name for name in names if fnmatch.fnmatchcase(name, wanted)] if is_glob(wanted) else [wanted]


def _templates(name: str) -> tuple[str, ...]:
    try:
        return tuple(lookup_order(parse_name(name)))
    except UnitNameError:
        return ()
