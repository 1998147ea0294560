"""Elections over a store in memory: one leads, and knows in time when it leads no longer."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from fakes.clock import FakeClock, settle
from skerry.fleet.presence.leader import LEADER_KEY, LEASE_S, Alone, LeaderRecord, Leadership, NotLeadingError
from skerry.fleet.store.errors import StoreError
from skerry.fleet.store.interface import Put
from skerry.fleet.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from skerry.fleet.presence.leader import Leading
    from skerry.fleet.store.interface import Lease


class Cut(MemoryStore):
    """A store that can be away for one server: it shares its state with `behind`."""

    def __init__(self, behind: MemoryStore) -> None:
        self.behind = behind
        self.away = False

    def __getattribute__(self, name: str) -> object:
        if name in {"behind", "away"} or name.startswith("__"):
            return object.__getattribute__(self, name)
        if self.away and name in {"transact", "keep_alive", "grant", "revoke", "get", "list"}:

            async def fail(*_: object) -> Lease:
                raise StoreError("the store is away")

            return fail
        return getattr(self.behind, name)


@asynccontextmanager
async def running(*all_of: Leading) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.ensure_future(one.run()) for one in all_of]
    await settle()
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_one_of_two_leads_and_both_know_who() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        a, b = (Leadership(store, n, f"https://{n}:7443", clock) for n in "ab")
        async with running(a, b):
            assert (a.is_leader, b.is_leader) == (True, False)
            assert a.leader == b.leader == LeaderRecord("a", "https://a:7443")
            await clock.advance(100)
            assert a.is_leader
            with pytest.raises(NotLeadingError):
                _ = b.fence

    asyncio.run(scenario())


def test_the_other_follows_at_once_when_the_leader_goes_in_order() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        a, b = (Leadership(store, n, "", clock) for n in "ab")
        async with running(a, b) as tasks:
            fence = a.fence
            tasks[0].cancel()
            await settle()
            assert b.is_leader
            assert not (await store.transact([fence], [Put("/x", b"")])).succeeded
            assert (await store.transact([b.fence], [Put("/x", b"")])).succeeded

    asyncio.run(scenario())


def test_what_a_machine_alone_left_does_not_stand_in_the_way_of_its_cluster() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        async with running(Alone(store, "a", clock)) as tasks:
            tasks[0].cancel()
            await settle()
        a, b = (Leadership(store, n, f"https://{n}:7443", clock) for n in "ab")
        async with running(b, a):
            assert b.is_leader
            assert a.leader == LeaderRecord("b", "https://b:7443")

    asyncio.run(scenario())


def test_a_leader_without_its_store_stops_before_another_begins() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        cut = Cut(store)
        a, b = Leadership(cut, "a", "", clock), Leadership(store, "b", "", clock)
        async with running(a, b):
            cut.away = True
            for _ in range(int(LEASE_S * 20)):
                await clock.advance(0.1)
                assert not (a.is_leader and b.is_leader)
            assert b.is_leader
            cut.away = False
            await clock.advance(LEASE_S)
            assert not a.is_leader
            assert a.leader == LeaderRecord("b")

    asyncio.run(scenario())


def test_a_process_that_was_stopped_knows_at_once_that_it_leads_no_longer() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        mine = FakeClock()  # stands still while the process does; then it has the new time
        a = Leadership(store, "a", "", mine)
        async with running(a):
            assert a.is_leader
            mine._passed = LEASE_S  # no task of ours ran meanwhile
            assert not a.is_leader

    asyncio.run(scenario())


def test_a_server_that_was_killed_leads_again_without_waiting_for_its_lease() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        lease = await store.grant(LEASE_S)
        await store.transact([], [Put(LEADER_KEY, LeaderRecord("a").encode(), lease.id)])
        a = Leadership(store, "a", "", clock)
        async with running(a):
            assert a.is_leader

    asyncio.run(scenario())


def test_changes_are_told_in_order() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        a, b = (Leadership(store, n, "", clock) for n in "ab")
        told: list[str | None] = []

        async def listen() -> None:
            async for record in b.changes():
                told.append(record.node if record else None)  # noqa: PERF401  as they come

        async with running(a, b) as tasks:
            listening = asyncio.ensure_future(listen())
            await settle()
            tasks[0].cancel()
            await settle()
            listening.cancel()
        assert told[0] == "a"
        assert told[-1] == "b"

    asyncio.run(scenario())


def test_a_single_machine_leads_and_writes_nothing_more() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        async with running(Alone(store, "a", clock)) as _:
            pass
        again = Alone(store, "a", clock)
        async with running(again):
            assert again.is_leader
            assert (await store.transact([again.fence], [Put("/x", b"")])).succeeded
            before = (await store.list("")).revision
            await clock.advance(1000)
            assert (await store.list("")).revision == before

    asyncio.run(scenario())
