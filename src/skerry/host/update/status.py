"""What is known of updates without asking anybody: for `skerry host status`, and light enough for skerryd.

Reads the journal, the history, the last answer of the channel, and the labels of the disk. It does not look
at the ESP, which is mounted only while somebody works with it.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from skerry.host.update import linux
from skerry.host.update.journal import Event, Journal, Refusal, State
from skerry.host.update.keep import Checked, Keep
from skerry.host.update.settings import UpdateSettings, read_settings
from skerry.kit.errors import SkerryError

DIRECTORY = "var/lib/skerry/update"
EVENTS = 10


class SlotStatus(msgspec.Struct, frozen=True):
    """`version` None where it is empty. A version stands in a slot only after it was read back whole."""

    name: str
    version: str | None
    verified: bool
    running: bool


class UpdateStatus(msgspec.Struct, frozen=True):
    """Times in seconds since 1970. `problem` is what keeps updates from working at all, in a sentence."""

    step: str = "idle"
    target: str | None = None
    reason: str = ""
    since: float = 0.0
    failure: str | None = None
    probation_until: float | None = None
    pinned: str | None = None
    repository: str | None = None
    channel: str = ""
    strategy: str = ""
    slots: tuple[SlotStatus, ...] = ()
    refused: dict[str, Refusal] = {}
    checked: Checked | None = None
    history: tuple[Event, ...] = ()
    problem: str | None = None


def read_status(running: str, root: Path = Path("/")) -> UpdateStatus:
    """The status of the system below `root`, which runs `running`. Never fails."""
    directory = root / DIRECTORY
    journal, problems = Journal(directory), []
    state, settings = State(), UpdateSettings()
    try:
        state = journal.read()
    except SkerryError as error:
        problems.append(error.message)
    try:
        settings = read_settings(root)
    except SkerryError as error:
        problems.append(error.message)
    return UpdateStatus(
        state.step.value, state.target, state.reason, state.since, state.failure, state.probation_until,
        state.pinned, settings.repository, settings.channel, settings.strategy.value, _slots(running, root),
        state.refused, Keep(directory, directory).checked(), tuple(journal.history())[-EVENTS:],
        "; ".join(problems) or None,
    )  # fmt: skip


def _slots(running: str, root: Path) -> tuple[SlotStatus, ...]:
    """What the partition table says; nothing where there is no disk of ours, or it cannot be read."""
    with contextlib.suppress(SkerryError, OSError):
        disk, partitions = linux.find(root)
        found = linux.LinuxDisk(disk, partitions, root / "efi").slots()
        return tuple(
            SlotStatus(slot.name, slot.version, slot.version is not None, slot.version == running)
            for slot in found
        )
    return ()
