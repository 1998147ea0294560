"""The moves of an update from state to state: pure, one function for each event.

    idle ─plan→ planned ─fetch→ fetching ─written→ written ─verified→ verified ─staged→ staged
    staged ─wait→ waiting ─reboot→ rebooting                              (or straight from staged)
    rebooting ─booted→ trying ─blessed→ blessed ─settled→ idle        (the probation hour lies in blessed)
        │                 └─failed: the reason is kept; the reboot that follows ends in booted
        └─booted, but something else runs → rolled-back, and the target is refused from then on
    any step before staged ─refuse→ refused

Each says where it may come from, and raises TransitionError otherwise. A power cut may come between an
effect and the line that tells of it, so `booted` believes what runs more than what was written.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import msgspec

from skerry.host.update.errors import TransitionError
from skerry.host.update.journal import Refusal, State, Step

if TYPE_CHECKING:
    from collections.abc import Iterable

PROBATION_S = 3600.0
NO_REPORT = "did not report: panic, hang or power loss"
BY_HAND = "rolled back by hand"
ENTRY_LOST = "its boot entry was lost: the power failed while it was renamed"
OTHER_ENTRY = "the machine was rebooted, and another entry was chosen"

RESTING = frozenset({Step.IDLE, Step.BLESSED, Step.ROLLED_BACK, Step.REFUSED})
UNCOMMITTED = frozenset({Step.PLANNED, Step.FETCHING, Step.WRITTEN, Step.VERIFIED})
COMMITTED = frozenset({Step.STAGED, Step.WAITING})


class Tried(enum.StrEnum):
    """What the boot loader's counter says of a version's entry on the ESP."""

    ABSENT = "absent"
    NOT_YET = "not yet"  # no try has begun
    BEGUN = "begun"  # tries were begun, some are left
    OUT = "out"  # no try is left
    GOOD = "good"  # blessed: it is not counted


def plan(
    state: State, running: str, target: str, slot: str, now: float, *, channel: str | None = None
) -> State:
    """A target and its slot are chosen. Begins anew from every step but a boot that is being tried."""
    _from(state, "plan", RESTING | UNCOMMITTED | COMMITTED)
    return _changed(
        state, step=Step.PLANNED, running=running, target=target, slot=slot, since=now, reason="",
        previous=running, returning=False, failure=None, probation_until=None, channel=channel,
    )  # fmt: skip


def fetch(state: State, now: float) -> State:
    """The parts are fetched, and then the slot is filled: nothing in it can be relied on."""
    _from(state, "fetch", UNCOMMITTED)
    return _changed(state, step=Step.FETCHING, since=now)


def written(state: State, now: float) -> State:
    """Root and verity are in the slot."""
    _from(state, "written", {Step.FETCHING})
    return _changed(state, step=Step.WRITTEN, since=now)


def verified(state: State, now: float) -> State:
    """The whole slot was read back from the disk, and its labels name the version."""
    _from(state, "verified", {Step.WRITTEN, Step.VERIFIED})
    return _changed(state, step=Step.VERIFIED, since=now)


def found(state: State, now: float) -> State:
    """The target is in its slot from an earlier run, and was verified again."""
    _from(state, "found", UNCOMMITTED | COMMITTED)
    return _changed(state, step=Step.VERIFIED, since=now)


def staged(state: State, now: float) -> State:
    """The entry has its name on the ESP."""
    _from(state, "staged", {Step.VERIFIED, Step.STAGED})
    return _changed(state, step=Step.STAGED, since=now)


def wait(state: State, reason: str, now: float) -> State:
    """The reboot must wait; `reason` says for what."""
    _from(state, "wait", COMMITTED)
    return _changed(state, step=Step.WAITING, since=now, reason=reason)


def reboot(state: State, boot_id: str, now: float, reason: str = "") -> State:
    """The reboot is asked for, in the boot `boot_id`."""
    _from(state, "reboot", COMMITTED | {Step.REBOOTING})
    return _changed(state, step=Step.REBOOTING, since=now, boot_id=boot_id, reason=reason or state.reason)


def go_back(
    state: State,
    running: str,
    to: str,
    slot: str,
    boot_id: str,
    reason: str,
    now: float,
    *,
    refuse: bool = True,
) -> State:
    """The older version `to` is to be booted: by a person, or by health in the probation hour.

    With `refuse`, what runs now is remembered and not installed again unless forced.
    """
    _from(state, "go back", frozenset(Step) - {Step.REBOOTING})
    refused = {**state.refused, running: Refusal(reason, now)} if refuse else state.refused
    return _changed(
        state, step=Step.REBOOTING, running=running, previous=running, target=to, slot=slot, since=now,
        reason=reason, returning=True, refused=refused, boot_id=boot_id, probation_until=None, failure=None,
    )  # fmt: skip


def booted(
    state: State, running: str, tried: Tried, boot_id: str, now: float, *, evidence: str | None = None
) -> State:
    """What a boot shows. `tried` is of the target's entry; `evidence` is what is known of a failed boot."""
    if state.target is None or state.step in RESTING:
        return _changed(state, running=running) if state.running != running else state
    if running == state.target:
        return _target_runs(state, tried, boot_id, now)
    if state.returning:
        why = f"{state.target} was to be booted, and {running} came up"
        return _changed(state, step=Step.REFUSED, running=running, since=now, reason=why, returning=False)
    # Before `verified` no entry is of this update; an earlier one of the same version may lie there yet.
    if state.step in UNCOMMITTED and (
        state.step is not Step.VERIFIED or tried in {Tried.ABSENT, Tried.NOT_YET, Tried.GOOD}
    ):
        return _changed(state, running=running) if state.running != running else state
    if tried is Tried.NOT_YET:
        # Staged, and somebody chose the other entry, or the reboot has not come: the offer stands.
        return state if state.step in COMMITTED or state.boot_id == boot_id else _wait_again(state, now)
    if state.step is Step.REBOOTING and state.boot_id == boot_id:
        return state
    told = state.failure or evidence
    if tried is Tried.ABSENT and told is None:
        # Counted out, it would still be there. FAT may lose a name that is being changed, as by a bless.
        return _changed(state, step=Step.REFUSED, running=running, since=now, reason=ENTRY_LOST)
    why = told or NO_REPORT
    return _changed(
        state, step=Step.ROLLED_BACK, running=running, since=now, reason=why, boot_id=boot_id, failure=None,
        refused={**_without(state, running), state.target: Refusal(why, now)},
    )  # fmt: skip


def failed(state: State, reason: str, now: float) -> State:
    """Health speaks against the version that runs; the reboot that follows decides. Kept for `booted`."""
    _from(state, "failed", {Step.TRYING, Step.BLESSED})
    return _changed(state, failure=reason, since=now)


def blessed(state: State, now: float, *, probation_s: float = PROBATION_S) -> State:
    """Healthy: its entry is not counted any more. The probation hour begins."""
    if state.step in RESTING:
        return state
    _from(state, "blessed", {Step.TRYING})
    return _changed(
        state, step=Step.BLESSED, since=now, reason="", failure=None, probation_until=now + probation_s
    )


def settled(state: State, now: float) -> State:
    """The probation hour is over."""
    if state.step is not Step.BLESSED or state.on_probation(now):
        return state
    return _changed(state, step=Step.IDLE, since=now, target=None, slot=None, probation_until=None, reason="")


def refuse(state: State, reason: str, now: float, *, remember: str | None = None) -> State:
    """An update could not start or not end; `remember` is a version that is not to be tried again."""
    _from(state, "refuse", RESTING | UNCOMMITTED | COMMITTED)
    refused = {**state.refused, remember: Refusal(reason, now)} if remember else state.refused
    return _changed(state, step=Step.REFUSED, since=now, reason=reason, refused=refused)


def leave(state: State, newer: str, older: str, now: float) -> State:
    """A person goes to an `older` version: the newer one is not installed again unless forced."""
    _from(state, "leave", COMMITTED)
    why = f"left for {older} by hand"
    return _changed(state, refused={**state.refused, newer: Refusal(why, now)})


def force(state: State, version: str) -> State:
    """A person asks for a version although it failed before: that is forgotten."""
    return _changed(state, refused=_without(state, version))


def pin(state: State, version: str | None) -> State:
    """Stay on a version; None lets go."""
    return _changed(state, pinned=version)


def _target_runs(state: State, tried: Tried, boot_id: str, now: float) -> State:
    if state.returning:
        return _changed(
            state, step=Step.ROLLED_BACK, running=state.target, since=now, boot_id=boot_id, returning=False
        )
    good = tried is Tried.GOOD
    if good and state.step is not Step.BLESSED:
        return blessed(_changed(state, step=Step.TRYING, running=state.target, boot_id=boot_id), now)
    if state.step is Step.TRYING:
        return state if state.boot_id == boot_id else _changed(state, boot_id=boot_id)
    return _changed(state, step=Step.TRYING, running=state.target, since=now, boot_id=boot_id, reason="")


def _without(state: State, version: str) -> dict[str, Refusal]:
    return {other: why for other, why in state.refused.items() if other != version}


def _wait_again(state: State, now: float) -> State:
    return _changed(state, step=Step.WAITING, since=now, reason=OTHER_ENTRY)


def _from(state: State, event: str, allowed: Iterable[Step]) -> None:
    if state.step not in allowed:
        raise TransitionError(f"an update that is {state.step} does not take the step {event!r}")


def _changed(state: State, **fields: object) -> State:
    return msgspec.structs.replace(state, **fields)
