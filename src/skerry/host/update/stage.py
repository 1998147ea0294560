"""A plan carried out to its end, and what it staged looked at again before it is booted.

The journal says what was planned before the first step, and why it ended where it did not succeed; then the
host runs on as before. The steps themselves are in steps.py.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

from skerry.host.update import machine
from skerry.host.update.errors import DiskError, VerifyError
from skerry.host.update.journal import Event
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from skerry.host.update.around import EtcStager
    from skerry.host.update.disk import Disk
    from skerry.host.update.journal import Journal, State
    from skerry.host.update.keep import Keep
    from skerry.host.update.prepare import Prepared
    from skerry.host.update.situation import Situation
    from skerry.host.update.steps import Hands
    from skerry.image.release.manifest import Manifest


def carry_out(now: Situation, prepared: Prepared, manifest: Manifest, hands: Hands, *, force: bool) -> None:
    """Do every step of the plan. Raises SkerryError where one fails: DiskError for the disk's own errors."""
    version, state, running = manifest.version, now.state, now.machine.running
    journal, clock, preview = hands.journal, hands.clock, prepared.preview
    if force:
        state = machine.force(state, version)
    if not _goes_on(state, version):
        state = machine.plan(state, running, version, now.there.name, now.now, channel=preview.channel)
        journal.record(state)
        journal.note(Event(now.now, "planned", version, running, preview.why))
    try:
        for step in preview.steps:
            state = hands.carry_out(step, now, state, manifest, prepared.have)
        if state.step in machine.UNCOMMITTED:  # its entry was there before
            journal.record(machine.staged(machine.found(state, clock.now()), clock.now()))
    except (SkerryError, OSError) as error:
        said = error.message if isinstance(error, SkerryError) else f"the disk failed: {error}"
        with contextlib.suppress(OSError, SkerryError):
            journal.record(machine.refuse(journal.read(), said, clock.now()))
        journal.note(Event(clock.now(), "failed", version, running, said))
        with contextlib.suppress(OSError, SkerryError):
            hands.disk.sweep()
        if isinstance(error, SkerryError):
            raise
        raise DiskError(said, hint="look at `journalctl -k`, and at `df /var /efi`") from error
    journal.note(Event(clock.now(), "staged", version, running))


def check_entry(now: Situation, disk: Disk, journal: Journal, keep: Keep, etc: EtcStager) -> None:
    """Take back what is staged where its kernel rotted on the ESP. Raises VerifyError then.

    It would stop the machine: the loader tries no other entry after one that it cannot load.
    """
    version = now.state.target or ""
    entry, manifest = now.entry(version), keep.manifest(version)
    if now.state.step not in machine.COMMITTED or entry is None or manifest is None:
        return
    try:
        with disk.entry_path(entry).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        found = str(error)
    if found == manifest.part("uki").sha256:
        return
    said = f"{entry.file} on the ESP is not what was written there"
    disk.remove_entries(entry.label)
    etc.unstage(version)
    journal.record(machine.refuse(now.state, said, now.now))
    journal.note(Event(now.now, "failed", version, now.machine.running, said))
    raise VerifyError(
        said, hint="`skerry host upgrade` brings it once more; if that happens twice, replace the disk"
    )


def _goes_on(state: State, version: str) -> bool:
    """Whether the journal already speaks of this update."""
    return state.target == version and state.step in machine.UNCOMMITTED and not state.returning
