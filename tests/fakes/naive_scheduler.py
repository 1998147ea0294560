"""The scheduler's rules read off the page: no index, no memory, one step at a time. Slow, and easy to check.

A `World` is what the store holds. `next_step` says what is to be done about it; the true scheduler must say
the same, however it came to know of the world.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from skerry.fleet.schedule.choice import group_of
from skerry.fleet.schedule.constraints import Room, conflict, globals_on, is_machine, labels_match, replaces
from skerry.fleet.schedule.model import NodeSpec, Step, UnitSpec, Verb
from skerry.fleet.schedule.scheduler import Scheduler
from skerry.fleet.state.node import Liveness

if TYPE_CHECKING:
    from collections.abc import Iterable

GONE = (Liveness.LOST, Liveness.LEFT)


@dataclass
class World:
    """`placements` holds the node and whether the unit is leaving; `stopped` what has stopped meanwhile.

    `doomed` units are destroyed and still on a machine: what they asked is known until they are gone.
    """

    units: dict[str, UnitSpec] = field(default_factory=dict)
    nodes: dict[str, NodeSpec] = field(default_factory=dict)
    placements: dict[str, tuple[str, bool]] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)
    doomed: set[str] = field(default_factory=set)

    def copy(self) -> World:
        return World(
            dict(self.units), dict(self.nodes), dict(self.placements), set(self.stopped), set(self.doomed)
        )

    def apply(self, steps: Iterable[Step]) -> World:
        for step in steps:
            if step.verb is Verb.PLACE:
                assert step.unit not in self.placements
                self.placements[step.unit] = (step.node, False)
            elif step.verb is Verb.LEAVE:
                assert self.placements[step.unit] == (step.node, False)
                self.placements[step.unit] = (step.node, True)
            else:
                assert self.placements.pop(step.unit)[0] == step.node
                self.stopped.discard(step.unit)
                if step.unit in self.doomed:
                    self.doomed.discard(step.unit)
                    del self.units[step.unit]
        return self

    def scheduler(self) -> Scheduler:
        """A scheduler that was told all of it, and has decided nothing yet."""
        scheduler = Scheduler()
        for unit in self.units.values():
            scheduler.put_unit(unit)
        for node in self.nodes.values():
            scheduler.put_node(node)
        for name, (node_id, leaving) in self.placements.items():
            scheduler.placed(name, node_id, leaving=leaving)
        for name in self.doomed:
            scheduler.drop_unit(name)
        for name in self.stopped:
            scheduler.stopped(name, self.placements[name][0])
        return scheduler

    def node(self, node: str) -> NodeSpec:
        return self.nodes.get(node, NodeSpec(node, liveness=None))

    def spec(self, unit: str) -> UnitSpec:
        """What is on a machine and in no record asks for nothing and is not wanted."""
        return self.units.get(unit, UnitSpec(unit, active=False))

    def placed_on(self, node: str) -> list[UnitSpec]:
        return [self.spec(unit) for unit, (where, _) in sorted(self.placements.items()) if where == node]

    def running_on(self, node: str) -> tuple[UnitSpec, ...]:
        placed = self.placed_on(node)
        names = {unit.name for unit in placed}
        candidates = [u for u in self.units.values() if u.is_global and u.name not in names]
        return globals_on(self.node(node), candidates, placed)

    def all_on(self, node: str) -> list[UnitSpec]:
        return [*self.placed_on(node), *self.running_on(node)]


def plan(world: World, *, most: int = 1000) -> list[Step]:
    """Every step until nothing is left to do; the world itself stays as it is."""
    now, steps = world.copy(), []
    for _ in range(most):
        step = next_step(now)
        if step is None:
            return steps
        steps.append(step)
        now.apply([step])
    raise AssertionError(f"no end after {most} steps")


def next_step(world: World) -> Step | None:
    for name, (node, leaving) in sorted(world.placements.items()):
        if not (may_go(world, name, node) if leaving else must_go(world, name, node)):
            continue
        return take_off(world, name, node)
    for node in sorted({node for node, _ in world.placements.values()}):
        name = overfull(world, node)
        if name is not None:
            return take_off(world, name, node)
    for name, unit in sorted(world.units.items()):
        if unit.active and not unit.is_global and name not in world.placements:
            chosen = choose(world, unit)
            if chosen is not None:
                return Step(Verb.PLACE, name, chosen, "")
    return None


def take_off(world: World, name: str, node: str) -> Step:
    fenced = world.spec(name).asks.fence
    waits = fenced and name not in world.stopped and world.node(node).liveness not in GONE
    return Step(Verb.LEAVE if waits else Verb.REMOVE, name, node, "")


def may_go(world: World, name: str, node: str) -> bool:
    """A leaving unit can be taken off for good."""
    return name in world.stopped or world.node(node).liveness in GONE


def must_go(world: World, name: str, node: str) -> bool:
    """A placed unit may not stay where it is."""
    unit, spec = world.spec(name), world.node(node)
    if not unit.active or unit.is_global or not spec.may_hold:
        return True
    return not fits(world, unit, node)


def fits(world: World, unit: UnitSpec, node: str) -> bool:
    """Everything but room, and but whether the machine takes anything new."""
    spec, asks = world.node(node), unit.asks
    if asks.machine_id is not None and not is_machine(asks.machine_id, node):
        return False
    if not labels_match(asks.metadata, spec.labels):
        return False
    running = {u.name for u in world.running_on(node)}
    for peer in asks.machine_of:
        if world.placements.get(peer) != (node, False) and peer not in running:
            return False
    others = [other for other in world.all_on(node) if other.name != unit.name]
    if any(conflict(unit, other) for other in others):
        return False
    return not any(replaces(o, unit) and not circular(world, o, unit) for o in others)


def circular(world: World, pusher: UnitSpec, pushed: UnitSpec) -> bool:
    reached = {pushed.name}
    ahead = [pushed]
    while ahead:
        one = ahead.pop()
        for other in world.units.values():
            if other.name not in reached and other.asks.replaces and replaces(one, other):
                reached.add(other.name)
                ahead.append(other)
    return pusher.name in reached


def overfull(world: World, node: str) -> str | None:
    spec = world.node(node)
    staying = [u for u in world.placed_on(node) if not world.placements[u.name][1]]
    room = Room(world.placed_on(node))
    memory = cpu = 0
    if spec.memory_bytes and room.memory_bytes > spec.memory_bytes:
        memory = sum(u.asks.memory_bytes for u in staying) - spec.memory_bytes
    if spec.cpu_millis and room.cpu_millis > spec.cpu_millis:
        cpu = sum(u.asks.cpu_millis for u in staying) - spec.cpu_millis
    if memory > 0 or cpu > 0:
        for u in staying:
            if u.asks.memory_bytes >= memory and u.asks.cpu_millis >= cpu:
                return u.name
        if memory > 0:
            return max(staying, key=lambda u: u.asks.memory_bytes).name
        return max(staying, key=lambda u: u.asks.cpu_millis).name
    for number, u in enumerate(staying):
        for before in staying[:number]:
            if any(p.clashes(q) for p in u.asks.ports for q in before.asks.ports):
                return u.name
    return None


def choose(world: World, unit: UnitSpec) -> str | None:
    able = [
        node
        for node in world.nodes
        if world.node(node).may_get
        and fits(world, unit, node)
        and Room(world.all_on(node)).lacks(world.node(node), unit) is None
    ]
    return min(able, key=lambda node: order(world, unit, node), default=None)


def order(world: World, unit: UnitSpec, node: str) -> tuple[object, ...]:
    spec, asks = world.node(node), unit.asks
    load = len(world.all_on(node))
    if asks.machine_id is not None:
        return (load, node)
    preferred = -sum(spec.labels.get(key) == value for key, value in asks.prefer)
    return (preferred, same_kind(world, unit, spec), load, node)


def same_kind(world: World, unit: UnitSpec, spec: NodeSpec) -> tuple[int, ...]:
    group, keys = group_of(unit.name), unit.asks.spread
    if group is None:
        return ()
    numbers = []
    for length in range(1, len(keys) + 1):
        values = [spec.labels.get(key, "") for key in keys[:length]]
        numbers.append(
            sum(
                group_of(name) == group
                and world.spec(name).asks.spread[:length] == keys[:length]
                and [world.node(node).labels.get(key, "") for key in keys[:length]] == values
                for name, (node, _) in world.placements.items()
            )
        )
    return tuple(numbers)
