"""What people are told: why a unit is there, and what keeps a waiting one from how many machines."""

from __future__ import annotations

import pytest

from skerry.fleet.schedule.explain import Explanation, Refusal, Standing, explain
from skerry.fleet.schedule.model import NodeSpec, UnitSpec
from skerry.fleet.schedule.scheduler import Scheduler
from skerry.fleet.state.node import Liveness
from skerry.host.units.ports import parse_host_port
from skerry.host.units.requirements import Requirements

GIB = 1 << 30
A, B, C = ("a" * 32, "b" * 32, "c" * 32)


def told(*units: UnitSpec, about: str, nodes: tuple[NodeSpec, ...] | None = None) -> Explanation:
    scheduler = Scheduler()
    for node in nodes or (NodeSpec(A, memory_bytes=GIB), NodeSpec(B, {"gpu": "yes"}), NodeSpec(C)):
        scheduler.put_node(node)
    for unit in units:
        scheduler.put_unit(unit)
    scheduler.decide()
    return explain(scheduler, about)


def unit(name: str, **asks: object) -> UnitSpec:
    return UnitSpec(name, Requirements(**asks))  # type: ignore[arg-type]


def test_a_unit_that_is_placed() -> None:
    said = told(unit("web.service"), about="web.service")
    assert (said.standing, said.node, said.nodes, said.able) == (Standing.PLACED, A, 3, 3)


@pytest.mark.parametrize(
    ("asks", "refusals"),
    [
        ({"metadata": (("disk", frozenset({"ssd"})),)}, [("MachineMetadata=disk=ssd", 3)]),
        ({"machine_id": "d" * 32}, [(f"MachineID={'d' * 32}", 3)]),
        ({"machine_of": ("db.service",)}, [("MachineOf=db.service", 3)]),
        ({"memory_bytes": 2 * GIB}, [("Memory=2G", 3)]),
        (
            {"memory_bytes": GIB, "metadata": (("gpu", frozenset({"yes"})),)},
            [("MachineMetadata=gpu=yes", 2), ("Memory=1G", 2)],
        ),
        ({"cpu_millis": 1500}, [("CPU=1.5", 3)]),
    ],
)
def test_what_keeps_a_unit_waiting_is_counted(
    asks: dict[str, object], refusals: list[tuple[str, int]]
) -> None:
    said = told(unit("web.service", **asks), about="web.service")
    assert (said.standing, said.node, said.able) == (Standing.PENDING, None, 0)
    assert said.why == "none of 3 machines may run it"
    assert [(refusal.constraint, refusal.nodes) for refusal in said.refusals] == refusals


def test_a_port_that_is_taken() -> None:
    port = (parse_host_port("80"),)
    said = told(
        unit("a.service", ports=port), unit("b.service", ports=port), about="b.service", nodes=(NodeSpec(A),)
    )
    assert said.refusals == (Refusal("HostPort=80/tcp", "the port is taken", 1),)


@pytest.mark.parametrize(
    ("first", "second", "constraint"),
    [
        ({}, {"conflicts": ("a*",)}, "Conflicts=a*"),
        ({"conflicts": ("b*",)}, {}, "Conflicts= of a.service"),
        ({"replaces": ("b*",)}, {}, "Replaces= of a.service"),
    ],
)
def test_a_unit_that_is_in_the_way(
    first: dict[str, object], second: dict[str, object], constraint: str
) -> None:
    said = told(
        unit("a.service", **first), unit("b.service", **second), about="b.service", nodes=(NodeSpec(A),)
    )
    assert [refusal.constraint for refusal in said.refusals] == [constraint]


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (NodeSpec(A, liveness=Liveness.LOST), "the machine is lost"),
        (NodeSpec(A, cordoned=True), "the machine is cordoned"),
        (NodeSpec(A, draining=True, cordoned=True), "the machine is being drained"),
    ],
)
def test_a_machine_that_takes_nothing(node: NodeSpec, reason: str) -> None:
    said = told(unit("a.service"), about="a.service", nodes=(node,))
    assert [refusal.reason for refusal in said.refusals] == [reason]
    assert said.why == "the only machine may not run it"


def test_a_global_unit_says_how_many_run_it() -> None:
    said = told(unit("g.service", is_global=True, metadata=(("gpu", frozenset({"yes"})),)), about="g.service")
    assert (said.standing, said.able, said.nodes) == (Standing.GLOBAL, 1, 3)
    assert said.refusals == (Refusal("MachineMetadata=gpu=yes", "the label is absent or another", 2),)


@pytest.mark.parametrize(
    ("units", "standing"),
    [((), Standing.UNKNOWN), ((UnitSpec("a.service", active=False),), Standing.INACTIVE)],
)
def test_what_is_not_to_run(units: tuple[UnitSpec, ...], standing: Standing) -> None:
    assert told(*units, about="a.service").standing is standing


def test_a_cluster_without_machines() -> None:
    scheduler = Scheduler()
    scheduler.put_unit(unit("a.service"))
    assert explain(scheduler, "a.service").why == "there is no machine"


def test_a_fenced_unit_that_leaves() -> None:
    scheduler = Scheduler()
    scheduler.put_node(NodeSpec(A))
    scheduler.put_unit(unit("a.service", fence=True))
    scheduler.decide()
    scheduler.put_node(NodeSpec(A, draining=True))
    scheduler.decide()
    said = explain(scheduler, "a.service")
    assert (said.standing, said.node) == (Standing.LEAVING, A)
