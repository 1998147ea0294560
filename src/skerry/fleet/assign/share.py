"""One node's share of all units, kept up to date by what is touched.

    placed        by the scheduler
    + Global      those with labels that fit, without a conflict among them, as far as there is room
    + companions  the Quadlet files that those name: loaded, even where they themselves are placed elsewhere

An unreadable record is in the share as its problem.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from skerry.fleet.assign.assignment import Assignment, Change, Full
from skerry.fleet.schedule.constraints import globals_on, needs_room
from skerry.fleet.state.unit import DesiredState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from skerry.fleet.assign.mirror import Mirror


class Share:
    """What `node` is to hold by the mirror; `fencing` says whether units may ask for it."""

    def __init__(self, mirror: Mirror, node: str, *, fencing: bool) -> None:
        self._mirror = mirror
        self._node = node
        self._fencing = fencing
        self._placed: set[str] = set()
        self._global: set[str] = set()  # with labels that fit
        self._weighed: set[str] = set()  # those of them that may have to stand back
        self._running: set[str] = set()  # those that do run
        self._held: dict[str, Assignment | str] = {}
        self._names: dict[str, tuple[str, ...]] = {}  # companions, by the unit held that names them
        self.touch(mirror.possible(node))

    def touch(self, names: Iterable[str]) -> set[str]:
        """Look at these units again; the names of those whose place in the share has changed."""
        todo = set(names)
        for name in todo:
            self._sort(name)
        if self._mirror.node(self._node).draining:
            running: set[str] = set()
        elif self._weighed:
            units, here = self._mirror.units, self._mirror.node(self._node)
            placed = (units[name].spec for name in self._placed if units[name].record is not None)
            running = {u.name for u in globals_on(here, (units[name].spec for name in self._global), placed)}
        else:
            running = set(self._global)
        todo |= running ^ self._running
        self._running = running
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
        fits = self._mirror.fits(name, self._node)
        weighed = fits and unit is not None and (bool(unit.spec.asks.conflicts) or needs_room(unit.spec))
        placed = self._mirror.is_placed(name, self._node)
        for names, member in ((self._placed, placed), (self._global, fits), (self._weighed, weighed)):
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
        if name in self._placed or name in self._running:
            return Assignment(unit.record, unit.fence and self._fencing)
        if unit.runs and any(namer != name and namer in self._held for namer in self._mirror.named_by(name)):
            loaded = msgspec.structs.replace(unit.record, desired=DesiredState.LOADED)
            return Assignment(loaded, unit.fence and self._fencing)
        return None
