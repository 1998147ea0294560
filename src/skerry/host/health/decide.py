"""What follows from a boot's checks. Pure.

no check that counts failed     GOOD        it may be blessed
one did, but …
  it failed before the update   TOLERATED   what was broken already forces nothing
  this boot is on no trial      TOLERATED   said, and the machine stays up
  no other version could boot   TOLERATED   where the basic ones hold; else HELD: stays up, not blessed
one did                         FALL_BACK   a reboot, and boot counting chooses the other version
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.host.health.check import Result, Status, Weight

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Decision(enum.StrEnum):
    GOOD = "good"
    TOLERATED = "tolerated"
    HELD = "held"
    FALL_BACK = "fall-back"


class Trial(enum.StrEnum):
    """Whether this boot is being tried: a version not yet blessed, and with one to go back to or without."""

    NO = "no"
    WITH_FALLBACK = "with-fallback"
    WITHOUT_FALLBACK = "without-fallback"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is one sentence, "" where all is well. `failed` are the checks that counted, by name."""

    decision: Decision
    reason: str = ""
    failed: tuple[str, ...] = ()

    @property
    def may_bless(self) -> bool:
        return self.decision in (Decision.GOOD, Decision.TOLERATED)


def decide(results: Sequence[Result], before: Mapping[str, Status], trial: Trial) -> Verdict:
    """See the module. `before` holds what the same checks said when the update was staged."""
    wrong = [result for result in results if result.failed and result.weight is not Weight.WANTED]
    new = [result for result in wrong if before.get(result.name) is not Status.FAILED]
    if not wrong:
        return Verdict(Decision.GOOD)
    if not new:
        return _verdict(Decision.TOLERATED, wrong, " (as before the update)")
    if trial is Trial.WITH_FALLBACK:
        return _verdict(Decision.FALL_BACK, new)
    if trial is Trial.WITHOUT_FALLBACK and any(result.weight is Weight.BASIC for result in new):
        return _verdict(Decision.HELD, new)
    return _verdict(Decision.TOLERATED, new)


def _verdict(decision: Decision, counted: Sequence[Result], note: str = "") -> Verdict:
    reason = "; ".join(f"{result.name}: {result.said}" for result in counted) + note
    return Verdict(decision, reason, tuple(result.name for result in counted))
