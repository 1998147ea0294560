"""Going back: choosing the version in the other slot, by a person or by health; taking back what is staged.

The entry of the running version is counted out, so that it is sorted behind the other: one rename, and that
is the commit. Before it the other slot is read back against the hash in its own UKI, and its entry gets
tries again: were it not good after all, boot counting leads to the running version again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.host.update import machine
from skerry.host.update.errors import RefusedError, VerifyError
from skerry.host.update.journal import Event, Step
from skerry.host.update.machine import Tried
from skerry.image.release.version import is_newer

if TYPE_CHECKING:
    from pathlib import Path

    from skerry.host.update.around import EtcStager
    from skerry.host.update.disk import Disk, Slot
    from skerry.host.update.journal import Journal, State
    from skerry.host.update.situation import Situation

BLOCK_BYTES = 4096
_SEALED = re.compile(rb"skerry\.image=(\S+) (?:\S+ )*?skerry\.verity=([0-9a-f]{64}),([0-9a-f]*),(\d+)")


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a UKI's command line says of its root."""

    label: str
    root_hash: str
    salt: str
    blocks: int


def sealed(uki: Path) -> Sealed | None:
    """The seal in a UKI; None where it has none."""
    import mmap

    # Mapped, not read: a UKI is tens of MiB, and an update is to need little memory.
    try:
        with uki.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            groups = found.groups() if (found := _SEALED.search(data)) else None
    except (OSError, ValueError):
        return None
    if groups is None:
        return None
    label, root_hash, salt, blocks = (word.decode(errors="replace") for word in groups)
    return Sealed(label, root_hash, salt, int(blocks))


def verify(slot: Slot, uki: Path) -> None:
    """Read a slot back against its UKI. Raises VerifyError."""
    from skerry.image.content import verity
    from skerry.kit.errors import SkerryError

    seal = sealed(uki)
    if seal is None or seal.label != slot.label:
        raise VerifyError(f"the entry of {slot.label} is not one, or is of something else")
    try:
        told = verity.describe(slot.verity, seal.root_hash)
        if (told.salt, told.blocks) != (seal.salt, seal.blocks):
            raise VerifyError(f"slot {slot.name} does not hold what its entry was made for")
        verity.check(slot.root, slot.verity, told)
    except SkerryError as error:
        raise VerifyError(f"slot {slot.name} is damaged: {error.message}", hint=error.hint) from error


def against(now: Situation, *, force: bool = False) -> tuple[str, str] | None:
    """What speaks against going to the other slot, with its remedy; None where nothing does. Pure."""
    other = now.there.version
    if now.here is None:
        return f"no slot has the label of {now.machine.running}, which runs", "install anew"
    if other is None:
        return f"slot {now.there.name} holds no version that was verified", "deploy one by its version"
    if now.entry(other) is None:
        return f"the ESP has no entry of {other}", f"`skerry host deploy {other}` puts it there again"
    refusal = now.state.refused.get(other)
    if refusal is not None and not force:
        return (
            f"{other} is in the other slot, and it failed here: {refusal.reason}",
            "--force goes there anyway",
        )
    if now.state.step is Step.REBOOTING and now.state.boot_id == now.machine.boot_id:
        return "a reboot is on its way", "wait for it"
    return None


def go(
    now: Situation, disk: Disk, journal: Journal, reason: str, *, tries: int = 3, force: bool = False,
    check: bool = True,
) -> State:  # fmt: skip
    """Have the next boot start the other slot's version. Raises RefusedError, VerifyError, DiskError."""
    objection = against(now, force=force)
    if objection is not None:
        raise RefusedError(objection[0], hint=objection[1])
    other, running = now.there, now.machine.running
    entry = now.entry(other.version or "")
    assert other.version is not None and entry is not None  # noqa: S101, PT018  `against` saw to it
    if check:
        disk.settle(other.name)
        verify(other, disk.entry_path(entry))
    state = machine.force(now.state, other.version) if force else now.state
    # What runs is remembered as refused only where the way leads back: forward it is the older one.
    refuse = not is_newer(other.version, running)
    state = machine.go_back(
        state, running, other.version, other.name, now.machine.boot_id, reason, now.now, refuse=refuse
    )
    journal.write(state)
    journal.note(Event(now.now, "going back", other.version, running, reason))
    disk.recount(now.label(other.version), tries)
    disk.recount(now.label(running), 0)
    return state


def take_back(now: Situation, disk: Disk, journal: Journal, etc: EtcStager, reason: str) -> State:
    """Have the next boot start what runs, not what is staged. Raises DiskError."""
    version, running = now.state.target or "", now.machine.running
    # The journal first: cut off after it, `arrive` counts the entry of a refused version out.
    state = machine.refuse(now.state, reason, now.now, remember=version)
    journal.record(state)
    journal.note(Event(now.now, "taken back", version, running, reason))
    if now.tried(running) is Tried.OUT:
        disk.recount(now.label(running), None)
    disk.remove_entries(now.label(version))
    etc.unstage(version)
    return state
