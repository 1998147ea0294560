"""One machine as it stands, and one unit as it stands: the scheduler's own books, changed in place.

What a decision needs of a machine is counted here and never added up anew: its load, its room, how many
units there a glob means (`hits`), and how many there hold a glob against others (`globs`). Every unit knows
the globs that mean it (`Unit.hits`; those of Replaces=, too), so whether two units conflict is two look-ups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.fleet.schedule.constraints import Room, needs_room

if TYPE_CHECKING:
    from skerry.fleet.schedule.model import NodeSpec
    from skerry.fleet.schedule.waiting import Line
    from skerry.host.units.requirements import Requirements


class Unit:
    """`ground` is the machine it is placed on, `leaving` where it has to stop there first, `stopped` where it
    has. `known` is false for what the store holds a placement of, and no unit."""

    __slots__ = (
        "active",
        "asks",
        "ground",
        "hits",
        "known",
        "leaving",
        "name",
        "revision",
        "stopped",
        "waits",
    )

    def __init__(self, name: str, asks: Requirements, *, active: bool) -> None:
        self.name = name
        self.asks = asks
        self.active = active
        self.known = True
        self.ground: Ground | None = None
        self.leaving = False
        self.stopped = False
        self.hits: tuple[str, ...] = ()
        self.revision = 0
        self.waits: Line | None = None

    def __lt__(self, other: Unit) -> bool:
        return self.name < other.name


class Ground:
    """`units` are those placed here, leaving ones too; `running` the Global ones that run here."""

    __slots__ = ("crowded", "globs", "hits", "id", "load", "pushers", "room", "running", "spec", "units")

    def __init__(self, spec: NodeSpec) -> None:
        self.id = spec.id
        self.spec = spec
        self.load = 0
        self.room = Room()
        self.units: dict[str, Unit] = {}
        self.running: dict[str, Unit] = {}
        self.hits: dict[str, int] = {}
        self.globs: dict[str, int] = {}
        self.pushers: dict[str, Unit] = {}
        self.crowded = False  # some Global unit would run here if there were room

    def enter(self, unit: Unit, *, room: bool = True) -> None:
        """Count a unit in, placed or running; its room is left to the caller where `room` is false."""
        self.load += 1
        asks = unit.asks
        if room and needs_room(unit):
            self.room.take(unit)
        for glob in asks.conflicts:
            self.globs[glob] = self.globs.get(glob, 0) + 1
        for glob in unit.hits:
            self.hits[glob] = self.hits.get(glob, 0) + 1
        if asks.replaces:
            self.pushers[unit.name] = unit

    def leave(self, unit: Unit, *, room: bool = True) -> None:
        """Count a unit out."""
        self.load -= 1
        asks = unit.asks
        if room and needs_room(unit):
            self.room.give_back(unit)
        for glob in asks.conflicts:
            less(self.globs, glob)
        for glob in unit.hits:
            less(self.hits, glob)
        if asks.replaces:
            del self.pushers[unit.name]

    def conflict(self, unit: Unit) -> bool:
        """Whether a unit that is here, or would come here, conflicts with another one here."""
        here = unit.name in self.units or unit.name in self.running
        asks = unit.asks
        for glob in asks.conflicts:
            if self.hits.get(glob, 0) > (here and glob in unit.hits):
                return True
        if self.globs:
            for glob in unit.hits:
                if self.globs.get(glob, 0) > (asks.conflicts.count(glob) if here else 0):
                    return True
        return False

    def other(self, name: str) -> Unit | None:
        """A unit that is placed or runs here."""
        return self.units.get(name) or self.running.get(name)


def less(counts: dict[str, int], key: str) -> None:
    """Count one down, to nothing at the end."""
    if counts[key] == 1:
        del counts[key]
    else:
        counts[key] -= 1
