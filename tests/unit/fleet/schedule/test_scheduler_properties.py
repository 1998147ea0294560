"""What holds for every cluster and every course of events, tried on thousands of small ones.

The naive scheduler in tests/fakes is the measure: it reads the rules off the page and knows no yesterday.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.naive_scheduler import World, plan
from skerry.fleet.schedule.constraints import Room, conflict, labels_match
from skerry.fleet.schedule.model import NodeSpec, UnitSpec, Verb
from skerry.fleet.state.node import Liveness
from skerry.host.units.ports import parse_host_port
from skerry.host.units.requirements import Requirements

if TYPE_CHECKING:
    from collections.abc import Callable

    from skerry.fleet.schedule.model import Step
    from skerry.fleet.schedule.scheduler import Scheduler

NODES = [letter * 32 for letter in "abcd"]
NAMES = [
    "a.service",
    "b.service",
    "c.service",
    "w@1.service",
    "w@2.service",
    "w@3.service",
    "x@1.service",
    "y.service",
    "z.service",
]
GLOBS = ["w@*", "a.service", "[bc].service", "x*", "*@1.service"]
PORTS = [parse_host_port(text) for text in ("80", "80/udp", "80-90", "10.0.0.1:80", "85")]


LABELS = [
    {},
    {"zone": "p"},
    {"zone": "q"},
    {"zone": "p", "disk": "r"},
    {"zone": "q", "disk": "s"},
    {"disk": "s"},
]
METADATA = [
    (("zone", frozenset("p")),),
    (("zone", frozenset("pq")), ("disk", frozenset("s"))),
    (("disk", frozenset("rs")),),
]
Change = tuple[str, object]


class Chance:
    """Draws events; a course from a number, so that thousands of dense ones cost little."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  draws examples, keeps no secret

    def course(self, length: int) -> list[Change]:
        """A cluster that stands, and what happens to it."""
        ready: list[Change] = [("node", self._ready(node)) for node in NODES]
        return [*ready, *(self._change() for _ in range(length))]

    def _change(self) -> Change:
        kind = self._random.choices(
            ("unit", "node", "no unit", "no node", "stopped", "decide"), (10, 4, 2, 0.5, 4, 8)
        )[0]
        if kind == "unit":
            return kind, self._unit()
        if kind == "node":
            return kind, self._node()
        return kind, None if kind == "decide" else self._random.choice(NODES if kind == "no node" else NAMES)

    def _unit(self) -> UnitSpec:
        asks: dict[str, object] = {}
        kind = self._random.choice(("plain", "plain", "pinned", "pushing", "global"))
        if kind == "pinned":
            asks["machine_id"] = self._random.choice([*NODES, NODES[0][:8]])
        elif kind == "pushing":
            asks["replaces"] = self._some(GLOBS, 2)
        else:
            asks["is_global"] = kind == "global"
            if self._random.random() < 0.3:
                asks["conflicts"] = self._some(GLOBS, 2)
        if kind == "plain":
            if self._random.random() < 0.2:
                asks["machine_of"] = self._some(NAMES, 2)
            asks["prefer"] = self._some([("zone", "q"), ("disk", "s")], 2)
            asks["spread"] = self._random.choice([(), (), ("zone",), ("zone", "disk")])
        if kind != "global":
            asks["fence"] = self._random.random() < 0.3
        if self._random.random() < 0.3:
            asks["metadata"] = self._random.choice(METADATA)
        if self._random.random() < 0.5:
            asks["memory_bytes"] = self._random.choice((3, 5, 9))
            asks["cpu_millis"] = self._random.choice((0, 500, 1500))
        if self._random.random() < 0.3:
            asks["ports"] = self._some(PORTS, 1)
        wanted = Requirements(**asks)  # type: ignore[arg-type]
        return UnitSpec(self._random.choice(NAMES), wanted, active=self._random.random() < 0.85)

    def _node(self) -> NodeSpec:
        changed = self._ready(self._random.choice(NODES))
        kind = self._random.choice(("ready", "ready", "away", "cordoned", "draining", "small"))
        if kind == "away":
            return replace(changed, liveness=self._random.choice((Liveness.LOST, Liveness.LEFT, None)))
        if kind == "small":
            return replace(changed, memory_bytes=self._random.choice((0, 4, 6)), cpu_millis=1000)
        return replace(changed, cordoned=kind == "cordoned", draining=kind == "draining")

    def _ready(self, node: str) -> NodeSpec:
        return NodeSpec(node, self._random.choice(LABELS), memory_bytes=10, cpu_millis=2000)

    def _some(self, values: list[Any], most: int) -> tuple[Any, ...]:
        return tuple(self._random.sample(values, self._random.randint(0, most)))


COURSES = st.builds(
    lambda seed, length: Chance(seed).course(length), st.integers(0, 2**32), st.integers(1, 60)
)
thorough = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def tell(change: Change, world: World, scheduler: Scheduler) -> None:
    """Let one thing happen, in the world and to the scheduler."""
    kind, what = change
    if kind == "unit":
        assert isinstance(what, UnitSpec)
        world.units[what.name] = what
        world.doomed.discard(what.name)
        scheduler.put_unit(what)
    elif kind == "node":
        assert isinstance(what, NodeSpec)
        world.nodes[what.id] = what
        scheduler.put_node(what)
    elif kind == "no unit":
        forget_unit(str(what), world, scheduler)
    elif kind == "no node":
        world.nodes.pop(str(what), None)
        scheduler.drop_node(str(what))
    elif kind == "stopped" and world.placements.get(str(what), ("", False))[1]:
        world.stopped.add(str(what))
        scheduler.stopped(str(what), world.placements[str(what)][0])


def forget_unit(name: str, world: World, scheduler: Scheduler) -> None:
    unit = world.units.get(name)
    if unit is not None and name in world.placements:
        world.units[name] = UnitSpec(name, unit.asks, active=False)
        world.doomed.add(name)
    else:
        world.units.pop(name, None)
    scheduler.drop_unit(name)


def bare(steps: list[Step] | tuple[Step, ...]) -> list[tuple[Verb, str, str]]:
    return [(step.verb, step.unit, step.node) for step in steps]


def lived(course: list[Change], look: Callable[[World, tuple[Step, ...]], None]) -> World:
    """Run a course of events; `look` sees the world before each plan, and the plan."""
    world, scheduler = World(), World().scheduler()
    for change in [*course, ("decide", None)]:
        if change[0] != "decide":
            tell(change, world, scheduler)
            continue
        steps = scheduler.decide()
        look(world.copy(), steps)
        world.apply(steps)
    return world


@thorough
@given(COURSES)
def test_what_is_decided_step_by_step_is_what_the_rules_say(course: list[Change]) -> None:
    def look(world: World, steps: tuple[Step, ...]) -> None:
        assert bare(steps) == bare(plan(world))

    lived(course, look)


@thorough
@given(COURSES)
def test_planning_from_scratch_decides_the_same(course: list[Change]) -> None:
    def look(world: World, steps: tuple[Step, ...]) -> None:
        assert bare(steps) == bare(world.scheduler().decide())

    lived(course, look)


@thorough
@given(COURSES, st.data())
def test_any_part_of_a_plan_planned_again_ends_the_same(course: list[Change], data: st.DataObject) -> None:
    def look(world: World, steps: tuple[Step, ...]) -> None:
        done = data.draw(st.integers(0, len(steps)))
        partly = world.copy().apply(steps[:done])
        assert bare(partly.scheduler().decide()) == bare(steps[done:])

    lived(course, look)


@thorough
@given(COURSES)
def test_after_a_plan_no_constraint_is_broken_and_no_room_oversold(course: list[Change]) -> None:
    world = lived(course, lambda world, steps: None)
    for node in {where for where, _ in world.placements.values()}:
        spec = world.node(node)
        here = world.all_on(node)
        staying = [u for u in here if not world.placements.get(u.name, ("", False))[1]]
        for unit in staying:
            assert unit.active
            assert spec.may_hold
            assert labels_match(unit.asks.metadata, spec.labels)
            assert unit.asks.machine_id in (None, node, node[:8])
            assert not any(conflict(unit, other) for other in staying)
        assert not spec.memory_bytes or Room(staying).memory_bytes <= spec.memory_bytes
        assert Room(staying).cpu_millis <= spec.cpu_millis
        ports = [port for unit in staying for port in unit.asks.ports]
        assert not any(p.clashes(q) for n, p in enumerate(ports) for q in ports[:n])


@thorough
@given(COURSES)
def test_nothing_is_left_to_decide(course: list[Change]) -> None:
    world = lived(course, lambda world, steps: None)
    assert world.scheduler().decide() == ()


@thorough
@given(COURSES)
def test_no_unit_is_placed_where_it_just_was_and_none_twice(course: list[Change]) -> None:
    def look(world: World, steps: tuple[Step, ...]) -> None:
        now = world.copy()
        for step in steps:
            now.apply([step])
            assert len({unit for unit, _ in now.placements.items()}) == len(now.placements)

    lived(course, look)


def test_the_courses_are_eventful() -> None:
    seen = ""
    for seed in range(100):
        steps: list[Step] = []
        lived(Chance(seed).course(60), lambda world, decided, steps=steps: steps.extend(decided))  # type: ignore[misc]
        seen += "\n".join(map(str, steps))
    for why in (
        "drained",
        "stopped there",
        "lost",
        "replaces it there",
        "conflicts with",
        "too little",
        "follows",
    ):
        assert why in seen
