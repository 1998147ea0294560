"""What a check is, and how a set of them is looked at until the machine has settled.

A check is a value: a name, a weight, and a function that looks once and says what it saw. It does not raise
for what it finds wrong; what it raises all the same counts as wrong. Nothing here knows what it looks at.

    basic      without it the machine is of no use at all: its disks, its sealed root
    required   a boot on trial that lacks it is given up, if there is another version to go back to
    wanted     said, and nothing more
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Weight(enum.StrEnum):
    BASIC = "basic"
    REQUIRED = "required"
    WANTED = "wanted"


class Status(enum.StrEnum):
    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"  # it does not apply to this machine, or not now


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one look saw. `final` says that looking again is for nothing; `output` is what a program wrote."""

    status: Status
    said: str
    output: str = ""
    final: bool = False


class Result(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What came of a check in the end. `took_s` is the last look alone."""

    name: str
    weight: Weight
    status: Status
    said: str
    took_s: float
    output: str = ""

    @property
    def failed(self) -> bool:
        return self.status is Status.FAILED


@dataclass(frozen=True, slots=True)
class Check:
    """See the module."""

    name: str
    weight: Weight
    look: Callable[[], Outcome]


class Times(Protocol):
    """The parts of the module `time` that are used here, which is what is given where it is not a test."""

    def time(self) -> float:
        """Seconds since 1970-01-01 UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def sleep(self, seconds: float, /) -> None:
        """Return when they have passed."""


def ok(said: str) -> Outcome:
    return Outcome(Status.OK, said)


def failed(said: str, *, output: str = "", final: bool = False) -> Outcome:
    return Outcome(Status.FAILED, said, output, final)


def skipped(said: str) -> Outcome:
    return Outcome(Status.SKIPPED, said)


def settle(
    checks: Sequence[Check],
    times: Times,
    *,
    deadline_s: float = 0,
    pause_s: float = 2,
    patience: Callable[[str], bool] = lambda name: True,
) -> tuple[Result, ...]:
    """The results of all checks, in their order; what fails is looked at again until the deadline.

    Not again: what is merely wanted, what is final, and what `patience` (of a check's name) denies. With no
    deadline each is looked at once. The last look may end after the deadline: each check bounds itself.
    """
    begun = times.monotonic()
    results: dict[str, Result] = {}
    pending = list(checks)
    while pending:
        again = []
        for check in pending:
            result, final = _look(check, times)
            results[check.name] = result
            if result.failed and not final and check.weight is not Weight.WANTED and patience(check.name):
                again.append(check)
        pending = again
        if pending and times.monotonic() - begun + pause_s > deadline_s:
            break
        if pending:
            times.sleep(pause_s)
    return tuple(results[check.name] for check in checks)


def _look(check: Check, times: Times) -> tuple[Result, bool]:
    begun = times.monotonic()
    try:
        outcome = check.look()
    except Exception as error:
        outcome = failed(f"the check itself broke: {type(error).__name__}: {error}")
    took_s = round(times.monotonic() - begun, 3)
    return Result(
        check.name, check.weight, outcome.status, outcome.said, took_s, outcome.output
    ), outcome.final
