"""How long work is shown where nobody watches, and to programs."""

from __future__ import annotations

import json
import threading

import pytest

from skerry.entry.cli.bars import bars, json_lines, plain_lines, ticking
from skerry.kit.progress import Phase, Progress

EVENTS = (
    Progress("tree", Phase.STARTED),
    Progress("tree", Phase.ADVANCED, 1 << 20, 4 << 20),
    Progress("tree", Phase.DONE, 4 << 20, 4 << 20, note="42 packages"),
    Progress("kernel", Phase.REUSED),
)


def test_plain_lines_tell_when_a_step_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with plain_lines() as report:
        for event in EVENTS:
            report(event)
    assert capsys.readouterr().err == "  tree: 4.0 MiB, 42 packages, 0.0 s\n  kernel: unchanged, reused\n"


def test_bars_of_short_work_are_only_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with bars() as report:
        for event in EVENTS:
            report(event)
    assert capsys.readouterr().err.splitlines()[-1] == "  kernel: unchanged, reused"


def test_programs_get_a_json_line_for_every_event(capsys: pytest.CaptureFixture[str]) -> None:
    with json_lines() as report:
        for event in EVENTS:
            report(event)
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(t["step"], t["phase"]) for t in told] == [(e.step, e.phase.value) for e in EVENTS]
    assert told[1]["done"] == 1 << 20


def test_a_step_that_says_nothing_is_seen_to_go_on_until_it_ends() -> None:
    told: list[Progress] = []
    again = threading.Event()

    def report(event: Progress) -> None:
        told.append(event)
        if event.phase is Phase.ADVANCED:
            again.set()

    with ticking(report, "join", tick_s=0.001):
        assert again.wait(60)
    assert {event.step for event in told} == {"join"}
    phases = [event.phase for event in told]
    assert phases[:2] + phases[-1:] == [Phase.STARTED, Phase.ADVANCED, Phase.DONE]


def test_a_step_that_fails_is_not_said_to_be_done() -> None:
    told: list[Progress] = []
    with pytest.raises(OSError, match="full"), ticking(told.append, "join"):
        raise OSError("full")
    assert [event.phase for event in told] == [Phase.STARTED]
