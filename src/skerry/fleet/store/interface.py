"""The one interface to the desired state of a machine or a cluster.

A store maps text keys to bytes. Every transaction that changes something has one revision, one higher
than the one before; all its events carry that revision and reach a watcher together. The drivers
(memory, SQLite; etcd for a cluster) pass one conformance suite, tests/conformance/test_store*.py.

Refuses (ValueError, for it is the caller's bug): keys that are empty or begin with NUL, empty transactions,
and two changes of one transaction to the same key; and with TooLargeError a branch of more than 10,000
operations or 4 MiB. A fresh store stands at revision 0.
The model is that of etcd v3: https://etcd.io/docs/v3.5/learning/api/
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence


@dataclass(frozen=True, slots=True)
class Entry:
    """A key with its value, and when it was created and last changed.

    `version` counts the changes since creation, from 1. `lease` is 0 for a key without one.
    """

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """The entries under a prefix, sorted by key, all as of one revision: where a watch goes on from."""

    revision: int
    entries: tuple[Entry, ...]


class EventKind(enum.StrEnum):
    PUT = "put"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one key.

    For a delete, `entry` holds the key with an empty value, `mod_revision` that of the delete and
    `version` 0; `previous` is what stood there before (None where the key was created).
    """

    kind: EventKind
    entry: Entry
    previous: Entry | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """All events of one revision that a watch asked for, in the order of the transaction."""

    revision: int
    events: tuple[Event, ...]


class Field(enum.StrEnum):
    """What of an entry a comparison looks at. An absent key has revisions and version 0, value b""."""

    VALUE = "value"
    VERSION = "version"
    CREATE_REVISION = "create_revision"
    MOD_REVISION = "mod_revision"


class Relation(enum.StrEnum):
    EQUAL = "="
    NOT_EQUAL = "!="
    LESS = "<"
    GREATER = ">"


@dataclass(frozen=True, slots=True)
class Compare:
    """A condition of a transaction: `field` of `key` stands in `relation` to `operand`."""

    key: str
    field: Field
    relation: Relation
    operand: int | bytes


@dataclass(frozen=True, slots=True)
class Put:
    """Write a key. A lease other than 0 must exist; without one the key is freed from an earlier lease."""

    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a key; no event and no revision where there is none."""

    key: str


@dataclass(frozen=True, slots=True)
class DeletePrefix:
    """Remove every key that begins with `prefix`."""

    prefix: str


@dataclass(frozen=True, slots=True)
class Get:
    """Read a key inside the transaction, as it stands when this operation's turn comes."""

    key: str


Operation = Put | Delete | DeletePrefix | Get


@dataclass(frozen=True, slots=True)
class Result:
    """What a transaction did.

    `revision` is the store's revision after it, changed or not. `found` holds, for each operation of
    the branch that was taken, the entries it read (Get) or removed or replaced (the others).
    """

    succeeded: bool
    revision: int
    found: tuple[tuple[Entry, ...], ...]


@dataclass(frozen=True, slots=True)
class Lease:
    """A promise to be alive: its keys are deleted, as one ordered change, when it is not kept up."""

    id: int
    ttl_s: float


class Store(Protocol):
    """See the module. Every method raises StoreError where it says so and no other SkerryError."""

    async def get(self, key: str) -> Entry | None:
        """The entry, or None where there is none."""

    async def list(self, prefix: str) -> Listing:
        """Every entry whose key begins with `prefix` ("" for all), sorted by key."""

    async def transact(
        self, compares: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation] = ()
    ) -> Result:
        """If every comparison holds carry out `then`, else `otherwise`; whole, and durable on return.

        Raises LeaseNotFoundError for a Put under an unknown lease, StoreFullError, and UnavailableError
        where nobody can decide. Nothing is changed in these cases; only after OutcomeUnknownError it may be.
        """

    def watch(self, prefix: str, after: int) -> AsyncGenerator[Batch, None]:
        """Every change under `prefix` with a revision above `after`, without gaps, then as they come.

        Nothing is kept for a slow watcher but the common history: it reads on at its own pace, and where
        history no longer reaches back to where it stands, the next step raises CompactedError. Close the
        generator to end it (`async with contextlib.aclosing(store.watch(…)) as batches`); it ends by
        itself when the store is closed.
        """

    async def grant(self, ttl_s: float) -> Lease:
        """A new lease of at least `ttl_s` seconds."""

    async def keep_alive(self, lease: int) -> Lease:
        """Start the lease's time anew. Raises LeaseNotFoundError."""

    async def revoke(self, lease: int) -> None:
        """End the lease now and delete its keys in one revision. Raises LeaseNotFoundError."""

    async def time_to_live_s(self, lease: int) -> float:
        """Seconds until the lease expires. Raises LeaseNotFoundError."""

    async def compact(self, revision: int) -> None:
        """Forget history up to and including `revision`; current entries stay.

        A revision that is forgotten already is no error, one that is yet to come is a ValueError.
        """

    async def close(self) -> None:
        """End every watch and let go of the files; calling twice is no error."""


def absent(key: str) -> Compare:
    """The comparison that holds while there is no such key."""
    return Compare(key, Field.VERSION, Relation.EQUAL, 0)


def unchanged(entry: Entry) -> Compare:
    """The comparison that holds while nobody has touched the entry since it was read."""
    return Compare(entry.key, Field.MOD_REVISION, Relation.EQUAL, entry.mod_revision)
