"""The rules one by one: labels, machine ids, conflicts, room, and which Global units a machine runs."""

from __future__ import annotations

import pytest

from skerry.fleet.schedule.constraints import (
    Room,
    conflict,
    globals_on,
    is_machine,
    labels_match,
    labels_of,
    replaces,
    runs_global,
)
from skerry.fleet.schedule.model import NodeSpec, UnitSpec
from skerry.fleet.state.node import Liveness, NodeRecord
from skerry.host.units.ports import HostPort, parse_host_port
from skerry.host.units.requirements import Requirements

ID = "0123456789abcdef0123456789abcdef"


def unit(name: str, **asks: object) -> UnitSpec:
    return UnitSpec(name, Requirements(**asks))  # type: ignore[arg-type]


def everywhere(name: str, **asks: object) -> UnitSpec:
    return unit(name, is_global=True, **asks)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"region": "us", "disk": "ssd"}, True),
        ({"region": "eu", "disk": "ssd"}, True),
        ({"region": "asia", "disk": "ssd"}, False),
        ({"region": "us"}, False),
        ({}, False),
    ],
)
def test_or_between_values_and_between_keys(labels: dict[str, str], expected: bool) -> None:
    wanted = (("region", frozenset({"us", "eu"})), ("disk", frozenset({"ssd"})))
    assert labels_match(wanted, labels) is expected


def test_labels_of_people_go_first_and_an_empty_one_takes_away() -> None:
    record = NodeRecord(metadata={"a": "people", "b": ""})
    assert labels_of(record, {"a": "own", "b": "own", "c": "own"}) == {"a": "people", "c": "own"}


@pytest.mark.parametrize(
    ("machine_id", "expected"), [(ID, True), (ID[:8], True), (ID[:9], False), (ID[:7], False), ("", False)]
)
def test_a_machine_id_is_whole_or_short(machine_id: str, expected: bool) -> None:
    assert is_machine(machine_id, ID) is expected


def test_conflicts_hold_both_ways_and_never_with_itself() -> None:
    web, other = unit("web@1.service", conflicts=("web@*",)), unit("web@2.service")
    assert conflict(web, other)
    assert conflict(other, web)
    assert not conflict(web, web)


def test_replaces_has_a_direction() -> None:
    new, old = unit("new.service", replaces=("old*",)), unit("old.service")
    assert replaces(new, old)
    assert not replaces(old, new)


def port(text: str) -> tuple[HostPort, ...]:
    return (parse_host_port(text),)


@pytest.mark.parametrize(
    ("asks", "lacks"),
    [
        ({}, None),
        ({"memory_bytes": 40}, None),
        ({"memory_bytes": 41}, "memory"),
        ({"cpu_millis": 500}, None),
        ({"cpu_millis": 501}, "cpu"),
        ({"ports": port("80")}, "80/tcp"),
        ({"ports": port("80/udp")}, None),
        ({"ports": port("70-90")}, "70-90/tcp"),
        ({"ports": port("9005")}, "9005/tcp"),
    ],
)
def test_room(asks: dict[str, object], lacks: str | None) -> None:
    there = unit("a.service", memory_bytes=60, cpu_millis=500, ports=(*port("80"), *port("9000-9010")))
    assert Room([there]).lacks(NodeSpec(ID, memory_bytes=100, cpu_millis=1000), unit("b", **asks)) == lacks


def test_room_that_is_given_back_is_free() -> None:
    there = unit("a.service", memory_bytes=60, ports=(*port("80"), *port("9000-9010")))
    room = Room([there])
    room.give_back(there)
    assert room.lacks(NodeSpec(ID, memory_bytes=60), there) is None


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (NodeSpec(ID), True),
        (NodeSpec(ID, cordoned=True), True),
        (NodeSpec(ID, draining=True), False),
        (NodeSpec(ID, liveness=Liveness.LOST), False),
        (NodeSpec(ID, liveness=None), False),
    ],
)
def test_a_global_unit_runs_where_things_may_stay(node: NodeSpec, expected: bool) -> None:
    assert runs_global(everywhere("a.service"), node, ()) is expected


def test_a_global_unit_follows_its_labels() -> None:
    wanted = everywhere("a.service", metadata=(("gpu", frozenset({"yes"})),))
    assert runs_global(wanted, NodeSpec(ID, {"gpu": "yes"}), ())
    assert not runs_global(wanted, NodeSpec(ID), ())


def test_among_globals_in_conflict_the_first_by_name_runs() -> None:
    a, b = everywhere("a.service", conflicts=("b*",)), everywhere("b.service")
    assert globals_on(NodeSpec(ID), [b, a]) == (a,)


def test_a_global_unit_runs_where_placed_ones_left_room() -> None:
    node, agent = NodeSpec(ID, memory_bytes=100), everywhere("a.service", memory_bytes=50)
    assert globals_on(node, [agent], [unit("p", memory_bytes=50)]) == (agent,)
    assert globals_on(node, [agent], [unit("p", memory_bytes=51)]) == ()
