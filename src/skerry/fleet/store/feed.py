"""What was committed, told to all who watch, in order and without gaps.

The newest batches stand in memory, as many as the driver says; a watcher that is further back reads from
the driver's history in pages until it has caught up. A watcher that waits is handed its next batch the
moment it is published; one that is busy costs nothing, and finds what it missed in the history, or a
CompactedError where that was forgotten meanwhile.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from skerry.fleet.store.errors import CompactedError
from skerry.fleet.store.interface import Batch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of history: every batch that was asked for, up to and including revision `reached`."""

    batches: tuple[Batch, ...]
    reached: int


class Older(Protocol):
    """Reads history that no longer stands in memory. Raises CompactedError."""

    async def __call__(self, prefix: str, after: int) -> Page: ...


@dataclass(eq=False, slots=True)
class _Waiting:
    prefix: str
    after: int
    next: asyncio.Future[Batch | None]


class Feed:
    """Used by one event loop. `keep` bounds the batches in memory; None leaves that to compaction."""

    def __init__(self, revision: int, compacted: int, *, keep: int | None) -> None:
        self._recent: list[Batch] = []
        self._below_recent = revision
        self._compacted = compacted
        self._keep = keep
        self._waiting: set[_Waiting] = set()
        self._closed = False

    def publish(self, batches: Sequence[Batch], compacted: int) -> None:
        """Tell of the batches that were committed, and of how far history is forgotten now."""
        self._recent.extend(batches)
        for waiting in self._waiting:
            _hand_over(waiting, batches)
        self._compacted = max(self._compacted, compacted)
        below = self._compacted
        if self._keep is not None:
            below = max(below, self._revision - self._keep)
        if below > self._below_recent:
            del self._recent[: below - self._below_recent]
            self._below_recent = below

    async def follow(self, prefix: str, after: int, older: Older) -> AsyncGenerator[Batch, None]:
        """See Store.watch."""
        at = after
        while not self._closed:
            if at < self._compacted:
                raise CompactedError(at + 1, self._compacted)
            if at < self._below_recent:
                page = await older(prefix, at)
                for batch in page.batches:
                    yield batch
                at = page.reached
                continue
            next_batch = self._next(prefix, at)
            if next_batch is None:
                next_batch = await self._wait(prefix, max(at, self._revision))
                if next_batch is None:
                    return
            at = next_batch.revision
            yield next_batch

    @property
    def below_recent(self) -> int:
        """The newest revision that no longer stands in memory."""
        return self._below_recent

    def skip(self, revision: int) -> None:
        """Go on at `revision`; what lies between is not known and never will be."""
        self._recent.clear()
        self._below_recent = self._compacted = revision
        for waiting in self._waiting:
            if waiting.after < revision and not waiting.next.done():
                waiting.next.set_exception(CompactedError(waiting.after + 1, revision))

    def close(self) -> None:
        """End every watch."""
        self._closed = True
        for waiting in self._waiting:
            if not waiting.next.done():
                waiting.next.set_result(None)

    @property
    def _revision(self) -> int:
        return self._below_recent + len(self._recent)

    def _next(self, prefix: str, at: int) -> Batch | None:
        for place in range(at - self._below_recent, len(self._recent)):
            batch = restricted(self._recent[place], prefix)
            if batch is not None:
                return batch
        return None

    async def _wait(self, prefix: str, after: int) -> Batch | None:
        waiting = _Waiting(prefix, after, asyncio.get_running_loop().create_future())
        self._waiting.add(waiting)
        try:
            return await waiting.next
        finally:
            self._waiting.discard(waiting)


def restricted(batch: Batch, prefix: str) -> Batch | None:
    """The batch with only the events under `prefix`; None where there are none."""
    if not prefix:
        return batch
    if not batch.events:
        return None
    events = tuple(event for event in batch.events if event.entry.key.startswith(prefix))
    if len(events) == len(batch.events):
        return batch
    return Batch(batch.revision, events) if events else None


def _hand_over(waiting: _Waiting, batches: Sequence[Batch]) -> None:
    if waiting.next.done():
        return
    for batch in batches:
        if batch.revision > waiting.after:
            part = restricted(batch, waiting.prefix)
            if part is not None:
                waiting.next.set_result(part)
                return
