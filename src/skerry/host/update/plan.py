"""The steps from a situation to a version that is staged: pure, each with its reason.

    (promote) → fetch → unlist → clear → fill → verify → label → (extensions) → etc → health → entry
    → (demote) → clean

The order keeps three promises: an entry on the ESP names a slot that was read back and verified; the running
version's entry is good until another's is in place; what the journal says was done is on the disk. So any
prefix may be carried out and the rest lost: planned again from what is there, the end is the same. A slot
with the version's label was verified, and is verified again, not filled again.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import msgspec

from skerry.host.update.machine import Tried
from skerry.image.release.version import is_older

if TYPE_CHECKING:
    from skerry.host.update.situation import Situation


class Do(enum.StrEnum):
    FETCH = "fetch"
    PROMOTE = "promote"
    UNLIST = "unlist"
    CLEAR = "clear"
    FILL = "fill"
    VERIFY = "verify"
    LABEL = "label"
    EXTENSIONS = "extensions"
    ETC = "etc"
    HEALTH = "health"
    ENTRY = "entry"
    DEMOTE = "demote"
    CLEAN = "clean"


class PlannedStep(msgspec.Struct, frozen=True):
    """`what` is done, and `why`, both for people."""

    do: Do
    what: str
    why: str


class Goal(msgspec.Struct, frozen=True):
    """The version to stage, and the extensions that go with it."""

    version: str
    extensions: tuple[str, ...] = ()


def steps(now: Situation, goal: Goal) -> tuple[PlannedStep, ...]:
    """What is left to do until `goal` is staged; nothing where it is."""
    running, version, slot = now.machine.running, goal.version, now.there
    older = is_older(version, running)
    label = now.label(version)
    filled = slot.label == label
    # One that is good or out of tries gets new ones: it may have gone bad, and must lead back then.
    listed = filled and now.tried(version) in (Tried.NOT_YET, Tried.BEGUN)
    ready = listed and (not goal.extensions or version in now.kept)
    demoted = now.tried(running) is Tried.OUT
    if ready and older is demoted:
        return ()
    found: list[PlannedStep] = []

    def add(do: Do, what: str, why: str) -> None:
        found.append(PlannedStep(do, what, why))

    if not older and demoted:
        add(Do.PROMOTE, f"make the entry of {running} good again", "it is the way back")
    if not filled:
        add(Do.FETCH, f"fetch what {version} has and this host has not", "before the slot is touched")
        old = f"what slot {slot.name} holds is about to go" if slot.label else "nothing may boot from it"
        stale = [e.label for e in now.entries if e.label in (slot.label, label)]
        if stale:
            add(Do.UNLIST, f"remove {' and '.join(sorted(set(stale)))} from the boot entries", old)
        if slot.label:
            add(Do.CLEAR, f"label slot {slot.name} empty", old)
        add(Do.FILL, f"fill slot {slot.name} with {version}", f"{running} runs from the other slot")
    elif now.tried(version) in (Tried.OUT, Tried.GOOD):
        add(Do.UNLIST, f"remove {label} from the boot entries", "it comes back with tries to count")
    if not ready:
        add(Do.VERIFY, f"read slot {slot.name} back from the disk", "only what was read back may be booted")
        if not filled:
            add(Do.LABEL, f"label slot {slot.name} {label}", "the initrd finds the root by its label")
    if goal.extensions and version not in now.kept:
        names = ", ".join(goal.extensions)
        add(Do.EXTENSIONS, f"fetch {names} for {version}", "extensions are of one version")
    if not listed:
        add(Do.ETC, f"have /etc of {running} merged at the first boot of {version}", "yours goes along")
        add(Do.HEALTH, "write down how this machine is", f"{version} is compared with it")
        add(Do.ENTRY, f"put {label} among the boot entries", "from here on the next boot tries it")
    if older and not demoted:
        add(Do.DEMOTE, f"count the entry of {running} out", "the newest version that counts is booted first")
    add(Do.CLEAN, "remove what was fetched", "it is in the slot")
    return tuple(found)
