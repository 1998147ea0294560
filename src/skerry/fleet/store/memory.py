"""The store in memory, for tests and as the plainest reading of the interface; keeps nothing on disk."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

from skerry.fleet.store.commands import KEPT_REVISIONS, Answer, Command, bound_history
from skerry.fleet.store.errors import CompactedError
from skerry.fleet.store.feed import Feed, Page
from skerry.fleet.store.interface import Batch, Entry, EventKind, Listing
from skerry.fleet.store.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skerry.kit.clock import Clock


class MemoryStore(LocalStore):
    """Every change is durable at once, as far as memory goes."""

    def __init__(self, *, clock: Clock, keep: int = KEPT_REVISIONS) -> None:
        super().__init__(clock, Feed(0, 0, keep=None))
        self._state = _MemoryState()
        self._keep = keep

    async def get(self, key: str) -> Entry | None:
        self._check_open()
        return self._state.get(key)

    async def list(self, prefix: str) -> Listing:
        self._check_open()
        return Listing(self._state.revision, tuple(self._state.scan(prefix)))

    async def _submit(self, command: Command[Answer]) -> Answer:
        self._check_open()
        done = command.carry_out(self._state)
        bound_history(self._state, self._keep)
        self._feed.publish([] if done.batch is None else [done.batch], self._state.compacted)
        return done.answer

    async def _page(self, prefix: str, after: int) -> Page:
        # The feed holds all of history: what it does not hold is forgotten.
        raise CompactedError(after + 1, self._state.compacted)

    async def _let_go(self) -> None:
        pass


class _MemoryState:
    """Implements commands.State; history stands in the feed."""

    def __init__(self) -> None:
        self.revision = 0
        self.compacted = 0
        self._entries: dict[str, Entry] = {}
        self._keys: list[str] = []
        self._leases: dict[int, set[str]] = {}
        self._next_lease = 1

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def scan(self, prefix: str) -> Sequence[Entry]:
        found = []
        for place in range(bisect.bisect_left(self._keys, prefix), len(self._keys)):
            key = self._keys[place]
            if not key.startswith(prefix):
                break
            found.append(self._entries[key])
        return found

    def has_lease(self, lease: int) -> bool:
        return lease in self._leases

    def leased(self, lease: int) -> Sequence[Entry]:
        return [self._entries[key] for key in sorted(self._leases[lease])]

    def record(self, batch: Batch) -> None:
        for event in batch.events:
            self._unlink(event.previous)
            if event.kind is EventKind.PUT:
                self._link(event.entry)
            else:
                del self._entries[event.entry.key]
                del self._keys[bisect.bisect_left(self._keys, event.entry.key)]
        self.revision = batch.revision

    def add_lease(self, ttl_s: float) -> int:
        lease = self._next_lease
        self._next_lease += 1
        self._leases[lease] = set()
        return lease

    def drop_lease(self, lease: int) -> None:
        del self._leases[lease]

    def forget(self, revision: int) -> None:
        self.compacted = revision

    def _link(self, entry: Entry) -> None:
        if entry.key not in self._entries:
            bisect.insort(self._keys, entry.key)
        self._entries[entry.key] = entry
        if entry.lease:
            self._leases[entry.lease].add(entry.key)

    def _unlink(self, entry: Entry | None) -> None:
        if entry is not None and entry.lease in self._leases:
            self._leases[entry.lease].discard(entry.key)
