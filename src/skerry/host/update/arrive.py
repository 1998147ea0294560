"""What follows from how the machine came up: the journal is brought up to it, and strays are swept.

Done at every boot and before every update; doing it again changes nothing. Pure but for `tidy`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.host.update import machine
from skerry.host.update.journal import Event, Step
from skerry.host.update.machine import Tried

if TYPE_CHECKING:
    from skerry.host.update.disk import Disk
    from skerry.host.update.journal import State
    from skerry.host.update.situation import Situation


def arrive(now: Situation, *, evidence: str | None = None) -> tuple[State, tuple[Event, ...]]:
    """The state after this boot, and what to tell of it."""
    before = now.state
    running = now.machine.running
    state = machine.booted(
        before, running, now.tried(before.target), now.machine.boot_id, now.now, evidence=evidence
    )
    if state.step is Step.TRYING and now.tried(running) is Tried.GOOD:
        state = machine.blessed(state, now.now)
    state = machine.settled(state, now.now)
    events: list[Event] = []
    if state.step is not before.step:
        if state.step is Step.ROLLED_BACK:
            events.append(Event(now.now, "rolled-back", running, before.previous or "", state.reason))
        elif state.step is Step.TRYING:
            events.append(Event(now.now, "trying", running, before.previous or ""))
        elif state.step is Step.BLESSED:
            events.append(Event(now.now, "blessed", running, before.previous or ""))
        elif state.step is Step.REFUSED:
            events.append(Event(now.now, "refused", before.target or "", running, state.reason))
    return state, tuple(events)


def tidy(now: Situation, disk: Disk) -> tuple[str, ...]:
    """Put the ESP in order after `arrive`: `now` has the new state. Returns what was done, in sentences."""
    done: list[str] = []
    running, state = now.machine.running, now.state
    # To be counted out was an older version's chance, and that has come to nothing or to an end.
    if now.tried(running) is Tried.OUT and state.step in (Step.ROLLED_BACK, Step.REFUSED) and now.here:
        disk.recount(now.label(running), None)
        done.append(f"{running} runs again, so its entry is good")
    labels = {slot.label for slot in now.slots if slot.label}
    for label in sorted({entry.label for entry in now.entries} - labels):
        if label.startswith(f"{now.machine.name}_") and label != now.label(running):
            disk.remove_entries(label)
            done.append(f"the entry of {label} is gone: no slot holds it")
    for version in sorted(state.refused):
        tried = now.tried(version)
        if version != running and tried in (Tried.NOT_YET, Tried.BEGUN) and not _goes_there(state, version):
            disk.recount(now.label(version), 0)
            done.append(f"{version} failed, so no try is left to it")
    if now.strays:
        disk.sweep()
        done.append(f"{', '.join(now.strays)} on the ESP: left by an update that was interrupted")
    return tuple(done)


def _goes_there(state: State, version: str) -> bool:
    return state.target == version and state.step not in machine.RESTING
