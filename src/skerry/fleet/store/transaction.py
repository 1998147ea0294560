"""What a transaction means, as a function from what stands to what shall stand.

Every driver that decides for itself (memory, SQLite) does so with `decide`; none of them interprets a
comparison or an operation by its own lights. Refuses, when a transaction is made, what no state of the
store could make right.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from skerry.fleet.store.errors import LeaseNotFoundError, TooLargeError
from skerry.fleet.store.interface import (
    Compare,
    Delete,
    DeletePrefix,
    Entry,
    Event,
    EventKind,
    Field,
    Get,
    Operation,
    Put,
    Relation,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_LEASE = 2**63 - 1
MAX_OPERATIONS = 10_000
MAX_BYTES = 4 * 1024 * 1024
"""What a branch may have of operations, and of keys and values: the same whatever the driver."""


class View(Protocol):
    """What stands before the transaction."""

    def get(self, key: str) -> Entry | None: ...

    def scan(self, prefix: str) -> Sequence[Entry]:
        """Every entry whose key begins with `prefix`, sorted by key."""

    def has_lease(self, lease: int) -> bool: ...


@dataclass(frozen=True, slots=True)
class Transaction:
    """A checked transaction; see Store.transact.

    Raises ValueError for one that is no transaction, TooLargeError for one that is too much.
    """

    compares: tuple[Compare, ...]
    then: tuple[Operation, ...]
    otherwise: tuple[Operation, ...] = ()

    def __post_init__(self) -> None:
        if not self.then and not self.otherwise:
            raise ValueError("a transaction without an operation")
        for compare in self.compares:
            _check_key(compare.key)
            if isinstance(compare.operand, bytes) != (compare.field is Field.VALUE):
                raise ValueError(f"{compare.field} of {compare.key!r} is compared with {compare.operand!r}")
        for branch in (self.then, self.otherwise):
            _check_size(branch)
            _check_branch(branch)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the transaction does, and what it read; `events` is empty where nothing changes."""

    succeeded: bool
    found: tuple[tuple[Entry, ...], ...]
    events: tuple[Event, ...]


def decide(view: View, transaction: Transaction, revision: int) -> Outcome:
    """The outcome of `transaction` on what `view` shows, its changes bearing `revision`.

    Raises LeaseNotFoundError; changes nothing.
    """
    succeeded = all(_holds(compare, view.get(compare.key)) for compare in transaction.compares)
    changed: dict[str, Entry | None] = {}
    events: list[Event] = []
    found: list[tuple[Entry, ...]] = []
    removed: tuple[Entry, ...]
    for operation in transaction.then if succeeded else transaction.otherwise:
        match operation:
            case Get(key):
                entry = changed[key] if key in changed else view.get(key)
                found.append(() if entry is None else (entry,))
            case Put(key, value, lease):
                if lease and not (0 < lease <= MAX_LEASE and view.has_lease(lease)):
                    raise LeaseNotFoundError(f"there is no lease {lease} to put {key!r} under")
                previous = view.get(key)
                entry = written(key, value, revision, lease, previous)
                changed[key] = entry
                events.append(Event(EventKind.PUT, entry, previous))
                found.append(() if previous is None else (previous,))
            case Delete(key):
                entry = view.get(key)
                removed = () if entry is None else (entry,)
                found.append(removed)
                changed[key] = None
                events.extend(deleted(removed, revision))
            case DeletePrefix(prefix):
                removed = tuple(view.scan(prefix))
                found.append(removed)
                changed.update((entry.key, None) for entry in removed)
                events.extend(deleted(removed, revision))
    return Outcome(succeeded, tuple(found), tuple(events))


def written(key: str, value: bytes, revision: int, lease: int, previous: Entry | None) -> Entry:
    """The entry that a put leaves."""
    if previous is None:
        return Entry(key, value, revision, revision, 1, lease)
    return Entry(key, value, previous.create_revision, revision, previous.version + 1, lease)


def deleted(entries: Sequence[Entry], revision: int) -> tuple[Event, ...]:
    """The events of the removal of `entries`, in their order."""
    return tuple(Event(EventKind.DELETE, Entry(e.key, b"", 0, revision, 0), e) for e in entries)


def end_of(prefix: str) -> str | None:
    """The first key after all that begin with `prefix`; None where no key comes after them.

    Keys sort by code point, which is also the order of their UTF-8 bytes; surrogates are no characters.
    """
    head = prefix.rstrip("\U0010ffff")
    if not head:
        return None
    point = ord(head[-1]) + 1
    return head[:-1] + chr(0xE000 if 0xD800 <= point <= 0xDFFF else point)


def _check_size(operations: Sequence[Operation]) -> None:
    if len(operations) > MAX_OPERATIONS:
        raise TooLargeError(
            f"{len(operations)} changes are more than the store makes at once; it makes {MAX_OPERATIONS}",
            hint="make fewer at a time",
        )
    size_bytes = sum(len(put.key) + len(put.value) for put in operations if isinstance(put, Put))
    if size_bytes > MAX_BYTES:
        raise TooLargeError(
            f"{size_bytes} bytes are more than the store takes at once; it takes {MAX_BYTES}",
            hint="keep large things elsewhere, and here where they are",
        )


def _check_branch(operations: Sequence[Operation]) -> None:
    keys: set[str] = set()
    prefixes: list[str] = []
    for operation in operations:
        if isinstance(operation, DeletePrefix):
            prefixes.append(_check_text(operation.prefix))
            continue
        _check_key(operation.key)
        if isinstance(operation, Get):
            continue
        if operation.key in keys:
            raise ValueError(f"a transaction changes {operation.key!r} twice")
        keys.add(operation.key)
    for place, prefix in enumerate(prefixes):
        others = (*keys, *prefixes[:place], *prefixes[place + 1 :])
        if any(other.startswith(prefix) for other in others):
            raise ValueError(f"a transaction deletes all of {prefix!r} and changes a part of it besides")


def _check_key(key: str) -> None:
    if not _check_text(key):
        raise ValueError("a key is empty")


def _check_text(text: str) -> str:
    if text.startswith("\0"):
        raise ValueError("what begins with NUL is the store's own")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{text!r} cannot be written in UTF-8") from error
    return text


_RELATIONS: dict[Relation, Callable[[int | bytes, int | bytes], bool]] = {
    Relation.EQUAL: operator.eq,
    Relation.NOT_EQUAL: operator.ne,
    Relation.LESS: operator.lt,
    Relation.GREATER: operator.gt,
}


def _holds(compare: Compare, entry: Entry | None) -> bool:
    if entry is None:
        entry = Entry(compare.key, b"", 0, 0, 0)
    stands: int | bytes
    match compare.field:
        case Field.VALUE:
            stands = entry.value
        case Field.VERSION:
            stands = entry.version
        case Field.CREATE_REVISION:
            stands = entry.create_revision
        case Field.MOD_REVISION:
            stands = entry.mod_revision
    return _RELATIONS[compare.relation](stands, compare.operand)
