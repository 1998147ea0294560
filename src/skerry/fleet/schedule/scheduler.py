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
from typing import TYPE_CHECKING

from skerry.fleet.schedule.choice import Choice
from skerry.fleet.schedule.constraints import conflict, labels_match, needs_room
from skerry.fleet.schedule.ground import Ground, Line, Unit, less
from skerry.fleet.schedule.model import NO_WISHES, NodeSpec, Step, Verb
from skerry.fleet.schedule.names import Globs, SortedNames
from skerry.fleet.schedule.rules import Rules
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
        self.globals: dict[str, Unit] = {}
        self.rules = Rules(self.units)
        self._choice = Choice(self.grounds, self.units, self.rules)
        self._asks: dict[Requirements, Requirements] = {}
        self._globs = Globs()
        self._names: SortedNames | None = None
        self._followers: dict[str, set[str]] = {}
        self._lines: dict[tuple[Requirements, tuple[str, ...]], Line] = {}
        self._queue: list[tuple[str, int, Line]] = []
        self._turn = 0
        self._suspects: list[str] = []
        self._suspected: set[str] = set()
        self._overfull: list[str] = []
        self._freed: dict[str, Ground] = {}
        self._recast: dict[str, Ground] = {}
        self._fading: dict[str, None] = {}
        self._strays: dict[tuple[str, str], None] = {}
        self._global_order: list[str] | None = None

    # What has changed

    def put_unit(self, spec: UnitSpec) -> None:
        """A unit is new, or wants something else now."""
        asks = self._asks.setdefault(spec.asks, spec.asks)
        unit = self.units.get(spec.name)
        if unit is None:
            unit = self.units[spec.name] = Unit(spec.name, asks, active=spec.active)
            if self._names is not None:
                self._names.add(spec.name)
            if self._globs:
                unit.hits = self._globs.meaning(spec.name)
            self._register(unit)
        elif unit.asks is not asks or unit.active != spec.active or not unit.known:
            unit.known = True
            self._stop_waiting(unit)
            self._change(unit, asks, active=spec.active)
        else:
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
        self._stop_waiting(unit)
        if unit.ground is not None:
            # What it asked counts until it is gone, its fence above all.
            unit.active = unit.known = False
            if self.globals.pop(name, None) is not None:
                self._recast_all(unit)
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
        self._recast[ground.id] = ground
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
            self._recast[node] = self.grounds[node]
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

    def decide(self) -> tuple[Step, ...]:
        """What is to be done about all that was told since the last time, in the order to do it."""
        steps = [
            Step(Verb.REMOVE, *stray, "it is placed on another machine") for stray in sorted(self._strays)
        ]
        self._strays.clear()
        while True:
            self._cast_globals()
            step = self._take_away()
            if step is None:
                self._reopen()
                step = self._place_next()
                if step is None:
                    self._fade()
                    return tuple(steps)
            steps.append(step)

    def _take_away(self) -> Step | None:
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
        while self._queue:
            name, _, line = heapq.heappop(self._queue)
            unit = self._first(line)
            if unit is None or not line.open:
                continue
            if unit.name > name:
                self._enqueue(line, unit.name)
                continue
            found = self._choice.choose(unit)
            if found is None:
                line.open = False
                continue
            ground, why = found
            self._enter(unit, ground)
            following = self._first(line)
            if following is not None:
                self._enqueue(line, following.name)
            return Step(Verb.PLACE, unit.name, ground.id, why)
        return None

    def _reopen(self) -> None:
        """Lines for which something was freed are tried again."""
        if not self._freed:
            return
        freed = [ground for ground in self._freed.values() if ground.spec.may_get]
        self._freed.clear()
        for line in list(self._lines.values()):
            if line.open:
                continue
            unit = self._first(line)
            if unit is not None and any(self.rules.able(unit, ground) for ground in freed):
                self._open(line)

    # Books

    def _enter(self, unit: Unit, ground: Ground) -> None:
        unit.ground = ground
        unit.leaving = unit.stopped = False
        self._stop_waiting(unit)
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
        if unit.name in self.globals:
            self._recast[ground.id] = ground
        if unit.name in self._followers:
            self._peer_changed(unit.name)
        if not unit.known:
            self._forget(unit)
        else:
            self._wait(unit)

    def _released(self, ground: Ground) -> None:
        self._freed[ground.id] = ground
        if ground.crowded:
            self._recast[ground.id] = ground
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
        self._recast[ground.id] = ground
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
            self.globals[unit.name] = unit
            self._recast_all(unit)

    def _unregister(self, unit: Unit) -> None:
        asks = unit.asks
        for peer in asks.machine_of:
            followers = self._followers.get(peer, set())
            followers.discard(unit.name)
            if not followers:
                self._followers.pop(peer, None)
        if asks.is_global:
            # It leaves the machines' books while it is known what it asked.
            self.globals.pop(unit.name, None)
            self._recast_all(unit)
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
            self._stop_waiting(unit)
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

    # Global units

    def _recast_all(self, unit: Unit) -> None:
        self._global_order = None
        for node in self._choice.members(unit.asks.metadata):
            self._recast[node] = self.grounds[node]

    def _cast_globals(self) -> None:
        """Let the machines under suspicion run the Global units that they are to run."""
        if self._recast:
            if self._global_order is None:
                self._global_order = sorted(self.globals)
            grounds, self._recast = self._recast, {}
            for ground in grounds.values():
                if self.globals or ground.running:
                    self._cast(ground, self._global_order)

    def _cast(self, ground: Ground, order: list[str]) -> None:
        """The rule is that of `constraints.globals_on`."""
        room, before = ground.room, ground.running
        now: dict[str, Unit] = {}
        for unit in before.values():
            if needs_room(unit):
                room.give_back(unit)
        ground.crowded = False
        for name in order if ground.spec.may_hold else ():
            unit = self.globals[name]
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
        if now.keys() == before.keys():
            return
        ground.running = now
        for name in before.keys() - now.keys():
            ground.leave(before[name], room=False)
            self._released(ground)
        for name in now.keys() - before.keys():
            ground.enter(now[name], room=False)
            if now[name].asks.conflicts or now[name].hits:
                for other in ground.units.values():
                    self._suspect(other)
        for name in now.keys() ^ before.keys():
            self._peer_changed(name)

    def _replacing_changed(self) -> None:
        for unit in self.rules.replacing.values():
            if unit.ground is not None:
                for other in unit.ground.units.values():
                    self._suspect(other)
        for line in self._lines.values():
            self._open(line)

    def _peer_changed(self, name: str) -> None:
        for follower in self._followers.get(name, ()):
            unit = self.units[follower]
            if unit.ground is not None:
                self._suspect(unit)
            elif unit.waits is not None:
                self._open(unit.waits)

    def _suspect(self, unit: Unit) -> None:
        if unit.name not in self._suspected:
            self._suspected.add(unit.name)
            heapq.heappush(self._suspects, unit.name)

    # Lines of units that wait

    def _wait(self, unit: Unit) -> None:
        if not unit.active or unit.asks.is_global or unit.ground is not None:
            return
        key = (unit.asks, unit.hits)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(key)
        unit.waits = line
        line.size += 1
        heapq.heappush(line.names, unit.name)
        if line.open and line.names[0] == unit.name:
            self._enqueue(line, unit.name)

    def _stop_waiting(self, unit: Unit) -> None:
        line = unit.waits
        if line is not None:
            unit.waits = None
            line.size -= 1
            if not line.size:
                del self._lines[line.key]
                line.open = False

    def _first(self, line: Line) -> Unit | None:
        names = line.names
        while names:
            unit = self.units.get(names[0])
            if unit is not None and unit.waits is line:
                return unit
            heapq.heappop(names)
        return None

    def _open(self, line: Line) -> None:
        if not line.open:
            line.open = True
            first = self._first(line)
            if first is not None:
                self._enqueue(line, first.name)

    def _enqueue(self, line: Line, name: str) -> None:
        self._turn += 1
        heapq.heappush(self._queue, (name, self._turn, line))
