"""What a store may refuse.

StoreError
├── CompactedError         the revision asked for is gone: list again
├── LeaseNotFoundError
├── StoreFormatError       the file is not ours, damaged, or newer than this program
├── StoreFullError         etcd has reached its quota: nothing more is written
├── TooLargeError          a transaction of too many operations, or too many bytes
└── UnavailableError       the servers' etcd does not answer; what was asked has not been done
    └── OutcomeUnknownError    … or has: look before asking again
"""

from __future__ import annotations

from skerry.kit.errors import SkerryError


class StoreError(SkerryError):
    """The store refused or failed."""


class CompactedError(StoreError):
    """A watch or a read asked for a revision that is no longer kept; list again and go on from there."""

    def __init__(self, asked: int, compacted: int) -> None:
        self.compacted_revision = compacted
        super().__init__(f"revision {asked} is compacted; the oldest kept is {compacted + 1}")


class LeaseNotFoundError(StoreError):
    """The lease never was, was revoked, or has expired."""


class StoreFormatError(StoreError):
    """The database is not one that this version can read."""


class StoreFullError(StoreError):
    """The store takes no more until somebody makes room."""


class TooLargeError(StoreError):
    """The transaction is more than any driver takes at once."""


class UnavailableError(StoreError):
    """No server could be asked, or none could decide; what was asked for has not been done."""


class OutcomeUnknownError(UnavailableError):
    """The change was sent and no answer came: it may have been made, or may yet be."""
