"""How long work is shown: kit.progress events as bars, as plain lines, or as JSON lines; all on stderr.

Plain lines tell when a step ends, and how far one is that takes long; bars are rich's, imported when the
first step has run for a second.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from skerry.entry.cli.output import say, show_duration, show_size
from skerry.kit.progress import Phase, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from skerry.kit.progress import Reporter

PATIENCE_S = 1.0
LINE_EVERY_S = 15.0


@contextlib.contextmanager
def json_lines() -> Iterator[Reporter]:
    """One JSON object a line for every event."""

    def report(event: Progress) -> None:
        known = {
            "step": event.step,
            "phase": event.phase.value,
            "done": event.done,
            "total": event.total,
            "unit": event.unit,
            "note": event.note,
            "time": round(time.time(), 3),
        }
        print(
            json.dumps({k: v for k, v in known.items() if v not in {None, ""}}), file=sys.stderr, flush=True
        )

    yield report


@dataclass(slots=True)
class _Step:
    started: float = field(default_factory=time.monotonic)
    told: float = field(default_factory=time.monotonic)
    task: TaskID | None = None
    last: Progress | None = None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


@contextlib.contextmanager
def plain_lines() -> Iterator[Reporter]:
    """A line when a step ends, and now and then while one runs."""
    steps: dict[str, _Step] = {}

    def report(event: Progress) -> None:
        step = steps.setdefault(event.step, _Step())
        if event.phase is Phase.ADVANCED and time.monotonic() - step.told >= LINE_EVERY_S:
            step.told = time.monotonic()
            say(f"  {event.step}: {_amount(event)} after {show_duration(step.seconds)}")
        _ended(event, steps)

    yield report


@contextlib.contextmanager
def bars() -> Iterator[Reporter]:
    """A bar for each step that takes longer than a second, a line for each that has ended."""
    steps: dict[str, _Step] = {}
    shown: list[RichProgress] = []
    begun = time.monotonic()

    def report(event: Progress) -> None:
        if event.phase in {Phase.DONE, Phase.REUSED}:
            step = steps.get(event.step)
            if shown and step is not None and step.task is not None:
                shown[0].remove_task(step.task)
            _ended(event, steps, shown[0] if shown else None)
            return
        step = steps.setdefault(event.step, _Step())
        step.last = event
        if time.monotonic() - begun < PATIENCE_S:
            return
        if not shown:
            shown.append(_rich())
            shown[0].start()
        for name, waiting in steps.items():
            if waiting.task is None and waiting.last is not None:
                waiting.task = shown[0].add_task(name, total=waiting.last.total, amount="")
        if step.task is not None:
            amount = _amount(event)
            shown[0].update(step.task, completed=event.done or 0, total=event.total, amount=amount)

    try:
        yield report
    finally:
        if shown:
            shown[0].stop()


@contextlib.contextmanager
def ticking(report: Reporter, step: str, *, tick_s: float = PATIENCE_S) -> Iterator[None]:
    """A step of which nothing is heard until its end; of no other meanwhile."""
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(tick_s):
            report(Progress(step, Phase.ADVANCED, note="not done yet"))

    report(Progress(step, Phase.STARTED))
    ticking = threading.Thread(target=tick, name="progress")
    ticking.start()
    try:
        yield
    finally:
        ended.set()
        ticking.join()
    report(Progress(step, Phase.DONE))


def _rich() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[amount]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Bars(*columns, console=Console(stderr=True), transient=True)


def _ended(event: Progress, steps: dict[str, _Step], shown: RichProgress | None = None) -> None:
    if event.phase not in {Phase.DONE, Phase.REUSED}:
        return
    step = steps.pop(event.step, None)
    parts = [_amount(event), event.note]
    if event.phase is Phase.REUSED:
        parts.append("unchanged, reused")
    elif step is not None:
        parts.append(show_duration(step.seconds))
    line = f"  {event.step}: {', '.join(part for part in parts if part)}"
    if shown is not None:
        shown.console.print(line, highlight=False, markup=False)
    else:
        say(line)


def _amount(event: Progress) -> str:
    """ "12.0 MiB of 40.0 MiB", "3 of 20 files", "" where nothing is counted."""
    if event.done is None:
        return "" if event.phase in {Phase.DONE, Phase.REUSED} else event.note
    if event.unit == "B":
        done = show_size(event.done)
        return done if event.total in {None, event.done} else f"{done} of {show_size(event.total or 0)}"
    done = str(event.done)
    return (
        f"{done} {event.unit}"
        if event.total in {None, event.done}
        else f"{done} of {event.total} {event.unit}"
    )
