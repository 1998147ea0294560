"""A store that can be held still while it is moved: who reads goes on, who writes waits.

    open ─ hold ─→ held: new writes wait, those under way finish ─┬─ release ─→ open
                                                                  └─ shut, close ─→ writes are refused

Keys may still end by themselves while it is held, for leases run out below it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from skerry.fleet.store.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from skerry.fleet.store.interface import Batch, Compare, Entry, Lease, Listing, Operation, Result, Store


class Gate:
    """Implements Store over another one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open = asyncio.Event()
        self._open.set()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._writing = 0
        self._closed = False

    async def hold(self) -> None:
        """From the return on nothing is written."""
        self._open.clear()
        await self._quiet.wait()

    def release(self) -> None:
        """Let those that wait go on."""
        self._open.set()

    def shut(self) -> None:
        """It has moved: writes are refused from now on, also by those who write something as they end."""
        self._closed = True
        self._open.set()

    async def get(self, key: str) -> Entry | None:
        return await self._store.get(key)

    async def list(self, prefix: str) -> Listing:
        return await self._store.list(prefix)

    async def transact(
        self, compares: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation] = ()
    ) -> Result:
        async with self._writes():
            return await self._store.transact(compares, then, otherwise)

    def watch(self, prefix: str, after: int) -> AsyncGenerator[Batch, None]:
        return self._store.watch(prefix, after)

    async def grant(self, ttl_s: float) -> Lease:
        async with self._writes():
            return await self._store.grant(ttl_s)

    async def keep_alive(self, lease: int) -> Lease:
        async with self._writes():
            return await self._store.keep_alive(lease)

    async def revoke(self, lease: int) -> None:
        async with self._writes():
            await self._store.revoke(lease)

    async def time_to_live_s(self, lease: int) -> float:
        return await self._store.time_to_live_s(lease)

    async def compact(self, revision: int) -> None:
        async with self._writes():
            await self._store.compact(revision)

    async def close(self) -> None:
        self.shut()
        await self._store.close()

    @contextlib.asynccontextmanager
    async def _writes(self) -> AsyncIterator[None]:
        while not (self._open.is_set() or self._closed):
            await self._open.wait()
        if self._closed:
            raise UnavailableError("the store has moved", hint="ask again: nothing was changed")
        self._writing += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._writing -= 1
            if self._writing == 0:
                self._quiet.set()
