"""How long work is shown where nobody watches, and to programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from skerry.entry.cli.bars import bars, json_lines, plain_lines
from skerry.kit.progress import Phase, Progress

if TYPE_CHECKING:
    import pytest

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
