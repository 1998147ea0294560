"""What releases may fail with.

    ReleaseError
    ├── DocumentError            a manifest or a channel that cannot be read
    │   └── NewerFormatError     … because it is of a later format
    ├── PublishError             the repository refuses a change; the hint is the remedy
    │   ├── NotNewerError        the channel already has this version, or a later one
    │   ├── NoRoomError          the image would leave a slot too little room
    │   ├── MissingKeyError      nobody here can sign for a role
    │   ├── ThresholdError       too few signatures
    │   ├── ExpiredRoleError     a role must be signed again first
    │   └── BusyError            another publisher is at work
    ├── KeyFileError             a key cannot be read, made or opened
    ├── KeepError                what is trusted cannot be written down here: no room, a read-only disk
    └── TrustError               what a repository serves is not to be trusted
        ├── RollbackError        older than what was seen before
        ├── StaleError           its time is over: not refreshed, or an old copy held out to us (freeze)
        ├── MixAndMatchError     files that do not belong together
        ├── EndlessDataError     longer than it may be
        ├── SignatureError       too few good signatures, or of other keys
        └── NotPublishedError    signed, but it does not have what was asked for

A network that fails is no TrustError: it is kit.transport's TransportError.
"""

from __future__ import annotations

from skerry.kit.errors import SkerryError


class ReleaseError(SkerryError):
    """The root of this tree."""


class DocumentError(ReleaseError):
    """A manifest or a channel is damaged, or is not one."""


class NewerFormatError(DocumentError):
    """A document was written for a later Skerry."""


class PublishError(ReleaseError):
    """The repository stays as it is."""


class NotNewerError(PublishError):
    """A version does not come after those of its channel."""


class NoRoomError(PublishError):
    """An image is too large for the slots of the hosts that would get it."""


class MissingKeyError(PublishError):
    """A role's key is not here."""


class ThresholdError(PublishError):
    """Fewer keys signed than a role asks for."""


class ExpiredRoleError(PublishError):
    """A role's time is over, so nothing that rests on it may be published."""


class BusyError(PublishError):
    """The repository is locked."""


class KeyFileError(ReleaseError):
    """A key's file is not usable."""


class KeepError(ReleaseError):
    """The directory of a client cannot be used."""


class TrustError(ReleaseError):
    """Signed metadata was refused; nothing of it is used."""


class RollbackError(TrustError):
    """Older metadata than was trusted before."""


class StaleError(TrustError):
    """Metadata that expired. `role` is whose; `expired` in seconds since 1970."""

    def __init__(self, message: str, *, role: str, expired: float | None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.role = role
        self.expired = expired


class MixAndMatchError(TrustError):
    """Metadata or files of different moments, put together."""


class EndlessDataError(TrustError):
    """More bytes than a file may have."""


class SignatureError(TrustError):
    """Not signed by enough of the keys that are trusted for it."""


class NotPublishedError(TrustError):
    """No such channel or version in trusted metadata."""
