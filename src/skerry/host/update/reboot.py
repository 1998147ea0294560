"""Whether a staged version may be booted now, later, or when a person says so. Pure."""

from __future__ import annotations

import msgspec

from skerry.host.update.settings import Strategy, UpdateSettings


class RebootPlan(msgspec.Struct, frozen=True):
    """`now`, or at `when` (seconds since 1970), or, where both say no, when a person reboots."""

    now: bool
    why: str
    when: float | None = None


def plan(settings: UpdateSettings, now: float, *, asked: bool) -> RebootPlan:
    """What the strategy says; `asked`: a person wants it at once."""
    if asked:
        return RebootPlan(True, "it was asked for", now)
    if settings.strategy is Strategy.IMMEDIATE:
        return RebootPlan(True, "the strategy is immediate", now)
    if settings.strategy is Strategy.MANUAL:
        return RebootPlan(False, "the strategy is manual: the next reboot, whenever it comes, starts it")
    window = settings.window.built()
    if window.is_open(now):
        return RebootPlan(True, "the window is open", now)
    return RebootPlan(False, "the window is closed", window.next_opening(now))
