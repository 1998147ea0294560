"""The moves between states, and the journal that keeps them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.host.update import machine
from skerry.host.update.errors import JournalError, NewerJournalError, TransitionError
from skerry.host.update.journal import (
    MOST_HISTORY_BYTES,
    Event,
    Journal,
    Refusal,
    State,
    Step,
    decode,
    encode,
)
from skerry.host.update.machine import Tried

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OLD, NEW = "1.0", "2.0"
AT = {"running": OLD, "target": NEW, "slot": "B", "previous": OLD}

MOVES: dict[str, tuple[Callable[[State], State], frozenset[Step]]] = {
    "plan": (
        lambda s: machine.plan(s, OLD, NEW, "B", 1),
        machine.RESTING | machine.UNCOMMITTED | machine.COMMITTED,
    ),
    "fetch": (lambda s: machine.fetch(s, 1), machine.UNCOMMITTED),
    "written": (lambda s: machine.written(s, 1), frozenset({Step.FETCHING})),
    "verified": (lambda s: machine.verified(s, 1), frozenset({Step.WRITTEN, Step.VERIFIED})),
    "staged": (lambda s: machine.staged(s, 1), frozenset({Step.VERIFIED, Step.STAGED})),
    "wait": (lambda s: machine.wait(s, "the window", 1), machine.COMMITTED),
    "reboot": (lambda s: machine.reboot(s, "boot", 1), machine.COMMITTED | {Step.REBOOTING}),
    "failed": (lambda s: machine.failed(s, "ssh", 1), frozenset({Step.TRYING, Step.BLESSED})),
    "blessed": (lambda s: machine.blessed(s, 1), machine.RESTING | {Step.TRYING}),
    "refuse": (
        lambda s: machine.refuse(s, "no room", 1),
        machine.RESTING | machine.UNCOMMITTED | machine.COMMITTED,
    ),
    "go back": (
        lambda s: machine.go_back(s, NEW, OLD, "A", "boot", "by hand", 1),
        frozenset(Step) - {Step.REBOOTING},
    ),
}


@pytest.mark.parametrize(("move", "step"), itertools.product(MOVES, Step))
def test_moves_come_only_from_where_they_may(move: str, step: Step) -> None:
    go, allowed = MOVES[move]
    state = State(step=step, **AT)  # type: ignore[arg-type]
    if step in allowed:
        go(state)
    else:
        with pytest.raises(TransitionError, match="does not take the step"):
            go(state)


# What was written, what runs, what the counter says, and whether the machine was booted since: what it means.
BOOTS = [
    (Step.REBOOTING, NEW, Tried.BEGUN, True, Step.TRYING),
    (Step.REBOOTING, NEW, Tried.OUT, True, Step.TRYING),  # the last try is running
    (Step.REBOOTING, NEW, Tried.GOOD, True, Step.BLESSED),
    (Step.REBOOTING, OLD, Tried.OUT, True, Step.ROLLED_BACK),
    (Step.REBOOTING, OLD, Tried.BEGUN, True, Step.ROLLED_BACK),
    (Step.REBOOTING, OLD, Tried.ABSENT, True, Step.REFUSED),  # lost, not failed: it may come again
    (Step.TRYING, OLD, Tried.ABSENT, True, Step.REFUSED),
    (Step.REBOOTING, OLD, Tried.NOT_YET, True, Step.WAITING),
    (Step.REBOOTING, OLD, Tried.NOT_YET, False, Step.REBOOTING),
    (Step.STAGED, NEW, Tried.BEGUN, True, Step.TRYING),  # somebody rebooted
    (Step.STAGED, OLD, Tried.NOT_YET, False, Step.STAGED),
    (Step.STAGED, OLD, Tried.OUT, True, Step.ROLLED_BACK),
    (Step.VERIFIED, NEW, Tried.BEGUN, True, Step.TRYING),  # cut after the rename, before the journal
    (Step.VERIFIED, OLD, Tried.NOT_YET, True, Step.VERIFIED),
    (Step.VERIFIED, OLD, Tried.OUT, True, Step.ROLLED_BACK),
    (Step.FETCHING, OLD, Tried.ABSENT, True, Step.FETCHING),
    (Step.TRYING, NEW, Tried.BEGUN, True, Step.TRYING),  # its second try
    (Step.TRYING, OLD, Tried.OUT, True, Step.ROLLED_BACK),
    (Step.IDLE, OLD, Tried.ABSENT, True, Step.IDLE),
    (Step.BLESSED, NEW, Tried.GOOD, True, Step.BLESSED),
]


@pytest.mark.parametrize(("step", "running", "tried", "rebooted", "then"), BOOTS)
def test_what_a_boot_shows(step: Step, running: str, tried: Tried, rebooted: bool, then: Step) -> None:
    state = State(step=step, boot_id="old", **AT)  # type: ignore[arg-type]
    found = machine.booted(state, running, tried, "new" if rebooted else "old", 5)
    assert found.step is then
    assert (NEW in found.refused) == (then is Step.ROLLED_BACK)


def test_a_boot_that_is_looked_at_twice_tells_the_same() -> None:
    for step, running, tried, rebooted, _ in BOOTS:
        state = State(step=step, boot_id="old", **AT)  # type: ignore[arg-type]
        boot = "new" if rebooted else "old"
        once = machine.booted(state, running, tried, boot, 5)
        assert machine.booted(once, running, tried, boot, 5) == once


def test_the_reason_is_health_s_then_the_evidence_then_silence() -> None:
    state = State(step=Step.TRYING, boot_id="old", **AT)  # type: ignore[arg-type]
    told = machine.failed(state, "skerryd: no answer", 2)
    for given_, evidence, reason in (
        (told, "panic", "skerryd: no answer"),
        (state, "panic", "panic"),
        (state, None, machine.NO_REPORT),
    ):
        back = machine.booted(given_, OLD, Tried.OUT, "new", 5, evidence=evidence)
        assert back.refused == {NEW: Refusal(reason, 5)}
        assert back.reason == reason


def test_a_rollback_by_hand_ends_rolled_back_and_keeps_its_reason() -> None:
    state = State(step=Step.BLESSED, running=NEW, target=NEW)
    going = machine.go_back(state, NEW, OLD, "A", "old", "it is slow", 2)
    assert going.step is Step.REBOOTING
    there = machine.booted(going, OLD, Tried.BEGUN, "new", 5)
    assert (there.step, there.reason, set(there.refused)) == (Step.ROLLED_BACK, "it is slow", {NEW})


def test_a_rollback_that_does_not_come_is_refused() -> None:
    going = machine.go_back(State(), NEW, OLD, "A", "old", "it is slow", 2)
    there = machine.booted(going, NEW, Tried.OUT, "new", 5)
    assert there.step is Step.REFUSED
    assert "came up" in there.reason


def test_force_forgets_one_version() -> None:
    state = State(refused={NEW: Refusal("panic", 1), "3.0": Refusal("hang", 1)})
    assert set(machine.force(state, NEW).refused) == {"3.0"}


def test_probation_ends_by_the_clock() -> None:
    state = machine.blessed(State(step=Step.TRYING, target=NEW), 100, probation_s=60)
    assert state.on_probation(159)
    assert machine.settled(state, 159) is state
    assert machine.settled(state, 160).step is Step.IDLE


def test_probation_that_began_under_a_clock_far_ahead_ends_when_that_is_mended() -> None:
    in_2038, mended = 2_147_483_648.0, 1_795_000_000.0
    state = machine.blessed(State(step=Step.TRYING, target=NEW), in_2038)
    assert state.on_probation(in_2038 - 60)
    assert machine.settled(state, mended).step is Step.IDLE


class TestJournal:
    def test_begins_empty_and_keeps_what_is_written(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path / "update")
        assert journal.read() == State()
        state = State(step=Step.TRYING, refused={NEW: Refusal("panic", 1)}, **AT)  # type: ignore[arg-type]
        journal.write(state)
        assert journal.read() == state

    def test_refuses_a_later_format_by_name(self, tmp_path: Path) -> None:
        (tmp_path / "state.json").write_text('{"format": 9, "step": "dreaming"}')
        with pytest.raises(NewerJournalError, match="has format 9"):
            Journal(tmp_path).read()

    def test_passes_over_a_later_field(self) -> None:
        assert decode(b'{"format": 1, "step": "idle", "mood": "good"}') == State()

    def test_damage_is_a_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "state.json").write_bytes(b"\xff\0")
        with pytest.raises(JournalError, match="is damaged"):
            Journal(tmp_path).read()

    def test_history_outlives_a_torn_line(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path)
        journal.note(Event(1, "staged", NEW))
        with (tmp_path / "history.jsonl").open("ab") as file:
            file.write(b'{"when": 2, "wh')
        journal.note(Event(3, "blessed", NEW))
        assert [event.when for event in journal.history()] == [1, 3]

    def test_history_does_not_grow_for_ever(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path)
        (tmp_path / "history.jsonl").write_bytes(b'{"when": 1, "what": "x"}\n' * 12000)
        journal.note(Event(2, "last"))
        assert (tmp_path / "history.jsonl").stat().st_size < MOST_HISTORY_BYTES
        assert list(journal.history())[-1].what == "last"


states = st.builds(
    State,
    step=st.sampled_from(Step),
    running=st.none() | st.just(OLD),
    target=st.none() | st.just(NEW),
    reason=st.text(max_size=20),
    refused=st.dictionaries(
        st.sampled_from([OLD, NEW]), st.builds(Refusal, st.text(max_size=5), st.just(1.0))
    ),
    returning=st.booleans(),
)


@settings(max_examples=100)
@given(states)
def test_every_state_is_read_back(state: State) -> None:
    assert decode(encode(state)) == state
    assert msgspec.json.decode(encode(state))["format"] == 1


@settings(max_examples=200)
@given(states, st.sampled_from(Tried), st.sampled_from([OLD, NEW]))
def test_no_boot_is_a_mistake(state: State, tried: Tried, running: str) -> None:
    """Whatever was written, a boot is understood, again as the same, and never refuses what runs."""
    once = machine.booted(state, running, tried, "new", 5)
    again = machine.booted(once, running, tried, "new", 5)
    assert again == once
    if running not in state.refused:
        assert running not in once.refused
