"""Global units: which of them run on a machine, brought up to date where something changed.

They are not placed; the rule is `constraints.globals_on`, which the nodes' feed applies too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.fleet.schedule.constraints import conflict, labels_match, needs_room

if TYPE_CHECKING:
    from skerry.fleet.schedule.ground import Ground, Unit


class Everywhere:
    """The Global units that are wanted, and the machines where it is to be seen anew which of them run."""

    def __init__(self) -> None:
        self.units: dict[str, Unit] = {}
        self.doubtful: dict[str, Ground] = {}
        self._order: list[str] | None = None

    def add(self, unit: Unit) -> None:
        self.units[unit.name] = unit
        self._order = None

    def discard(self, name: str) -> None:
        if self.units.pop(name, None) is not None:
            self._order = None

    def cast(self, ground: Ground) -> tuple[list[Unit], list[Unit]]:
        """Let a machine run what it is to run; what came, and what went. Its books are kept."""
        before, now = ground.running, self._due(ground)
        if now.keys() == before.keys():
            return [], []
        ground.running = now
        came = [now[name] for name in sorted(now.keys() - before.keys())]
        went = [before[name] for name in sorted(before.keys() - now.keys())]
        for unit in went:
            ground.leave(unit, room=False)
        for unit in came:
            ground.enter(unit, room=False)
        return came, went

    def _due(self, ground: Ground) -> dict[str, Unit]:
        """What is to run; the room is given to it, and taken from what ran."""
        room, now = ground.room, dict[str, "Unit"]()
        for unit in ground.running.values():
            if needs_room(unit):
                room.give_back(unit)
        ground.crowded = False
        if not ground.spec.may_hold:
            return now
        if self._order is None:
            self._order = sorted(self.units)
        for name in self._order:
            unit = self.units[name]
            if name in ground.units or not labels_match(unit.asks.metadata, ground.spec.labels):
                continue
            if (unit.asks.conflicts or unit.hits) and any(conflict(unit, other) for other in now.values()):
                continue
            if needs_room(unit):
                if room.lacks(ground.spec, unit) is not None:
                    ground.crowded = True
                    continue
                room.take(unit)
            now[name] = unit
        return now
