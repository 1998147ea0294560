"""The arithmetic of fencing: whatever becomes of messages, what is fenced is dead before it may move."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.fleet.agent.fence import LEASE_FILE, Fence
from skerry.fleet.agent.fence_drop_in import LEASE_S, STOP_S, fence_drop_in
from skerry.fleet.presence.heartbeat import DEFAULT_TTL_S, Contact, Heartbeat
from skerry.fleet.presence.liveness import LivenessTable, NotYetError
from skerry.fleet.state.node import Facts, Liveness
from skerry.host.units.name import parse_name

if TYPE_CHECKING:
    from collections.abc import Callable
DEAD_S = LEASE_S + 2 * STOP_S
"""From a heartbeat's sending to when the last process has been killed, if that was the last one answered."""

HELLO = Heartbeat("1", 0, Facts())


class Time:
    """A clock that a test sets; nobody waits for it."""

    def __init__(self) -> None:
        self.at = 0.0
        self.step = 0.0

    def monotonic(self) -> float:
        self.at += self.step
        return self.at

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


def fence(root: Path, time: Time, lapsed: Callable[[], None] = lambda: None) -> Fence:
    return Fence(root, time, lambda: 500 + time.monotonic(), lapsed, lambda: None)


def test_there_is_room_between_the_last_kill_and_the_earliest_move() -> None:
    assert DEAD_S + 0.9 <= DEFAULT_TTL_S


BEATS = st.lists(
    st.tuples(
        st.floats(0, 12),  # since the one before was sent
        st.none() | st.floats(0, 30),  # until the leader heard it
        st.none() | st.floats(0, 30),  # until the answer was back
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=400)
@given(BEATS, st.lists(st.floats(0, 120), max_size=3))
def test_no_lease_reaches_into_a_time_when_the_servers_may_move_its_units(
    tmp_path_factory: pytest.TempPathFactory,
    beats: list[tuple[float, float | None, float | None]],
    new_leaders: list[float],
) -> None:
    """The real table and the real lease, with any delays, losses and changes of leader."""
    time = Time()
    table = LivenessTable(DEFAULT_TTL_S)
    lease = fence(tmp_path_factory.getbasetemp() / "none", time)
    events: list[tuple[float, int, str, float]] = []
    sent = 0.0
    for number, (pause, up, down) in enumerate(beats):
        sent += pause
        if up is not None:
            events.append((sent + up, number, "heard", sent))
            if down is not None:
                events.append((sent + up + down, number, "answered", sent))
    events.extend((at, -1, "leader", at) for at in new_leaders)
    events.extend((float(at), -2, "look", 0.0) for at in range(0, 400, 3))
    lost: set[int] = set()  # heard before the machine was taken for lost
    refused: set[int] = set()
    heard: list[int] = []
    for at, number, what, when in sorted(events):
        due = table.next_due()
        while due is not None and due <= at:
            time.at = due
            for transition in table.due(due, due):
                assert transition.record.liveness is Liveness.LOST
                # All that any answer ever promised ends, with all that runs by it, before this moment.
                assert lease._until + DEAD_S - LEASE_S <= due
                lost.update(heard)
            due = table.next_due()
        time.at = at
        match what:
            case "heard":
                try:
                    told = table.heard("a", HELLO, at, at)
                except NotYetError:
                    refused.add(number)
                    continue
                heard.append(number)
                if told is not None:
                    table.written(told, number + 1)
            case "leader":
                record = {"a": (table._nodes["a"].record, 1)} if "a" in table._nodes else {}
                table.begin(record, at)
            case "answered":
                if number in refused:
                    continue
                held = lease.holds
                lease.answered(when, Contact(DEFAULT_TTL_S))
                if number in lost:
                    assert held or not lease.holds  # too late: it gives nothing
            case _:
                pass


@given(st.floats(0, 20), st.floats(0, 20))
def test_an_answer_is_good_from_when_it_was_asked_for(asked: float, took: float) -> None:
    time = Time()
    lease = fence(Path("/nonexistent"), time)
    time.at = asked + took
    lease.answered(asked, Contact(15))
    assert lease.holds == (took < LEASE_S and asked + took < asked + LEASE_S)


def test_an_answer_that_counts_from_earlier_is_good_from_then(tmp_path: Path) -> None:
    time = Time()
    lease = fence(tmp_path, time)
    time.at = 100
    lease.answered(99, Contact(15, age_s=3))
    time.at = 96 + LEASE_S - 0.1
    assert lease.holds
    time.at = 96 + LEASE_S
    assert not lease.holds


def test_the_end_is_told_once_also_where_nobody_was_there_to_see_it(tmp_path: Path) -> None:
    time, told = Time(), []
    lease = fence(tmp_path, time, lambda: told.append(time.at))
    lease.answered(0, Contact(15))
    time.at = 100  # stopped meanwhile
    lease.answered(99, Contact(15))
    assert told == [100]
    assert lease.holds


def test_the_file_says_until_when_in_uptime(tmp_path: Path) -> None:
    time = Time()
    lease = fence(tmp_path, time)
    lease.answered(0, Contact(15))
    assert not (tmp_path / LEASE_FILE).exists()
    lease.need(needed=True)
    assert (tmp_path / LEASE_FILE).read_text() == "51000\n"
    time.at = 5
    lease.answered(4, Contact(15))
    assert (tmp_path / LEASE_FILE).read_text() == "51400\n"


@pytest.mark.parametrize("step", [0.0, 0.5, 30.0])
def test_a_stop_in_the_middle_of_writing_only_shortens_it(tmp_path: Path, step: float) -> None:
    time = Time()
    lease = fence(tmp_path, time)
    lease.answered(0, Contact(15))
    time.step = step  # time goes on between any two looks at the clocks
    lease.need(needed=True)
    assert int((tmp_path / LEASE_FILE).read_text()) / 100 <= 500 + LEASE_S


def test_the_next_life_of_the_program_goes_on_by_the_file(tmp_path: Path) -> None:
    time = Time()
    lease = fence(tmp_path, time)
    lease.answered(0, Contact(15))
    lease.need(needed=True)
    time.at = LEASE_S - 1
    assert fence(tmp_path, time).holds
    time.at = LEASE_S
    assert not fence(tmp_path, time).holds


@pytest.mark.parametrize("text", ["", "soon\n", "-5\n", "99999999999\n"])
def test_a_file_that_says_nothing_sensible_is_no_lease(tmp_path: Path, text: str) -> None:
    (tmp_path / LEASE_FILE).parent.mkdir(parents=True)
    (tmp_path / LEASE_FILE).write_text(text)
    assert not fence(tmp_path, Time()).holds


def test_a_machine_alone_has_a_lease_without_end(tmp_path: Path) -> None:
    time = Time()
    lease = fence(tmp_path, time)
    lease.need(needed=True)
    lease.answered(0, Contact(math.inf))
    time.at = 1e9
    assert lease.holds
    assert not (tmp_path / LEASE_FILE).exists()


@pytest.mark.parametrize(
    ("name", "text", "has", "has_not"),
    [
        ("a.service", "[Service]\nExecStart=x\n", ["BindsTo=", "After=", "TimeoutStopSec=2s"], ["KillMode"]),
        ("a.service", "[Service]\nKillMode=process\n", ["KillMode=control-group"], ["[Container]"]),
        ("a.container", "[Container]\nImage=x\n", ["[Service]", "[Container]\nStopTimeout=1"], []),
        ("a.timer", "[Timer]\nOnBootSec=1\n", ["BindsTo="], ["[Service]"]),
    ],
)
def test_what_a_drop_in_says(name: str, text: str, has: list[str], has_not: list[str]) -> None:
    said = fence_drop_in(parse_name(name), text)[1]
    assert [word for word in has if word not in said] == []
    assert [word for word in has_not if word in said] == []
