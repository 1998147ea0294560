"""The table of who lives: values in, values out, at moments that the test names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.fleet.presence.heartbeat import Contact, Heartbeat
from skerry.fleet.presence.liveness import (
    HEARING_S,
    MANY,
    RESUMING_S,
    SETTLE_S,
    DuplicateNodeError,
    LivenessTable,
    NotYetError,
    Transition,
)
from skerry.fleet.state.node import Facts, Liveness, PresenceRecord

FACTS = Facts(hostname="a", boot_id="1")
HELLO = Heartbeat("1", 0, FACTS)
BEAT = Heartbeat("1", 0)
READY, LOST, LEFT = Liveness.READY, Liveness.LOST, Liveness.LEFT


def joined() -> LivenessTable:
    """A table of one machine, heard at 0 and written as revision 5."""
    table = LivenessTable(15)
    told = table.heard("a", HELLO, at=0, now=0)
    assert told is not None
    table.written(told, 5)
    return table


def test_a_machine_comes_with_its_facts() -> None:
    table = LivenessTable(15)
    assert table.heard("a", BEAT, at=0, now=7) is None
    assert table.contact("a") == Contact(0, tell=True)
    assert table.heard("a", HELLO, at=1, now=8) == Transition("a", PresenceRecord(FACTS, READY, 8))


def test_an_answer_is_given_only_for_what_is_written() -> None:
    table = LivenessTable(15)
    told = table.heard("a", HELLO, at=0, now=0)
    assert told is not None
    assert table.contact("a").ttl_s == 0
    assert table.heard("a", BEAT, at=1, now=1) == told  # again, until it is
    table.written(told, 5)
    assert table.contact("a") == Contact(15, 5)


def test_who_goes_on_beating_changes_nothing() -> None:
    table = joined()
    for at in range(5, 500, 5):
        assert table.heard("a", BEAT, at=at, now=at) is None
        assert table.due(at, at) == []
    assert table.contact("a") == Contact(15, 5)


def test_new_facts_are_told_and_do_not_count_as_a_return() -> None:
    table = joined()
    facts = Facts(hostname="b", boot_id="1")
    told = table.heard("a", Heartbeat("1", 0, facts), at=5, now=5)
    assert told == Transition("a", PresenceRecord(facts, READY, 0))
    table.written(told, 9)
    assert table.contact("a").revision == 5


def test_who_is_silent_for_a_ttl_is_lost_and_comes_back() -> None:
    table = joined()
    assert table.due(14.9, 14.9) == []
    assert table.due(15, 15) == [Transition("a", PresenceRecord(FACTS, LOST, 15))]
    assert table.due(100, 100) == []
    told = table.heard("a", BEAT, at=101, now=101)
    assert told == Transition("a", PresenceRecord(FACTS, READY, 101))
    table.written(told, 30)
    assert table.contact("a").revision == 30
    assert [t.node for t in table.due(116, 116)] == ["a"]


def test_who_was_lost_is_taken_back_when_what_its_loss_led_to_is_written() -> None:
    table = joined()
    table.due(15, 15)
    with pytest.raises(NotYetError):
        table.heard("a", BEAT, at=15 + SETTLE_S - 0.1, now=0)
    assert table.heard("a", BEAT, at=15 + SETTLE_S, now=0) is not None


def test_goodbye_is_told_at_once_and_once() -> None:
    table = joined()
    assert table.goodbye("a", now=3) == Transition("a", PresenceRecord(FACTS, LEFT, 3))
    assert table.goodbye("a", now=4) is None
    assert table.due(100, 100) == []


def test_a_new_leader_waits_two_ttls() -> None:
    table = LivenessTable(15)
    there = PresenceRecord(FACTS, READY, 0)
    table.begin({"a": (there, 3), "b": (there, 4), "gone": (PresenceRecord(FACTS, LOST, 0), 5)}, at=100)
    assert table.heard("b", BEAT, at=110, now=0) is None
    assert [t.node for t in table.due(129.9, 0)] == ["b"]
    assert [t.node for t in table.due(130, 0)] == ["a"]


def test_of_whom_is_known_since_when_it_is_silent_has_the_rest_of_a_ttl() -> None:
    table = LivenessTable(15)
    there = PresenceRecord(FACTS, READY, 0)
    table.begin({"a": (there, 3), "b": (there, 4)}, at=100, silent={"a": 95, "gone": 90})
    assert table.due(109.9, 0) == []
    assert [t.node for t in table.due(110, 0)] == ["a"]
    table.begin({"a": (there, 3), "b": (there, 4)}, at=100, silent={"a": 80})
    assert table.due(100 + HEARING_S - 0.1, 0) == []  # nobody could hear it before
    assert [t.node for t in table.due(100 + HEARING_S, 0)] == ["a"]


def test_who_resumes_goes_on_with_the_times_that_ran() -> None:
    table = LivenessTable(15)
    there = {name: (PresenceRecord(FACTS, READY, 0), 3) for name in "abcd"}
    table.begin(there, at=90, silent={"d": 89})
    table.heard("a", BEAT, at=91, now=0)
    table.heard("b", BEAT, at=93, now=0)
    for at in (93.5, 94):
        table.begin(there, at=at, silent={"here": 88}, resumes=True)
    assert table.due(103.9, 0) == []
    lost = {at: [t.node for t in table.due(at, 0)] for at in (104, 106, 108, 119.9, 120)}
    assert lost == {
        104: ["d"],
        106: ["a"],
        108: ["b"],
        119.9: [],
        120: ["c"],
    }  # "d" was silent before all this


def test_who_could_not_be_answered_has_a_while_when_the_leader_resumes() -> None:
    table = LivenessTable(15)
    there = {"a": (PresenceRecord(FACTS, READY, 0), 3)}
    table.begin(there, at=90)
    table.heard("a", BEAT, at=100, now=0)
    table.begin(there, at=113, resumes=True)
    assert table.due(113 + RESUMING_S - 0.1, 0) == []
    assert [t.node for t in table.due(113 + RESUMING_S, 0)] == ["a"]
    table.heard("a", BEAT, at=180, now=0)
    table.begin(there, at=181)  # another led meanwhile
    assert table.due(181 + 2 * 15 - 0.1, 0) == []


def test_a_second_machine_with_the_id_of_one_that_lives_is_refused() -> None:
    table = joined()
    other = Heartbeat("2", 0, Facts(hostname="copy", boot_id="2"))
    with pytest.raises(DuplicateNodeError):
        table.heard("a", other, at=14, now=14)
    assert table.heard("a", BEAT, at=14, now=14) is None
    table.goodbye("a", now=15)
    assert table.heard("a", other, at=16, now=16) is not None  # it was a reboot


def test_a_machine_that_crashed_is_itself_again_after_a_ttl() -> None:
    table = joined()
    again = Heartbeat("2", 0, FACTS)
    assert table.heard("a", again, at=15, now=15) is None


def test_a_failed_write_is_made_good_by_the_next_heartbeat() -> None:
    table = LivenessTable(15)
    told = table.heard("a", HELLO, at=0, now=0)
    assert told is not None
    table.failed(told)
    assert table.heard("a", BEAT, at=1, now=1) == told


def test_a_goodbye_that_was_not_written_can_be_said_again() -> None:
    table = joined()
    told = table.goodbye("a", now=3)
    assert told is not None
    table.failed(told)
    assert table.goodbye("a", now=4) == Transition("a", PresenceRecord(FACTS, LEFT, 4))


@pytest.mark.parametrize("looked_at", [(15,), (16, 17)])
def test_who_could_not_say_goodbye_is_lost_when_its_time_is_up(looked_at: tuple[float, ...]) -> None:
    table = joined()
    told = table.goodbye("a", now=3)
    assert told is not None
    for at in looked_at[:-1]:
        assert table.due(at, at) == []  # it takes long to fail
    table.failed(told)
    assert [t.record.liveness for t in table.due(looked_at[-1], 17)] == [LOST]


def test_clocks_are_compared() -> None:
    table = joined()
    table.heard("a", Heartbeat("1", now=1600), at=5, now=1000)
    assert table.skews_s() == {"a": 600}


@pytest.mark.parametrize(
    ("silent", "beating", "lost_at"),
    [(MANY, 0, 30), (MANY, MANY - 1, 30), (MANY, MANY + 1, 15), (MANY - 1, 0, 15), (1, 500, 15)],
)
def test_where_most_of_many_fall_silent_at_once_the_fault_is_rather_here(
    silent: int, beating: int, lost_at: int
) -> None:
    table = LivenessTable(15)
    for number in range(silent + beating):
        told = table.heard(f"n{number}", HELLO, at=0, now=0)
        assert told is not None
        table.written(told, 5)
    for at in (5, 10, 15, 20, 25):
        for number in range(silent, silent + beating):
            table.heard(f"n{number}", BEAT, at=at, now=at)
        assert len(table.due(at, at)) == (silent if at == lost_at else 0)
    assert len(table.due(30, 30)) == (silent if lost_at == 30 else 0)


def test_who_was_removed_is_forgotten() -> None:
    table = joined()
    table.drop("a")
    assert table.due(100, 100) == []
    assert table.skews_s() == {}


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 8)), max_size=40),
    st.integers(1, 20),
)
def test_nobody_is_lost_who_was_heard_within_a_ttl_and_everybody_else_is(
    beats: list[tuple[str, float]], ttl_s: int
) -> None:
    table = LivenessTable(ttl_s)
    last: dict[str, float] = {}
    lost: set[str] = set()
    at = 0.0
    for name, pause in beats:
        at += pause
        due = table.next_due()
        said = {t.node for t in table.due(at, at)}
        assert due is None or not said or due <= at
        lost |= said
        assert lost == {n for n, heard in last.items() if heard + ttl_s <= at}
        if name in lost:
            at += SETTLE_S
            lost |= {t.node for t in table.due(at, at)}
        told = table.heard(name, Heartbeat("1", at, FACTS), at=at, now=at)
        assert (told is not None) == (name in lost or name not in last)
        if told is not None:
            table.written(told, 1)
        lost.discard(name)
        last[name] = at
