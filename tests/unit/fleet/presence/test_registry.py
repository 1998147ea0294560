"""Servers that hear heartbeats, over one store: the leader keeps the table, the others pass on."""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from fakes.away import Cut, Fault
from fakes.clock import FakeClock, settle
from skerry.fleet.presence.heartbeat import Answers, Contact, Heard, Heartbeat
from skerry.fleet.presence.leader import LEASE_S, Alone, Leadership, NotLeadingError
from skerry.fleet.presence.liveness import DuplicateNodeError
from skerry.fleet.presence.registry import RefusedError, Registry
from skerry.fleet.state.node import Facts, Liveness, PresenceRecord, presence_key
from skerry.fleet.store.interface import Delete, Put
from skerry.fleet.store.memory import MemoryStore
from skerry.kit.http import HttpError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

HELLO = Heartbeat("1", 0, Facts(boot_id="1"))
BEAT = Heartbeat("1", 0)


class World:
    """Two servers, "https://0" and "https://1"; `cut` are URLs that cannot be reached."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock)
        self.cut: set[str] = set()
        self.passed = 0
        self.stores = [Cut(self.store) for _ in range(2)]
        self.leading = [Leadership(self.stores[n], str(n), f"https://{n}", self.clock) for n in range(2)]
        self.servers = [Registry(self.store, one, self.clock, self.forward) for one in self.leading]
        self.tasks: list[list[asyncio.Task[None]]] = []

    async def forward(self, url: str, heard: Heard) -> Answers:
        self.passed += 1
        if url in self.cut:
            raise HttpError(f"{url} cannot be reached")
        return await self.servers[int(url[-1])].passed_on(heard)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[World]:
        for pair in zip(self.leading, self.servers, strict=True):
            self.tasks.append([asyncio.ensure_future(one.run()) for one in pair])
            await settle()
        try:
            yield self
        finally:
            for number in range(2):
                await self.end(number)

    async def end(self, number: int) -> None:
        for task in self.tasks[number]:
            task.cancel()
        await asyncio.gather(*self.tasks[number], return_exceptions=True)
        await settle()

    async def ask(self, server: int, node: str, beat: Heartbeat = HELLO) -> Contact:
        asked = asyncio.ensure_future(self.servers[server].heard(node, beat))
        await self.clock.advance(0.1)
        return await asked

    async def liveness(self, node: str) -> Liveness | None:
        entry = await self.store.get(presence_key(node))
        return None if entry is None else PresenceRecord.decode(entry.value).liveness


def story(tell: Callable[[World], Awaitable[None]]) -> Callable[[], None]:
    async def scenario() -> None:
        async with World().running() as world:
            await tell(world)

    def test() -> None:
        asyncio.run(scenario())

    test.__doc__ = tell.__doc__
    test.__name__ = tell.__name__
    return test


@story
async def test_what_any_server_hears_the_leader_writes(world: World) -> None:
    first = await world.ask(0, "a")
    second = await world.ask(1, "b")
    assert first.ttl_s == second.ttl_s == 15
    assert await world.liveness("a") is await world.liveness("b") is Liveness.READY
    entry = await world.store.get(presence_key("b"))
    assert entry is not None
    assert second.revision == entry.mod_revision


@story
async def test_at_rest_nothing_is_written(world: World) -> None:
    for node in "abc":
        await world.ask(1, node)
    before = (await world.store.list("")).revision
    for _ in range(100):
        await asyncio.gather(*(asyncio.ensure_future(world.servers[0].heard(n, BEAT)) for n in "abc"))
        await world.clock.advance(5)
    assert (await world.store.list("")).revision == before


@story
async def test_many_heartbeats_are_passed_on_together(world: World) -> None:
    asked = [asyncio.ensure_future(world.servers[1].heard(f"n{n}", HELLO)) for n in range(300)]
    await world.clock.advance(0.1)
    assert all(contact.ttl_s == 15 for contact in await asyncio.gather(*asked))
    assert world.passed == 1


@story
async def test_who_is_silent_is_lost_in_time_and_only_that_is_written(world: World) -> None:
    await world.ask(0, "a")
    await world.ask(0, "b")
    before = (await world.store.list("")).revision
    for _ in range(4):
        await world.clock.advance(4)
        await world.ask(0, "b", BEAT)
    assert await world.liveness("a") is Liveness.LOST
    assert await world.liveness("b") is Liveness.READY
    assert (await world.store.list("")).revision == before + 1


@story
async def test_goodbye_through_any_server_is_told_at_once(world: World) -> None:
    await world.ask(0, "a")
    leaving = asyncio.ensure_future(world.servers[1].goodbye("a"))
    await world.clock.advance(0.1)
    await leaving
    assert await world.liveness("a") is Liveness.LEFT


@story
async def test_a_heartbeat_that_the_leader_does_not_hear_is_not_answered(world: World) -> None:
    world.cut.add("https://0")
    asked = asyncio.ensure_future(world.servers[1].heard("a", HELLO))
    await world.clock.advance(0.1)
    with pytest.raises(HttpError):
        await asked


@story
async def test_the_next_leader_knows_all_and_waits_two_ttls(world: World) -> None:
    await world.ask(0, "a")
    await world.ask(0, "b")
    await world.end(0)
    assert world.leading[1].is_leader
    await world.clock.advance(29)
    assert await world.liveness("a") is Liveness.READY
    assert (await world.ask(1, "b", BEAT)).ttl_s == 15
    await world.clock.advance(2)
    assert await world.liveness("a") is Liveness.LOST
    assert await world.liveness("b") is Liveness.READY


@story
async def test_who_was_heard_after_an_election_has_one_ttl_again(world: World) -> None:
    await world.ask(0, "a")
    await world.ask(0, "b")
    await world.end(0)
    assert world.leading[1].is_leader
    await world.ask(1, "b", BEAT)
    await world.clock.advance(16)
    assert await world.liveness("b") is Liveness.LOST
    assert await world.liveness("a") is Liveness.READY


@story
async def test_a_leader_that_fell_silent_is_lost_a_ttl_after_the_store_heard_it_last(world: World) -> None:
    for node in ("0", "1", "a"):
        await world.ask(0, node)
    own = await world.ask(0, "0", BEAT)
    assert 0 < own.age_s < LEASE_S / 2
    world.stores[0].fault = Fault.AWAY
    counts_from = world.clock.monotonic() - own.age_s
    while await world.liveness("0") is Liveness.READY:
        assert world.clock.monotonic() < counts_from + 17
        await world.clock.advance(0.5)
        if world.leading[1].is_leader:
            await world.ask(1, "1", BEAT)
    assert await world.liveness("0") is Liveness.LOST
    assert world.clock.monotonic() >= counts_from + 15
    assert await world.liveness("a") is Liveness.READY


@story
async def test_a_leader_that_only_lost_its_office_goes_on_living(world: World) -> None:
    await world.ask(0, "0")
    world.stores[0].fault = Fault.AWAY
    while not world.leading[1].is_leader:
        await world.clock.advance(0.5)
    assert (await world.ask(0, "0", BEAT)).age_s > LEASE_S  # its key may stand yet, as far as it knows
    world.stores[0].fault = None
    for _ in range(8):
        await world.clock.advance(5)
        assert (await world.ask(0, "0", BEAT)).age_s == 0
    assert await world.liveness("0") is Liveness.READY


@story
async def test_a_leader_whose_time_is_up_answers_nothing(world: World) -> None:
    await world.ask(0, "a")
    world.clock._passed += 100  # the process was stopped: no task ran meanwhile
    with pytest.raises(NotLeadingError):
        await world.servers[0].passed_on(Heard({"a": BEAT}))


@story
async def test_a_copy_of_a_machine_is_refused_through_any_server(world: World) -> None:
    await world.ask(0, "a")
    copy = Heartbeat("2", 0, Facts(boot_id="2"))
    with pytest.raises(DuplicateNodeError):
        await world.ask(0, "a", copy)
    with pytest.raises(RefusedError, match="another machine"):
        await world.ask(1, "a", copy)


@story
async def test_a_removed_machine_is_forgotten(world: World) -> None:
    await world.ask(0, "a")
    await world.store.transact([], [Delete(presence_key("a"))])
    await world.clock.advance(100)
    assert await world.liveness("a") is None


@story
async def test_a_record_written_by_another_hand_does_not_stop_the_leader(world: World) -> None:
    await world.ask(0, "a")
    record = PresenceRecord(Facts(), Liveness.READY, 0)
    await world.store.transact([], [Put(presence_key("a"), record.encode())])
    await world.clock.advance(16)
    assert await world.liveness("a") is Liveness.LOST


def test_a_machine_alone_is_answered_once_and_for_all() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        alone = Alone(store, "a", clock)
        registry = Registry(store, alone, clock, None)
        tasks = [asyncio.ensure_future(alone.run()), asyncio.ensure_future(registry.run())]
        await settle()
        assert math.isinf((await registry.heard("a", HELLO)).ttl_s)
        before = (await store.list("")).revision
        await clock.advance(10_000)
        entry = await store.get(presence_key("a"))
        assert entry is not None
        assert PresenceRecord.decode(entry.value).liveness is Liveness.READY
        assert (await store.list("")).revision == before
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scenario())
