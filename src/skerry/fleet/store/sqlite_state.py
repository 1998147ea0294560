"""Entries, history and leases as rows; see sqlite_file.py for the tables.

`SqliteState` is what commands work on, inside the writer's transaction; `SqliteReader` answers from what
is durable, each answer from one snapshot.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeAlias

from skerry.fleet.store.errors import CompactedError
from skerry.fleet.store.feed import Page
from skerry.fleet.store.interface import Batch, Entry, Event, EventKind, Lease, Listing
from skerry.fleet.store.transaction import end_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

PAGE_REVISIONS = 100
"""How much history is read at once: bounds the memory that a watcher far behind costs."""

_ENTRY = "SELECT key, value, create_revision, mod_revision, version, lease FROM entries"
_HISTORY = """
    SELECT revision, kind, key, value, create_revision, version, lease,
           old_value, old_create_revision, old_mod_revision, old_version, old_lease
    FROM history WHERE revision > ? AND revision <= ?
"""
_EntryRow: TypeAlias = "tuple[str, bytes, int, int, int, int]"
_EventRow: TypeAlias = "tuple[int, str, str, bytes, int, int, int, bytes | None, int, int, int, int]"


class SqliteState:
    """Implements commands.State on a connection with an open transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.reload()

    def reload(self) -> None:
        """Go back to what is durable, after a transaction was rolled back."""
        self._durable = self.revision, self.compacted = _position(self._connection)
        self._leases = {lease.id for lease in self.leases()}

    def save(self) -> None:
        """Write what is counted in memory, as the last thing before the commit."""
        if (self.revision, self.compacted) == self._durable:
            return
        self._durable = (self.revision, self.compacted)
        self._connection.execute(
            "UPDATE state SET revision = ?, compacted = ?", (self.revision, self.compacted)
        )

    def get(self, key: str) -> Entry | None:
        return _get(self._connection, key)

    def scan(self, prefix: str) -> Sequence[Entry]:
        return _scan(self._connection, prefix)

    def has_lease(self, lease: int) -> bool:
        return lease in self._leases

    def leases(self) -> list[Lease]:
        return [Lease(*row) for row in self._connection.execute("SELECT id, ttl_s FROM leases ORDER BY id")]

    def leased(self, lease: int) -> Sequence[Entry]:
        # `lease != 0` lets SQLite use the partial index.
        rows = self._connection.execute(f"{_ENTRY} WHERE lease = ? AND lease != 0 ORDER BY key", (lease,))
        return [Entry(*row) for row in rows]

    def record(self, batch: Batch) -> None:
        for place, event in enumerate(batch.events):
            entry, old = event.entry, event.previous
            if event.kind is EventKind.PUT:
                self._connection.execute(
                    "REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        entry.key,
                        entry.value,
                        entry.create_revision,
                        entry.mod_revision,
                        entry.version,
                        entry.lease,
                    ),
                )
            else:
                self._connection.execute("DELETE FROM entries WHERE key = ?", (entry.key,))
            self._connection.execute(
                "INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (batch.revision, place, event.kind.value, entry.key, entry.value, entry.create_revision)
                + (entry.version, entry.lease)
                + (
                    (None,) * 5
                    if old is None
                    else (old.value, old.create_revision, old.mod_revision, old.version, old.lease)
                ),
            )
        self.revision = batch.revision

    def add_lease(self, ttl_s: float) -> int:
        cursor = self._connection.execute("INSERT INTO leases (ttl_s) VALUES (?)", (ttl_s,))
        lease = cursor.lastrowid
        if lease is None:  # pragma: no cover - SQLite gives one for every INSERT
            raise AssertionError("an INSERT gave no row id")
        self._leases.add(lease)
        return lease

    def drop_lease(self, lease: int) -> None:
        self._connection.execute("DELETE FROM leases WHERE id = ?", (lease,))
        self._leases.discard(lease)

    def forget(self, revision: int) -> None:
        self._connection.execute("DELETE FROM history WHERE revision <= ?", (revision,))
        self.compacted = revision


class SqliteReader:
    """Answers from a connection that only reads; used by one thread at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, key: str) -> Entry | None:
        return _get(self._connection, key)

    def list(self, prefix: str) -> Listing:
        with self._snapshot():
            return Listing(_position(self._connection)[0], tuple(_scan(self._connection, prefix)))

    def page(self, prefix: str, after: int) -> Page:
        """A piece of history. Raises CompactedError where it does not reach back to `after`."""
        with self._snapshot():
            revision, compacted = _position(self._connection)
            if after < compacted:
                raise CompactedError(after + 1, compacted)
            reached = min(after + PAGE_REVISIONS, revision)
            within, bounds = _within(prefix)
            rows = self._connection.execute(
                f"{_HISTORY} AND {within} ORDER BY revision, place", (after, reached, *bounds)
            )
            return Page(tuple(_batches(rows)), reached)

    def close(self) -> None:
        self._connection.close()

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[None]:
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("COMMIT")


def _position(connection: sqlite3.Connection) -> tuple[int, int]:
    revision, compacted = connection.execute("SELECT revision, compacted FROM state").fetchone()
    return revision, compacted


def _get(connection: sqlite3.Connection, key: str) -> Entry | None:
    row: _EntryRow | None = connection.execute(f"{_ENTRY} WHERE key = ?", (key,)).fetchone()
    return None if row is None else Entry(*row)


def _scan(connection: sqlite3.Connection, prefix: str) -> list[Entry]:
    within, bounds = _within(prefix)
    return [Entry(*row) for row in connection.execute(f"{_ENTRY} WHERE {within} ORDER BY key", bounds)]


def _within(prefix: str) -> tuple[str, tuple[str, ...]]:
    end = end_of(prefix)
    if end is None:
        return "key >= ?", (prefix,)
    return "key >= ? AND key < ?", (prefix, end)


def _batches(rows: Iterable[_EventRow]) -> Iterator[Batch]:
    revision = 0
    events: list[Event] = []
    for row in rows:
        if row[0] != revision and events:
            yield Batch(revision, tuple(events))
            events = []
        revision = row[0]
        events.append(_event(row))
    if events:
        yield Batch(revision, tuple(events))


def _event(row: _EventRow) -> Event:
    revision, kind, key, value, created, version, lease, old_value, *old = row
    previous = None if old_value is None else Entry(key, old_value, *old)
    return Event(EventKind(kind), Entry(key, value, created, revision, version, lease), previous)
