"""Which unit runs on which machine: pure, deterministic, and incremental in what changed.

Tell it of changes, then ask `decide` for the steps; it takes them for granted until told otherwise. Each
step is the answer to how things stand, not to how they came to be so:

    1. of the units that may not stay where they are, the first by name goes;
    2. else, of machines with more on them than they have room for, the first gives up one unit;
    3. else, of the units that wait and could run somewhere, the first by name gets its machine:
       most preferences met, fewest of its kind there (Spread=), least load, lowest machine id.

So after any prefix of the steps, planning anew from the store comes to the same end. A unit that may stay
stays: nothing is moved to make room or to even out. Only what a change touches is looked at: units and
machines under suspicion, and lines of waiting units for which something was freed.
"""

from __future__ import annotations

import heapq
import sys
from typing import TYPE_CHECKING

from skerry.fleet.schedule.choice import Choice
from skerry.fleet.schedule.everywhere import Everywhere
from skerry.fleet.schedule.ground import Ground, Unit, less
from skerry.fleet.schedule.model import NO_WISHES, NodeSpec, Step, Verb
from skerry.fleet.schedule.names import Globs, SortedNames
from skerry.fleet.schedule.rules import Rules
from skerry.fleet.schedule.waiting import Waiting
from skerry.fleet.state.node import Liveness
from skerry.host.units.glob import compile_glob, literal_start

if TYPE_CHECKING:
    from skerry.fleet.schedule.model import UnitSpec
    from skerry.host.units.requirements import Requirements

_GONE = (Liveness.LOST, Liveness.LEFT)


class Scheduler:
    """See the module. Units are told of before their placements."""

    def __init__(self) -> None:
        self.units: dict[str, Unit] = {}
        self.grounds: dict[str, Ground] = {}
        self.rules = Rules(self.units)
        self._choice = Choice(self.grounds, self.units, self.rules)
        self._asks: dict[Requirements, Requirements] = {}
        self._globs = Globs()
        self._names: SortedNames | None = None
        self._followers: dict[str, set[str]] = {}
        self._waiting = Waiting(self.units)
        self._everywhere = Everywhere()
        self._suspects: list[str] = []
        self._suspected: set[str] = set()
        self._overfull: list[str] = []
        self._freed: dict[str, Ground] = {}
        self._fading: dict[str, None] = {}
        self._strays: dict[tuple[str, str], None] = {}

    # What has changed

    def put_unit(self, spec: UnitSpec, *, revision: int = 0) -> None:
        """A unit is new, or wants something else now; `revision` is kept with it for whoever asks."""
        asks = self._shared(spec.asks)
        unit = self.units.get(spec.name)
        if unit is None:
            unit = self.units[spec.name] = Unit(spec.name, asks, active=spec.active)
            if self._names is not None:
                self._names.add(spec.name)
            if self._globs:
                unit.hits = self._globs.meaning(spec.name)
            unit.revision = revision
            self._register(unit)
        elif unit.asks is not asks or unit.active != spec.active or not unit.known:
            unit.known = True
            unit.revision = revision
            self._waiting.remove(unit)
            self._change(unit, asks, active=spec.active)
        else:
            unit.revision = revision
            return
        if unit.ground is not None:
            self._suspect(unit)
        else:
            self._wait(unit)

    def drop_unit(self, name: str) -> None:
        """There is no such unit any more; where it is placed, it goes."""
        unit = self.units.get(name)
        if unit is None:
            return
        self._waiting.remove(unit)
        if unit.ground is not None:
            # What it asked counts until it is gone, its fence above all.
            unit.active = unit.known = False
            if unit.asks.is_global:
                self._everywhere.discard(name)
                self._doubt(unit)
            self._suspect(unit)
        else:
            self._forget(unit)

    def put_node(self, spec: NodeSpec) -> None:
        """A machine is new, or something about it changed."""
        ground = self.grounds.get(spec.id)
        if ground is None:
            ground = self.grounds[spec.id] = Ground(spec)
            self._choice.joined(ground)
        elif ground.spec == spec:
            return
        else:
            self._choice.changed(ground, spec)
        for unit in ground.units.values():
            self._suspect(unit)
        heapq.heappush(self._overfull, ground.id)
        self._everywhere.doubtful[ground.id] = ground
        self._freed[ground.id] = ground
        if spec.liveness is None:
            self._fading[ground.id] = None

    def drop_node(self, node: str) -> None:
        """Nobody knows this machine any more; its placements stay until they are moved."""
        if node in self.grounds:
            self.put_node(NodeSpec(node, liveness=None))

    def placed(self, unit: str, node: str, *, leaving: bool = False) -> None:
        """The store holds this placement."""
        known = self.units.get(unit)
        if known is None:
            known = self.units[unit] = Unit(unit, NO_WISHES, active=False)
            known.known = False
            if self._names is not None:
                self._names.add(unit)
            if self._globs:
                known.hits = self._globs.meaning(unit)
        if node not in self.grounds:
            self.put_node(NodeSpec(node, liveness=None))
        if known.ground is None:
            self._enter(known, self.grounds[node])
            self._everywhere.doubtful[node] = self.grounds[node]
            heapq.heappush(self._overfull, node)
        elif known.ground.id != node:
            self._strays[unit, node] = None
            return
        known.leaving = leaving
        self._suspect(known)

    def unplaced(self, unit: str, node: str) -> None:
        """The store no longer holds this placement."""
        self._strays.pop((unit, node), None)
        known = self.units.get(unit)
        if known is not None and known.ground is not None and known.ground.id == node:
            self._leave(known)

    def stopped(self, unit: str, node: str) -> None:
        """A leaving unit no longer runs on its machine: the machine said so."""
        known = self.units.get(unit)
        if known is not None and known.leaving and known.ground is not None and known.ground.id == node:
            known.stopped = True
            self._suspect(known)

    # What is to be done

    def decide(self, most: int = sys.maxsize) -> tuple[Step, ...]:
        """What is to be done about all that was told since the last time, in the order to do it.

        At most so many steps; where that many come back, there may be more to decide.
        """
        steps: list[Step] = []
        while len(steps) < most:
            self._cast_globals()
            step = self._take_away() or self._place_next()
            if step is None:
                self._fade()
                break
            steps.append(step)
        return tuple(steps)

    def _take_away(self) -> Step | None:
        if self._strays:
            stray = min(self._strays)
            del self._strays[stray]
            return Step(Verb.REMOVE, *stray, "it is placed on another machine")
        while self._suspects:
            name = heapq.heappop(self._suspects)
            self._suspected.discard(name)
            unit = self.units.get(name)
            if unit is not None and unit.ground is not None:
                why = self.rules.why_not_stay(unit)
                if why is not None:
                    return self._give_up(unit, unit.ground, why)
        while self._overfull:
            ground = self.grounds.get(self._overfull[0])
            found = None if ground is None else self.rules.too_much(ground)
            if ground is not None and found is not None:
                return self._give_up(found[0], ground, found[1])
            heapq.heappop(self._overfull)
        return None

    def _give_up(self, unit: Unit, ground: Ground, why: str) -> Step:
        if unit.asks.fence and not unit.stopped and ground.spec.liveness not in _GONE:
            unit.leaving = True
            self._peer_changed(unit.name)
            return Step(Verb.LEAVE, unit.name, ground.id, why)
        self._leave(unit)
        return Step(Verb.REMOVE, unit.name, ground.id, why)

    def _place_next(self) -> Step | None:
        if self._freed:
            freed = [ground for ground in self._freed.values() if ground.spec.may_get]
            self._freed.clear()
            if freed:
                self._waiting.freed(freed, self.rules.able)
        while (unit := self._waiting.first()) is not None:
            found = self._choice.choose(unit)
            if found is None:
                self._waiting.shut(unit)
                continue
            ground, why = found
            self._enter(unit, ground)
            return Step(Verb.PLACE, unit.name, ground.id, why)
        return None

    # Books

    def _enter(self, unit: Unit, ground: Ground) -> None:
        unit.ground = ground
        unit.leaving = unit.stopped = False
        self._waiting.remove(unit)
        ground.units[unit.name] = unit
        ground.enter(unit)
        asks = unit.asks
        if asks.spread:
            self._choice.count(unit, ground, 1)
        if asks.replaces:
            for other in ground.units.values():
                self._suspect(other)
        if unit.name in self._followers:
            self._peer_changed(unit.name)

    def _leave(self, unit: Unit) -> None:
        ground = unit.ground
        assert ground is not None  # noqa: S101  asked by the callers
        del ground.units[unit.name]
        ground.leave(unit)
        unit.ground = None
        unit.leaving = unit.stopped = False
        if unit.asks.spread:
            self._choice.count(unit, ground, -1)
        self._released(ground)
        if unit.name in self._everywhere.units:
            self._everywhere.doubtful[ground.id] = ground
        if unit.name in self._followers:
            self._peer_changed(unit.name)
        if not unit.known:
            self._forget(unit)
        else:
            self._wait(unit)

    def _released(self, ground: Ground) -> None:
        self._freed[ground.id] = ground
        if ground.crowded:
            self._everywhere.doubtful[ground.id] = ground
        self._choice.offer(ground)

    def _change(self, unit: Unit, asks: Requirements, *, active: bool) -> None:
        """Other wishes or another state; the unit stays in the books where it is."""
        ground = unit.ground
        if ground is not None:
            ground.leave(unit)
            if unit.asks.spread:
                self._choice.count(unit, ground, -1)
            unit.ground = None
        self._unregister(unit)
        unit.asks, unit.active = asks, active
        self._register(unit)
        if ground is None:
            return
        unit.ground = ground
        ground.enter(unit)
        if asks.spread:
            self._choice.count(unit, ground, 1)
        self._released(ground)
        self._everywhere.doubtful[ground.id] = ground
        heapq.heappush(self._overfull, ground.id)
        if asks.conflicts or asks.replaces:
            for other in ground.units.values():
                self._suspect(other)

    def _register(self, unit: Unit) -> None:
        asks = unit.asks
        for peer in asks.machine_of:
            self._followers.setdefault(peer, set()).add(unit.name)
        for glob in dict.fromkeys((*asks.conflicts, *asks.replaces)):
            if self._globs.add(glob):
                self._renew_hits(glob, used=True)
        if asks.replaces:
            self.rules.replacing[unit.name] = unit
            self._replacing_changed()
        if asks.is_global and unit.active:
            self._everywhere.add(unit)
            self._doubt(unit)

    def _unregister(self, unit: Unit) -> None:
        asks = unit.asks
        for peer in asks.machine_of:
            followers = self._followers.get(peer, set())
            followers.discard(unit.name)
            if not followers:
                self._followers.pop(peer, None)
        if asks.is_global:
            # It leaves the machines' books while it is known what it asked.
            self._everywhere.discard(unit.name)
            self._doubt(unit)
            self._cast_globals()
        for glob in dict.fromkeys((*asks.conflicts, *asks.replaces)):
            if self._globs.drop(glob):
                self._renew_hits(glob, used=False)
        if asks.replaces:
            del self.rules.replacing[unit.name]
            self._replacing_changed()

    def _forget(self, unit: Unit) -> None:
        self._unregister(unit)
        del self.units[unit.name]
        if self._names is not None:
            self._names.discard(unit.name)

    def _shared(self, asks: Requirements) -> Requirements:
        """One object for all units that ask the same; those that nobody asks any more are let go in time."""
        if len(self._asks) > 2 * len(self.units) + 1024:
            self._asks = {unit.asks: unit.asks for unit in self.units.values()}
        return self._asks.setdefault(asks, asks)

    def _fade(self) -> None:
        """Machines that nobody knows are forgotten once nothing is placed on them."""
        for node in list(self._fading):
            ground = self.grounds.get(node)
            if ground is None or ground.spec.liveness is not None:
                del self._fading[node]
            elif not ground.units:
                self._choice.left(ground)
                del self.grounds[node], self._fading[node]

    def _renew_hits(self, glob: str, *, used: bool) -> None:
        """A glob came into use, or went out of it: the units that it means are told, and where they are."""
        pattern = compile_glob(glob)
        if pattern is None:
            return
        if self._names is None:
            self._names = SortedNames(self.units)
        for name in self._names.beginning_with(literal_start(glob)):
            if not pattern.match(name):
                continue
            unit = self.units[name]
            waited = unit.waits is not None
            self._waiting.remove(unit)
            if used:
                unit.hits = tuple(sorted((*unit.hits, glob)))
            else:
                unit.hits = tuple(other for other in unit.hits if other != glob)
            for ground in self._grounds_of(unit):
                if used:
                    ground.hits[glob] = ground.hits.get(glob, 0) + 1
                else:
                    less(ground.hits, glob)
            if waited:
                self._wait(unit)

    def _grounds_of(self, unit: Unit) -> list[Ground]:
        found = [] if unit.ground is None else [unit.ground]
        if unit.asks.is_global:
            found.extend(ground for ground in self.grounds.values() if unit.name in ground.running)
        return found

    def _doubt(self, unit: Unit) -> None:
        """It is to be seen anew where this Global unit runs."""
        for node in self._choice.members(unit.asks.metadata):
            self._everywhere.doubtful[node] = self.grounds[node]

    def _cast_globals(self) -> None:
        doubtful = self._everywhere.doubtful
        while doubtful:
            _, ground = doubtful.popitem()
            came, went = self._everywhere.cast(ground)
            if went:
                self._released(ground)
            for unit in came:
                if unit.asks.conflicts or unit.hits:
                    for other in ground.units.values():
                        self._suspect(other)
            for unit in (*came, *went):
                self._peer_changed(unit.name)

    def _replacing_changed(self) -> None:
        for unit in self.rules.replacing.values():
            if unit.ground is not None:
                for other in unit.ground.units.values():
                    self._suspect(other)
        self._waiting.open_all()

    def _peer_changed(self, name: str) -> None:
        for follower in self._followers.get(name, ()):
            unit = self.units[follower]
            if unit.ground is not None:
                self._suspect(unit)
            elif unit.waits is not None:
                self._waiting.open(unit.waits)

    def _suspect(self, unit: Unit) -> None:
        if unit.name not in self._suspected:
            self._suspected.add(unit.name)
            heapq.heappush(self._suspects, unit.name)

    def _wait(self, unit: Unit) -> None:
        if unit.active and not unit.asks.is_global and unit.ground is None:
            self._waiting.add(unit)
