"""The office of Skerry's leader over real etcd members, of which the one that leads etcd stands still."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

from fakes.clock import WallClock
from fakes.etcd_cluster import etcd_leader, etcd_members
from skerry.fleet.presence.leader import Leadership
from skerry.fleet.store.etcd import EtcdStore
from skerry.fleet.store.etcd_client import EtcdClient
from skerry.fleet.store.etcd_foundation import found

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fakes.etcd_cluster import Member

LEASE_S = 10.0
"""Longer than an election of etcd takes on a busy machine; shorter than two members that do not answer."""


@asynccontextmanager
async def standing(name: str, members: list[Member]) -> AsyncIterator[Leadership]:
    """A server that stands for election, and asks these members in this order."""
    clock = WallClock()
    store = await EtcdStore.open([member.clients for member in members], name=name, clock=clock)
    leadership = Leadership(store, name, f"https://{name}:7443", clock, lease_s=LEASE_S)
    task = asyncio.create_task(leadership.run())
    try:
        yield leadership
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await store.close()


async def until_it_leads(leadership: Leadership) -> None:
    async with asyncio.timeout(30), aclosing(leadership.changes()) as changes:
        async for _ in changes:
            if leadership.is_leader:
                return


def test_the_office_outlasts_an_election_of_etcd(tmp_path: Path) -> None:
    """What its member passed on to the leader that stands still is never answered: it is asked anew."""

    async def story(members: list[Member]) -> None:
        client = EtcdClient([member.clients for member in members], clock=WallClock())
        await found(client)
        client.close()
        still = await etcd_leader(members)
        first, second = (member for member in members if member is not still)
        async with standing("a", [first, still, second]) as a:
            await until_it_leads(a)
            begun = time.monotonic()
            async with standing("b", [second, still, first]) as b:
                fence = a.fence
                await asyncio.sleep(max(0.0, begun + LEASE_S / 3 - 0.4 - time.monotonic()))
                still.hold()  # shortly before the lease is renewed: etcd needs a second or two for another
                end = time.monotonic() + 1.2 * LEASE_S
                while time.monotonic() < end:
                    assert (a.is_leader, b.is_leader) == (True, False)
                    await asyncio.sleep(0.05)
                assert a.fence == fence
                still.release()

    with etcd_members(tmp_path, 3) as members:
        asyncio.run(story(members))
