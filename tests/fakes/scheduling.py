"""A store, a driver that leads over it, and words for what people and machines do."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing
from typing import TYPE_CHECKING

from skerry.fleet.presence.leader import Alone
from skerry.fleet.schedule.driver import Driver
from skerry.fleet.state.node import Facts, Liveness, PresenceRecord, presence_key
from skerry.fleet.state.placement import PLACEMENTS_PREFIX, PlacementRecord
from skerry.fleet.state.unit import DesiredState, UnitRecord, unit_key
from skerry.fleet.store.errors import CompactedError, StoreError
from skerry.fleet.store.interface import Put

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from skerry.fleet.store.interface import Batch, Compare, Listing, Operation, Result, Store
    from skerry.kit.clock import Clock

A, B = ("a" * 32, "b" * 32)
LONGEST_S = 20


class Trouble:
    """A store before the real one: refuses, or lets something happen first, as often as it is told."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.refuse: list[StoreError] = []
        self.before: list[Callable[[], Awaitable[object]]] = []
        self.compact_watches = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def transact(
        self, compares: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation] = ()
    ) -> Result:
        if self.refuse:
            raise self.refuse.pop()
        if self.before:
            await self.before.pop()()
        return await self._store.transact(compares, then, otherwise)

    async def list(self, prefix: str) -> Listing:
        return await self._store.list(prefix)

    async def watch(self, prefix: str, after: int) -> AsyncIterator[Batch]:
        if self.compact_watches:
            self.compact_watches -= 1
            raise CompactedError(after, after)
        async with aclosing(self._store.watch(prefix, after)) as batches:
            async for batch in batches:
                yield batch


class Cluster:
    """A store, a driver that leads over it, and words for what people and machines do."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.trouble = Trouble(store)
        self.leading = Alone(store, A, clock)
        self.driver = Driver(self.trouble, self.leading, clock)  # type: ignore[arg-type]

    async def put(
        self, *names: str, text: str = "[Service]\nExecStart=/bin/true\n", loaded: bool = True
    ) -> None:
        desired = DesiredState.LOADED if loaded else DesiredState.INACTIVE
        records = [UnitRecord(name, text, "hash", desired) for name in names]
        await self.store.transact((), [Put(unit_key(record.name), record.encode()) for record in records])

    async def node(self, *nodes: str, liveness: Liveness = Liveness.READY) -> None:
        record = PresenceRecord(Facts(memory_bytes=1 << 30, cpus=2), liveness, 0.0)
        await self.store.transact((), [Put(presence_key(node), record.encode()) for node in nodes])

    async def placements(self) -> dict[str, str]:
        """Units by name with the first letter of their machine, "a!" where they are leaving it."""
        listing = await self.store.list(PLACEMENTS_PREFIX)
        records = [PlacementRecord.decode(entry.value) for entry in listing.entries]
        return {r.unit.removesuffix(".service"): r.node[0] + "!" * r.leaving for r in records}

    async def until(self, wanted: dict[str, str]) -> None:
        """Wait for the placements to be so. Fails where they do not become so."""
        async with asyncio.timeout(LONGEST_S), contextlib.AsyncExitStack() as stack:
            start = await self.store.list(PLACEMENTS_PREFIX)
            batches = await stack.enter_async_context(
                aclosing(self.store.watch(PLACEMENTS_PREFIX, start.revision))
            )
            while await self.placements() != wanted:
                await anext(batches)


@contextlib.asynccontextmanager
async def led(cluster: Cluster) -> AsyncIterator[None]:
    """The driver at work."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(cluster.leading.run()), group.create_task(cluster.driver.run())]
        yield
        for task in tasks:
            task.cancel()
