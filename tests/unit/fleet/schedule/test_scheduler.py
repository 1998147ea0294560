"""Where units go, told as stories; the invariants stand in test_scheduler_properties.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from skerry.fleet.schedule.model import NodeSpec, Step, UnitSpec, Verb
from skerry.fleet.schedule.scheduler import Scheduler
from skerry.fleet.state.node import Liveness
from skerry.host.units.ports import parse_host_port
from skerry.host.units.requirements import Requirements

A, B, C = ("a" * 32, "b" * 32, "c" * 32)


def unit(name: str, **asks: object) -> UnitSpec:
    return UnitSpec(name, Requirements(**asks))  # type: ignore[arg-type]


def cluster(*nodes: NodeSpec) -> Scheduler:
    scheduler = Scheduler()
    for node in nodes or (NodeSpec(A), NodeSpec(B), NodeSpec(C)):
        scheduler.put_node(node)
    return scheduler


def after(scheduler: Scheduler, *changes: UnitSpec | NodeSpec) -> list[str]:
    """The steps after these changes, as short words: "place a.service a"."""
    for change in changes:
        if isinstance(change, UnitSpec):
            scheduler.put_unit(change)
        else:
            scheduler.put_node(change)
    return [short(step) for step in scheduler.decide()]


def short(step: Step) -> str:
    return f"{step.verb} {step.unit.removesuffix('.service')} {step.node[0]}"


def test_the_least_loaded_machine_then_the_lowest_id() -> None:
    steps = after(cluster(), *(unit(f"{n}.service") for n in range(5)))
    assert steps == ["place 0 a", "place 1 b", "place 2 c", "place 3 a", "place 4 b"]


def test_global_units_count_as_load() -> None:
    scheduler = cluster(NodeSpec(A, {"gpu": "yes"}), NodeSpec(B))
    everywhere = unit("g.service", is_global=True, metadata=(("gpu", frozenset({"yes"})),))
    assert after(scheduler, everywhere, unit("w.service")) == ["place w b"]


def test_nothing_moves_when_a_machine_joins() -> None:
    scheduler = cluster(NodeSpec(A))
    after(scheduler, unit("1.service"), unit("2.service"))
    assert after(scheduler, NodeSpec(B)) == []
    assert after(scheduler, unit("3.service")) == ["place 3 b"]


@pytest.mark.parametrize(
    "gone",
    [NodeSpec(A, liveness=Liveness.LOST), NodeSpec(A, liveness=Liveness.LEFT), NodeSpec(A, draining=True)],
)
def test_only_the_units_of_a_machine_that_goes_move_and_none_moves_back(gone: NodeSpec) -> None:
    scheduler = cluster(NodeSpec(A), NodeSpec(B))
    after(scheduler, unit("1.service"), unit("2.service"))
    assert after(scheduler, gone) == ["remove 1 a", "place 1 b"]
    assert after(scheduler, NodeSpec(A)) == []


def test_a_removed_machine_is_forgotten_when_it_is_empty() -> None:
    scheduler = cluster(NodeSpec(A), NodeSpec(B))
    after(scheduler, unit("1.service"))
    scheduler.drop_node(A)
    assert [short(step) for step in scheduler.decide()] == ["remove 1 a", "place 1 b"]
    assert list(scheduler.grounds) == [B]


def test_a_cordoned_machine_keeps_what_it_has_and_gets_nothing() -> None:
    scheduler = cluster(NodeSpec(A))
    after(scheduler, unit("1.service"))
    assert after(scheduler, NodeSpec(A, cordoned=True), unit("2.service")) == []
    assert after(scheduler, NodeSpec(A)) == ["place 2 a"]


def test_a_machine_may_be_named_by_its_short_id() -> None:
    assert after(cluster(), unit("1.service", machine_id="c" * 8)) == ["place 1 c"]


def test_followers_go_where_their_target_goes() -> None:
    scheduler = cluster(NodeSpec(A), NodeSpec(B))
    follower, target = unit("a.service", machine_of=("z.service",)), unit("z.service")
    assert after(scheduler, follower) == []
    assert after(scheduler, target) == ["place z a", "place a a"]
    steps = after(scheduler, NodeSpec(A, liveness=Liveness.LOST))
    assert steps == ["remove a a", "remove z a", "place z b", "place a b"]


def test_a_follower_may_follow_a_global_unit() -> None:
    everywhere = unit("g.service", is_global=True)
    assert after(cluster(NodeSpec(A)), everywhere, unit("a.service", machine_of=("g.service",))) == [
        "place a a"
    ]


def test_units_that_follow_one_another_are_never_placed() -> None:
    pair = (unit("a.service", machine_of=("b.service",)), unit("b.service", machine_of=("a.service",)))
    assert after(cluster(), *pair) == []


def test_conflicts_hold_both_ways() -> None:
    scheduler = cluster(NodeSpec(A), NodeSpec(B))
    steps = after(scheduler, *(unit(f"w@{n}.service", conflicts=("w@*",)) for n in (1, 2, 3)))
    assert steps == ["place w@1 a", "place w@2 b"]
    scheduler.drop_unit("w@1.service")
    assert [short(step) for step in scheduler.decide()] == ["remove w@1 a", "place w@3 a"]


def test_a_global_unit_in_conflict_sends_a_placed_one_away() -> None:
    scheduler = cluster(NodeSpec(A, {"gpu": "yes"}), NodeSpec(B))
    after(scheduler, unit("w.service"))
    everywhere = unit("z.service", is_global=True, conflicts=("w*",), metadata=(("gpu", frozenset({"yes"})),))
    assert after(scheduler, everywhere) == ["remove w a", "place w b"]


def test_what_is_replaced_goes_elsewhere_by_its_own_rules() -> None:
    scheduler = cluster(
        NodeSpec(A, {"disk": "ssd"}), NodeSpec(B, cordoned=True), NodeSpec(C, {"disk": "ssd"}, cordoned=True)
    )
    after(scheduler, unit("old.service", metadata=(("disk", frozenset({"ssd"})),)))
    assert after(scheduler, unit("new.service", replaces=("old*",))) == ["place new a", "remove old a"]
    assert after(scheduler, NodeSpec(B), NodeSpec(C, {"disk": "ssd"})) == ["place old c"]


def test_units_that_replace_one_another_live_together() -> None:
    scheduler = cluster(NodeSpec(A))
    steps = after(scheduler, unit("a.service", replaces=("b*",)), unit("b.service", replaces=("a*",)))
    assert steps == ["place a a", "place b a"]


def test_memory_is_not_oversold() -> None:
    scheduler = cluster(NodeSpec(A, memory_bytes=100))
    steps = after(scheduler, *(unit(f"{n}.service", memory_bytes=40) for n in range(3)))
    assert steps == ["place 0 a", "place 1 a"]
    scheduler.put_unit(unit("1.service", memory_bytes=10))
    assert [short(step) for step in scheduler.decide()] == ["place 2 a"]


def test_a_machine_that_shrinks_gives_up_no_more_than_it_must() -> None:
    scheduler = cluster(NodeSpec(A, memory_bytes=100), NodeSpec(B, memory_bytes=100, cordoned=True))
    after(scheduler, unit("1.service", memory_bytes=10), unit("2.service", memory_bytes=40))
    assert after(scheduler, NodeSpec(A, memory_bytes=45)) == ["remove 1 a"]


def test_a_port_is_one_units_own() -> None:
    port = (parse_host_port("80"),)
    scheduler = cluster(NodeSpec(A), NodeSpec(B))
    steps = after(scheduler, *(unit(f"{n}.service", ports=port) for n in range(3)))
    assert steps == ["place 0 a", "place 1 b"]


def test_preferences_are_wishes() -> None:
    scheduler = cluster(NodeSpec(A), NodeSpec(B, {"disk": "ssd"}, memory_bytes=10))
    asks = {"prefer": (("disk", "ssd"),)}
    assert after(scheduler, *(unit(f"{n}.service", **asks) for n in range(2))) == ["place 0 b", "place 1 b"]
    assert after(scheduler, NodeSpec(B, {"disk": "ssd"}, cordoned=True), unit("2.service", **asks)) == [
        "place 2 a"
    ]


def test_instances_are_spread_over_the_values_of_a_label() -> None:
    scheduler = cluster(NodeSpec(A, {"zone": "1"}), NodeSpec(B, {"zone": "1"}), NodeSpec(C, {"zone": "2"}))
    after(scheduler, unit("other.service", machine_id=C), unit("more.service", machine_id=C))
    steps = after(scheduler, *(unit(f"w@{n}.service", spread=("zone",)) for n in range(4)))
    assert steps == ["place w@0 a", "place w@1 c", "place w@2 b", "place w@3 c"]


def test_a_fenced_unit_stops_before_it_goes_elsewhere() -> None:
    scheduler = cluster(NodeSpec(A), NodeSpec(B))
    after(scheduler, unit("1.service", fence=True))
    assert after(scheduler, NodeSpec(A, draining=True)) == ["leave 1 a"]
    assert scheduler.decide() == ()
    scheduler.stopped("1.service", A)
    assert [short(step) for step in scheduler.decide()] == ["remove 1 a", "place 1 b"]


@pytest.mark.parametrize("liveness", [Liveness.LOST, Liveness.LEFT])
def test_a_fenced_unit_moves_when_its_machine_is_lost(liveness: Liveness) -> None:
    scheduler = cluster(NodeSpec(A), NodeSpec(B))
    after(scheduler, unit("1.service", fence=True))
    assert after(scheduler, NodeSpec(A, liveness=liveness)) == ["remove 1 a", "place 1 b"]


def test_a_fenced_unit_of_an_unknown_machine_waits_until_that_is_lost() -> None:
    scheduler = cluster(NodeSpec(A), NodeSpec(B))
    after(scheduler, unit("1.service", fence=True))
    scheduler.drop_node(A)
    assert [short(step) for step in scheduler.decide()] == ["leave 1 a"]
    assert after(scheduler, NodeSpec(A, liveness=Liveness.LOST)) == ["remove 1 a", "place 1 b"]


def test_what_is_not_wanted_is_taken_off() -> None:
    scheduler = cluster(NodeSpec(A))
    after(scheduler, unit("1.service"), unit("2.service"))
    scheduler.drop_unit("1.service")
    scheduler.put_unit(UnitSpec("2.service", active=False))
    assert [short(step) for step in scheduler.decide()] == ["remove 1 a", "remove 2 a"]


def test_a_placement_that_the_store_lost_is_made_again() -> None:
    scheduler = cluster(NodeSpec(A))
    after(scheduler, unit("1.service"))
    scheduler.unplaced("1.service", A)
    assert [short(step) for step in scheduler.decide()] == ["place 1 a"]


def test_of_two_placements_of_one_unit_the_second_goes() -> None:
    scheduler = cluster(NodeSpec(A), NodeSpec(B))
    scheduler.put_unit(unit("1.service"))
    scheduler.placed("1.service", B)
    scheduler.placed("1.service", A)
    assert [short(step) for step in scheduler.decide()] == ["remove 1 a"]


def test_every_step_says_why() -> None:
    scheduler = cluster(NodeSpec(A))
    scheduler.put_unit(unit("1.service"))
    placed = scheduler.decide()
    scheduler.put_node(replace(NodeSpec(A), liveness=Liveness.LOST))
    assert placed == (
        Step(Verb.PLACE, "1.service", A, "least loaded of the machines that may run it, with 0 units"),
    )
    assert scheduler.decide() == (Step(Verb.REMOVE, "1.service", A, "the machine is lost"),)
