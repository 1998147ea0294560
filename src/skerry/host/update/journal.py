"""The journal of updates: where this host stands, on disk before each step is taken.

    /var/lib/skerry/update/state.json      State: replaced as a whole, and fsynced
    /var/lib/skerry/update/history.jsonl   one Event a line: what a person cares about, newest last

Whoever reads it may trust that what a step promises was done, and that of the next one nothing or anything
was. An older version that is booted again reads what a newer one wrote: it passes over fields that it does
not know, and refuses a later `format` by name. The moves from state to state are in machine.py.
"""

from __future__ import annotations

import contextlib
import enum
import os
from typing import TYPE_CHECKING

import msgspec

from skerry.host.update.errors import DiskError, JournalError, NewerJournalError
from skerry.kit.files import sync_directory, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT = 1
AHEAD_S = 86400.0  # set back by less, a clock was right enough
STATE, HISTORY = "state.json", "history.jsonl"
MOST_HISTORY_BYTES = 256 * 1024


class Step(enum.StrEnum):
    """How far an update got. What each promises is what machine.py says of the move that leads to it."""

    IDLE = "idle"
    PLANNED = "planned"  # a target and its slot are chosen; nothing of the disk was touched
    FETCHING = "fetching"  # the slot is being filled: what was in it is gone
    WRITTEN = "written"  # root and verity are in the slot, not yet read back
    VERIFIED = "verified"  # read back from the disk; the next boot still starts the running version
    STAGED = "staged"  # its entry is on the ESP: the next boot tries it
    WAITING = "waiting"  # for the gate, the window, or a person
    REBOOTING = "rebooting"
    TRYING = "trying"  # it runs, and its health is not yet known
    BLESSED = "blessed"  # it is healthy; the probation hour runs until `probation_until`
    ROLLED_BACK = "rolled-back"  # it was tried, and the older version runs again
    REFUSED = "refused"  # an update could not start or not end; the host runs on as before


class Refusal(msgspec.Struct, frozen=True):
    """Why a version is not to be tried again, and since when (seconds since 1970)."""

    reason: str
    when: float


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of updates on this host. Times are seconds since 1970.

    `running` is what ran when the step was taken; `previous` is what to go back to. `returning`: the target
    is an older version that this host goes back to. `failure`: what health said against the version that is
    tried. `boot_id` is the boot in which the step was taken.
    """

    step: Step = Step.IDLE
    running: str | None = None
    target: str | None = None
    slot: str | None = None
    previous: str | None = None
    since: float = 0.0
    reason: str = ""
    refused: dict[str, Refusal] = {}
    pinned: str | None = None
    probation_until: float | None = None
    returning: bool = False
    failure: str | None = None
    boot_id: str = ""
    channel: str | None = None
    format: int = msgspec.field(default=FORMAT)

    def on_probation(self, now: float) -> bool:
        """Whether health may still decide to go back. A clock that was far ahead must not make it last."""
        until = self.probation_until
        return self.step is Step.BLESSED and until is not None and self.since - AHEAD_S <= now < until


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the history: `what` is a word (staged, blessed, rolled-back …), `why` a sentence."""

    when: float
    what: str
    version: str = ""
    before: str = ""
    why: str = ""


class Journal:
    """state.json and history.jsonl in a directory; makes it where it is not there yet."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def read(self) -> State:
        """The state; a new one where there is none. Raises JournalError, NewerJournalError."""
        path = self.directory / STATE
        try:
            document = path.read_bytes()
        except FileNotFoundError:
            return State()
        except OSError as error:
            raise JournalError(f"{path} cannot be read: {error.strerror}") from error
        return decode(document, str(path))

    def write(self, state: State) -> None:
        """Put the state on the disk; it is there when this returns. Raises OSError."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(self.directory / STATE, encode(state), mode=0o600)

    def record(self, state: State) -> None:
        """The same, for those to whom a disk that does not take it is an end. Raises DiskError."""
        try:
            self.write(state)
        except OSError as error:
            raise DiskError(
                f"the journal of updates cannot be written: {error.strerror or error}",
                hint="look at `df /var` and `journalctl -k`",
            ) from error

    def note(self, event: Event) -> None:
        """Add a line to the history. It informs people, so a full disk keeps nothing from going on."""
        with contextlib.suppress(OSError):
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self.directory / HISTORY
            self._shorten(path)
            # A line that a power cut left without its end must not swallow this one.
            torn = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size
            with path.open("ab") as file:
                file.write((b"\n" if torn else b"") + msgspec.json.encode(event) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            sync_directory(self.directory)

    def history(self) -> Iterator[Event]:
        """The events, oldest first; a line that cannot be read is passed over."""
        try:
            lines = (self.directory / HISTORY).read_bytes().splitlines()
        except OSError:
            return
        for line in lines:
            with contextlib.suppress(msgspec.DecodeError):
                yield msgspec.json.decode(line, type=Event)

    def _shorten(self, path: Path) -> None:
        """Keep the newer half of a history that has grown long."""
        if path.exists() and path.stat().st_size > MOST_HISTORY_BYTES:
            kept = path.read_bytes()[-MOST_HISTORY_BYTES // 2 :]
            write_atomic(path, kept.partition(b"\n")[2], mode=0o600)


def encode(state: State) -> bytes:
    """The document; its format is always in it."""
    fields = {**msgspec.to_builtins(state), "format": state.format}
    return msgspec.json.format(msgspec.json.encode(fields), indent=1) + b"\n"


def decode(document: bytes, place: str = "state.json") -> State:
    """Read a state. Raises JournalError, NewerJournalError."""
    try:
        head = msgspec.json.decode(document, type=_Head)
        if head.format > FORMAT:
            raise NewerJournalError(
                f"{place} has format {head.format}, and this version of Skerry knows {FORMAT}",
                hint="a newer version wrote it; this one begins a journal of its own when it updates",
            )
        return msgspec.json.decode(document, type=State)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JournalError(
            f"{place} is damaged: {error}", hint="remove it: what is on the disk is found again by looking"
        ) from error


class _Head(msgspec.Struct, frozen=True):
    format: int = FORMAT
