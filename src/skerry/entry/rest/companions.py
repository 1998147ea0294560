"""A Quadlet file does not go alone: the volumes, networks, pods and images that it names are loaded with it.

Podman's generator needs their files to stand beside it. They are loaded, not launched: systemd
starts what the generated service requires. One that is not stored yet is left out; the agent says
that it lacks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.fleet.state.unit import DesiredState, UnitRecord
from skerry.host.units.errors import UnitError
from skerry.host.units.name import parse_name
from skerry.host.units.quadlet import companions_of
from skerry.host.units.unit_file import parse_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def companions_to_load(
    names: Iterable[str], record_of: Callable[[str], UnitRecord | None]
) -> dict[str, UnitRecord]:
    """The records to change so that `names` have their companions, and those theirs, by name."""
    changed: dict[str, UnitRecord] = {}
    seen = set(names)
    todo = sorted(seen)
    while todo:
        record = record_of(todo.pop())
        if record is None:
            continue
        for name in companions_named(record):
            companion = record_of(name)
            if companion is None or name in seen:
                continue
            seen.add(name)
            todo.append(name)
            if companion.desired is DesiredState.INACTIVE:
                changed[name] = companion.wanting(DesiredState.LOADED)
    return changed


def companions_named(record: UnitRecord) -> tuple[str, ...]:
    """The Quadlet files that a record's text names."""
    return named_in(record.name, record.text)


def named_in(name: str, text: str) -> tuple[str, ...]:
    """The Quadlet files that a unit's text names; none for other units and what cannot be read."""
    try:
        return companions_of(parse_unit(text, name)) if is_quadlet(name) else ()
    except UnitError:
        return ()


def is_quadlet(name: str) -> bool:
    """Whether a name is that of a Quadlet file."""
    try:
        return parse_name(name).is_quadlet
    except UnitError:
        return False
