"""One node's share of all units, kept up to date by what is touched.

    candidates    placed here, or Global with labels that fit
    - refused     fleet's rule: in the order of names, one that conflicts with an earlier one does not run
    + companions  the Quadlet files that those name: loaded, even where they themselves are placed elsewhere

An unreadable record is in the share as its problem.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from skerry.fleet.assign.assignment import Assignment, Change, Full
from skerry.fleet.state.unit import DesiredState
from skerry.host.units.requirements import matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from skerry.fleet.assign.mirror import Mirror


class Share:
    """What `node` is to hold by the mirror; `fencing` says whether units may ask for it."""

    def __init__(self, mirror: Mirror, node: str, *, fencing: bool) -> None:
        self._mirror = mirror
        self._node = node
        self._fencing = fencing
        self._candidates: set[str] = set()
        self._patterned: set[str] = set()
        self._global: set[str] = set()
        self._refused: set[str] = set()
        self._held: dict[str, Assignment | str] = {}
        self._names: dict[str, tuple[str, ...]] = {}  # companions, by the unit held that names them
        self.touch(mirror.candidates(node))

    def touch(self, names: Iterable[str]) -> set[str]:
        """Look at these units again; the names of those whose place in the share has changed."""
        todo = set(names)
        for name in todo:
            self._sort(name)
        refused: set[str] = set()
        if self._patterned and self._global:
            refused = refused_by_name(
                self._candidates, {name: self._mirror.units[name].asks.conflicts for name in self._patterned}
            )
        todo |= refused ^ self._refused
        self._refused = refused
        changed: set[str] = set()
        while todo:
            name = todo.pop()
            before, now = self._held.get(name), self._due(name)
            if before == now:
                continue
            changed.add(name)
            todo.update(self._names.pop(name, ()))
            if now is None:
                del self._held[name]
                continue
            self._held[name] = now
            companions = self._mirror.units[name].companions
            if companions:
                self._names[name] = companions
                todo.update(companions)
        return changed

    def full(self, revision: int) -> Full:
        """All of it."""
        held = self._held
        return Full(
            tuple(a for _, a in sorted(held.items()) if isinstance(a, Assignment)),
            revision,
            {name: why for name, why in held.items() if isinstance(why, str)},
        )

    def change(self, names: Iterable[str], revision: int) -> Change:
        """How these units stand now."""
        put: list[Assignment] = []
        gone: list[str] = []
        unreadable: dict[str, str] = {}
        for name in sorted(names):
            match self._held.get(name):
                case None:
                    gone.append(name)
                case str(why):
                    unreadable[name] = why
                case due:
                    put.append(due)
        return Change(revision, tuple(put), tuple(gone), unreadable)

    def _sort(self, name: str) -> None:
        unit = self._mirror.units.get(name)
        due = self._mirror.candidate(name, self._node)
        for names, member in (
            (self._candidates, due),
            (self._patterned, due and unit is not None and bool(unit.asks.conflicts)),
            (self._global, due and unit is not None and unit.is_global),
        ):
            if member:
                names.add(name)
            else:
                names.discard(name)

    def _due(self, name: str) -> Assignment | str | None:
        unit = self._mirror.units.get(name)
        if unit is None:
            return None
        if unit.record is None:
            return unit.problem
        if name in self._candidates and name not in self._refused:
            return Assignment(unit.record, unit.fence and self._fencing)
        if unit.runs and any(namer != name and namer in self._held for namer in self._mirror.named_by(name)):
            loaded = msgspec.structs.replace(unit.record, desired=DesiredState.LOADED)
            return Assignment(loaded, unit.fence and self._fencing)
        return None


def refused_by_name(names: Iterable[str], conflicts: Mapping[str, tuple[str, ...]]) -> set[str]:
    """Those that conflict with one that comes earlier in the alphabet and is not refused itself.

    A conflict is mutual, whoever of the two declares it; nobody conflicts with itself.
    """
    accepted: list[str] = []
    patterns: list[str] = []
    refused: set[str] = set()
    for name in sorted(names):
        own = conflicts.get(name, ())
        if any(matches(pattern, name) for pattern in patterns) or any(
            matches(pattern, other) for pattern in own for other in accepted
        ):
            refused.add(name)
        else:
            accepted.append(name)
            patterns.extend(own)
    return refused
