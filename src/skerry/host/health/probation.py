"""The time after a bless in which health may still decide to go back. Pure.

A check counts that was well when the version was blessed, and has now failed several times in a row. What was
wrong already is forgiven, and so is what failed once: a container that is restarted is not a bad version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.host.health.check import Result, Status, Weight
from skerry.host.health.record import Tally

if TYPE_CHECKING:
    from collections.abc import Sequence


def begin(version: str, results: Sequence[Result]) -> Tally:
    """The tally of a version that has just been blessed."""
    well = (result.name for result in results if result.weight is not Weight.WANTED)
    failing = {result.name for result in results if result.failed}
    return Tally(version, tuple(name for name in well if name not in failing))


def count(tally: Tally, results: Sequence[Result]) -> Tally:
    """The tally after one more look. What was not looked at keeps its number."""
    failures = dict(tally.failures)
    for result in results:
        if result.name not in tally.well:
            continue
        if result.failed:
            failures[result.name] = failures.get(result.name, 0) + 1
        elif result.status is Status.OK:
            failures.pop(result.name, None)
    return Tally(tally.version, tally.well, failures)


def why_back(tally: Tally, results: Sequence[Result], *, limit: int) -> str | None:
    """The reason to go back, or None. A check that was not looked at, as one taken away, does not count."""
    said = {result.name: result.said for result in results if result.failed}
    worn = [name for name, number in sorted(tally.failures.items()) if number >= limit and name in said]
    if not worn:
        return None
    return "; ".join(f"{name}: {said[name]} ({tally.failures[name]} times in a row)" for name in worn)
