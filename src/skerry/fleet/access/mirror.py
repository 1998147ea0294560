"""A part of the store, kept in memory by a watch: what every request asks for must not cost a read.

While the store cannot be reached the last known content holds; after compaction it is listed again. What
changed is told to `changed`, key by key without the prefix, after the content is so.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from typing import TYPE_CHECKING, Generic, TypeVar

from skerry.fleet.store.follow import keep_following
from skerry.fleet.store.interface import EventKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from skerry.fleet.store.interface import Entry, Store
    from skerry.kit.clock import Clock

log = logging.getLogger("skerry.access")

RETRY_S = 1.0
T = TypeVar("T")


class Mirror(Generic[T]):
    """`read` makes a value of what is stored, None for what is to be left out; it does not raise."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        prefix: str,
        read: Callable[[Entry], T | None],
        changed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._prefix = prefix
        self._read = read
        self._changed = changed
        self._content: dict[str, T] = {}
        self._revision = -1
        self._moved = asyncio.Condition()

    @property
    def content(self) -> Mapping[str, T]:
        """As it was last seen, by key without the prefix."""
        return self._content

    @property
    def is_ready(self) -> bool:
        return self._revision >= 0

    async def reached(self, revision: int = 0) -> None:
        """Return when the content is at least that of `revision`, which changed something here."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._revision >= revision)

    async def run(self) -> None:
        """Follow the store; ends when the store is closed."""
        away = functools.partial(log.debug, "%s is not followed for now: %s", self._prefix)
        await keep_following(self._follow, self._clock, retry_s=RETRY_S, away=away)

    async def _follow(self) -> None:
        await self._list()
        async with contextlib.aclosing(self._store.watch(self._prefix, self._revision)) as batches:
            async for batch in batches:
                touched = [event.entry.key.removeprefix(self._prefix) for event in batch.events]
                for event in batch.events:
                    self._take(event.entry, gone=event.kind is EventKind.DELETE)
                await self._move(batch.revision, touched)

    async def _list(self) -> None:
        listing = await self._store.list(self._prefix)
        before, self._content = self._content, {}
        for entry in listing.entries:
            self._take(entry, gone=False)
        touched = [
            key for key in before.keys() | self._content.keys() if before.get(key) != self._content.get(key)
        ]
        await self._move(listing.revision, sorted(touched))

    def _take(self, entry: Entry, *, gone: bool) -> None:
        key = entry.key.removeprefix(self._prefix)
        value = None if gone else self._read(entry)
        if value is None:
            self._content.pop(key, None)
        else:
            self._content[key] = value

    async def _move(self, revision: int, touched: list[str]) -> None:
        async with self._moved:
            self._revision = max(revision, self._revision)
            self._moved.notify_all()
        for key in touched:
            self._changed(key)
