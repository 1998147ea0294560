"""What the stores of a single machine have in common: all but where the state lies.

A driver gives `_submit`, which carries a command out on its state and returns when that is durable, reads
of what is durable, and pages of old history.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
from typing import TYPE_CHECKING

from skerry.fleet.store.commands import Answer, Command, Compact, EndLease, GrantLease, Transact
from skerry.fleet.store.errors import StoreError
from skerry.fleet.store.leases import LeaseTimes, check_ttl
from skerry.fleet.store.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from skerry.fleet.store.feed import Feed, Page
    from skerry.fleet.store.interface import Batch, Compare, Entry, Lease, Listing, Operation, Result
    from skerry.kit.clock import Clock


class LocalStore(abc.ABC):
    """Implements skerry.fleet.store.interface.Store. Used from one event loop."""

    def __init__(self, clock: Clock, feed: Feed) -> None:
        self._feed = feed
        self._times = LeaseTimes(clock)
        self._expiry: asyncio.Task[None] | None = None
        self._closed = False

    @abc.abstractmethod
    async def get(self, key: str) -> Entry | None: ...

    @abc.abstractmethod
    async def list(self, prefix: str) -> Listing: ...

    @abc.abstractmethod
    async def _submit(self, command: Command[Answer]) -> Answer: ...

    @abc.abstractmethod
    async def _page(self, prefix: str, after: int) -> Page: ...

    @abc.abstractmethod
    async def _let_go(self) -> None: ...

    async def transact(
        self, compares: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation] = ()
    ) -> Result:
        transaction = Transaction(tuple(compares), tuple(then), tuple(otherwise))
        return await self._submit(Transact(transaction))

    def watch(self, prefix: str, after: int) -> AsyncGenerator[Batch, None]:
        return self._feed.follow(prefix, after, self._page)

    async def grant(self, ttl_s: float) -> Lease:
        lease = await self._submit(GrantLease(check_ttl(ttl_s)))
        self._count([lease])
        return lease

    async def keep_alive(self, lease: int) -> Lease:
        self._check_open()
        return self._times.renew(lease)

    async def revoke(self, lease: int) -> None:
        self._check_open()
        taken = self._times.take(lease)
        try:
            await self._submit(EndLease(lease))
        except StoreError:
            self._times.start(taken)
            raise

    async def time_to_live_s(self, lease: int) -> float:
        self._check_open()
        return self._times.remaining_s(lease)

    async def compact(self, revision: int) -> None:
        await self._submit(Compact(revision))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._feed.close()
        if self._expiry is not None:
            self._expiry.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._expiry
        await self._let_go()

    def _count(self, leases: Sequence[Lease]) -> None:
        """Let the leases' time run from now."""
        for lease in leases:
            self._times.start(lease)
        if leases and self._expiry is None and not self._closed:
            self._expiry = asyncio.create_task(self._times.run(self._end), name="leases of the store")

    async def _end(self, lease: int) -> None:
        await self._submit(EndLease(lease))

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")
