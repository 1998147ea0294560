"""Every driver of the store that the conformance suite knows, opened and closed the same way."""

from __future__ import annotations

import contextlib
import enum
import itertools
from typing import TYPE_CHECKING

import msgspec

from fakes.clock import SPEED, WallClock
from fakes.etcd_cluster import shared_etcd
from skerry.fleet.store.etcd import EtcdStore
from skerry.fleet.store.etcd_client import EtcdClient
from skerry.fleet.store.etcd_foundation import found
from skerry.fleet.store.etcd_messages import HeaderOnly
from skerry.fleet.store.interface import Lease, Put
from skerry.fleet.store.leases import check_ttl
from skerry.fleet.store.memory import MemoryStore
from skerry.fleet.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from fakes.clock import FakeClock
    from skerry.fleet.store.interface import Batch, Store
    from skerry.kit.clock import Clock

    StoryClock = FakeClock | WallClock
    Story = Callable[[Store, StoryClock], Awaitable[object]]
    Play = Callable[[Story], object]


class Driver(enum.StrEnum):
    MEMORY = "memory"
    SQLITE = "sqlite"
    ETCD = "etcd"


LOCAL = (Driver.MEMORY, Driver.SQLITE)
"""Those whose time is the clock that they are given."""


@contextlib.asynccontextmanager
async def opened(
    driver: Driver, directory: Path, clock: Clock, *, keep: int = 10_000
) -> AsyncIterator[Store]:
    """A store of the given kind, its file (if any) in `directory`."""
    store: Store
    if driver is Driver.MEMORY:
        store = MemoryStore(clock=clock, keep=keep)
    elif driver is Driver.ETCD:
        store = await fresh_etcd_store(keep=keep)
    else:
        store = await SqliteStore.open(directory / "store.db", clock=clock, keep=keep)
    try:
        yield store
    finally:
        await store.close()


async def fresh_etcd_store(*, keep: int = 10_000) -> EtcdStore:
    """A store in the etcd of this test run, as if it were new. One at a time; leases are 1, 2, 3, …"""
    url = shared_etcd()
    clock = WallClock()
    client = EtcdClient([url], clock=clock)
    try:
        leases = await client.ask("/v3/lease/leases", {}, Leases)
        for lease in leases.leases:
            await client.ask("/v3/lease/revoke", {"ID": lease.id}, HeaderOnly)
        await client.ask("/v3/kv/deleterange", {"key": "AA==", "range_end": "AA=="}, HeaderOnly)
        await found(client)
    finally:
        client.close()
    return await HurriedEtcdStore.open(
        [url], name="test", clock=clock, keep=keep, lease_ids=itertools.count(1).__next__
    )


class HurriedEtcdStore(EtcdStore):
    """Its leases pass as fast as WallClock does; etcd's own are whole seconds, and at least one."""

    async def grant(self, ttl_s: float) -> Lease:
        return self._long(await super().grant(check_ttl(ttl_s) / SPEED))

    async def keep_alive(self, lease: int) -> Lease:
        return self._long(await super().keep_alive(lease))

    async def time_to_live_s(self, lease: int) -> float:
        return await super().time_to_live_s(lease) * SPEED

    def _long(self, lease: Lease) -> Lease:
        return Lease(lease.id, lease.ttl_s * SPEED)


class Leased(msgspec.Struct):
    id: int = msgspec.field(name="ID")


class Leases(msgspec.Struct):
    leases: list[Leased] = []


async def seen(store: Store, prefix: str, after: int, *, until: int) -> list[Batch]:
    """What a new watcher is shown, up to the batch of revision `until`."""
    batches: list[Batch] = []
    async with contextlib.aclosing(store.watch(prefix, after)) as watching:
        async for batch in watching:
            batches.append(batch)
            if batch.revision >= until:
                break
    return batches


async def put(store: Store, key: str, value: str = "", lease: int = 0) -> int:
    """Put one key; the revision of that."""
    return (await store.transact((), [Put(key, value.encode(), lease)])).revision
