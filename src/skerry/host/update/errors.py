"""What updating may fail with.

UpdateError
├── JournalError        state.json cannot be read
│   └── NewerJournalError   … because a later version wrote it
├── TransitionError     a step was asked for that cannot follow the one before
├── BusyError           another update is at work
├── RefusedError        an update does not start: it could not end, or must not
├── DiskError           the disk failed, or is not one of ours
│   └── VerifyError     what was read back is not what was written
├── ChannelError        no repository or no such channel is set
└── ClockError          this machine's clock is behind
"""

from __future__ import annotations

from skerry.kit.errors import SkerryError


class UpdateError(SkerryError):
    """The root of this tree."""


class JournalError(UpdateError):
    """The journal is damaged."""


class NewerJournalError(JournalError):
    """The journal has a later format."""


class TransitionError(UpdateError):
    """Not from here."""


class BusyError(UpdateError):
    """Another process updates this host."""


class RefusedError(UpdateError):
    """The update does not start. `reasons` are all that speak against it, each a sentence."""

    def __init__(self, message: str, *, hint: str | None = None, reasons: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.reasons = reasons or (message,)


class DiskError(UpdateError):
    """Slots, labels or the ESP."""


class VerifyError(DiskError):
    """Read back, it differs."""


class ChannelError(UpdateError):
    """Where releases come from is not set, or has no such channel."""


class ClockError(UpdateError):
    """Nothing that depends on the time can be judged."""
