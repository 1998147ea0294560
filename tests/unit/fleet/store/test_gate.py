"""The gate before a store that moves: whatever the order of things, nothing is lost, doubled, or let by."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.clock import FakeClock, settle
from skerry.fleet.store.errors import LeaseNotFoundError, UnavailableError
from skerry.fleet.store.gate import Gate
from skerry.fleet.store.interface import Put
from skerry.fleet.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from skerry.fleet.store.interface import Compare, Operation, Result, Store

STEPS = ("write", "give up", "finish", "hold", "release", "close", "rest")


class SlowStore(MemoryStore):
    """Its writes wait until the test lets them go on; `arrived` are those that came here, in order."""

    def __init__(self) -> None:
        super().__init__(clock=FakeClock())
        self.arrived: list[str] = []
        self.done: list[str] = []
        self.under_way: list[asyncio.Event] = []

    async def transact(
        self, compares: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation] = ()
    ) -> Result:
        name = str(getattr(then[0], "key", ""))
        self.arrived.append(name)
        go_on = asyncio.Event()
        self.under_way.append(go_on)
        try:
            await go_on.wait()
        finally:
            self.under_way.remove(go_on)
        result = await super().transact(compares, then, otherwise)
        self.done.append(name)
        return result

    async def close(self) -> None:
        """As a driver that first finishes what it has begun."""


class Story:
    """One gate, and what was asked of it."""

    def __init__(self) -> None:
        self.below = SlowStore()
        self.gate = Gate(self.below)
        self.writes: dict[str, asyncio.Task[Result]] = {}
        self.holding: asyncio.Task[None] | None = None
        self.closed = False
        self.arrived_when_held: int | None = None

    async def step(self, what: str) -> None:
        if what == "write":
            name = f"k{len(self.writes)}"
            self.writes[name] = asyncio.create_task(self.gate.transact([], [Put(name, b"")]))
        elif what == "give up" and (waiting := [t for t in self.writes.values() if not t.done()]):
            waiting[-1].cancel()
        elif what == "finish" and self.below.under_way:
            self.below.under_way[0].set()
        elif what == "hold" and self.holding is None:
            self.holding = asyncio.create_task(self.gate.hold())
        elif what == "release" and self.holding is not None:
            self.holding.cancel()
            self.holding, self.arrived_when_held = None, None
            self.gate.release()
        elif what == "close":
            await self.gate.close()
            self.closed = True
        elif what == "rest":
            await settle()
        if self.held:
            if self.arrived_when_held is None:
                self.arrived_when_held = len(self.below.arrived)
            assert self.below.under_way == []
            assert len(self.below.arrived) == self.arrived_when_held

    @property
    def held(self) -> bool:
        return self.holding is not None and self.holding.done()

    async def end(self) -> None:
        """Let everything go on that can; what was asked has then been done once, refused, or given up."""
        for _ in range(len(self.writes) + 2):
            if self.held and not self.closed:
                self.gate.release()
            for go_on in self.below.under_way:
                go_on.set()
            await settle()
        assert all(task.done() for task in self.writes.values())
        assert len(set(self.below.arrived)) == len(self.below.arrived)
        for name, task in self.writes.items():
            if task.cancelled():
                continue
            if task.exception() is None:
                assert name in self.below.done
            else:
                assert isinstance(task.exception(), UnavailableError)
                assert self.closed
                assert name not in self.below.done
        assert {e.key for e in (await self.below.list("k")).entries} == set(self.below.done)


@given(st.lists(st.sampled_from(STEPS), max_size=40))
def test_no_write_is_lost_or_done_twice_and_none_passes_while_it_is_held(steps: list[str]) -> None:
    async def story() -> None:
        told = Story()
        for step in steps:
            await told.step(step)
        await told.end()

    asyncio.run(story())


def test_who_holds_it_waits_for_what_is_under_way_and_nothing_new_begins() -> None:
    async def story() -> None:
        below = SlowStore()
        gate = Gate(below)
        first = asyncio.create_task(gate.transact([], [Put("first", b"")]))
        await settle()
        holding = asyncio.create_task(gate.hold())
        second = asyncio.create_task(gate.transact([], [Put("second", b"")]))
        await settle()
        assert (holding.done(), below.arrived) == (False, ["first"])
        below.under_way[0].set()
        await settle()
        assert (holding.done(), first.done(), below.arrived) == (True, True, ["first"])
        gate.release()
        await settle()
        below.under_way[0].set()
        assert (await second).succeeded
        assert below.done == ["first", "second"]

    asyncio.run(story())


def test_who_writes_at_its_end_to_what_has_moved_is_refused_at_once() -> None:
    async def story() -> None:
        below = SlowStore()
        gate = Gate(below)
        await gate.hold()
        last = asyncio.create_task(gate.revoke(1))
        await settle()
        assert not last.done()
        gate.shut()
        with pytest.raises(UnavailableError, match="moved"):
            await last
        with pytest.raises(UnavailableError, match="moved"):
            await gate.transact([], [Put("late", b"")])
        assert below.arrived == []

    asyncio.run(story())


@contextlib.asynccontextmanager
async def over_memory(clock: FakeClock | None = None) -> AsyncIterator[Gate]:
    gate = Gate(MemoryStore(clock=clock or FakeClock()))
    try:
        yield gate
    finally:
        await gate.close()


def kinds(store: Store, lease: int) -> dict[str, Callable[[], Awaitable[object]]]:
    """Everything that changes a store."""
    return {
        "transact": lambda: store.transact([], [Put("a", b"2")]),
        "grant": lambda: store.grant(5),
        "keep_alive": lambda: store.keep_alive(lease),
        "compact": lambda: store.compact(1),
        "revoke": lambda: store.revoke(lease),
    }


@pytest.mark.parametrize("kind", ["transact", "grant", "keep_alive", "compact", "revoke"])
def test_every_kind_of_change_waits_while_it_is_held(kind: str) -> None:
    async def story() -> None:
        async with over_memory() as gate:
            lease = await gate.grant(10)
            await gate.transact([], [Put("a", b"1", lease.id)])
            await gate.hold()
            before = (await gate.list("")).entries
            task = asyncio.ensure_future(kinds(gate, lease.id)[kind]())
            await settle()
            assert not task.done()
            assert (await gate.list("")).entries == before
            assert await gate.time_to_live_s(lease.id) == 10
            gate.release()
            await asyncio.wait_for(task, 10)

    asyncio.run(story())


def test_readers_and_watchers_go_on_while_it_is_held_and_leases_run_out() -> None:
    async def story() -> None:
        clock = FakeClock()
        async with over_memory(clock) as gate:
            lease = await gate.grant(5)
            await gate.transact([], [Put("a", b"1", lease.id)])
            await gate.hold()
            entry = await gate.get("a")
            assert entry is not None
            async with contextlib.aclosing(gate.watch("", 0)) as batches:
                assert [event.entry.key for event in (await anext(batches)).events] == ["a"]
                await clock.advance(6)
                assert [event.kind for event in (await anext(batches)).events] == ["delete"]
            assert await gate.get("a") is None
            with pytest.raises(LeaseNotFoundError):
                await gate.time_to_live_s(lease.id)

    asyncio.run(story())


def test_once_closed_it_refuses_writes_at_once_though_somebody_holds_it_again() -> None:
    async def story() -> None:
        async with over_memory() as gate:
            await gate.hold()
            waiting = asyncio.create_task(gate.transact([], [Put("a", b"")]))
            await settle()
            await gate.close()
            await gate.hold()
            for task in (waiting, asyncio.create_task(gate.grant(5))):
                with pytest.raises(UnavailableError, match="has moved") as refused:
                    await asyncio.wait_for(task, 10)
                assert refused.value.hint == "ask again: nothing was changed"

    asyncio.run(story())


def test_a_failure_below_does_not_keep_it_from_being_held() -> None:
    async def story() -> None:
        async with over_memory() as gate:
            with pytest.raises(LeaseNotFoundError):
                await gate.revoke(7)
            await asyncio.wait_for(gate.hold(), 10)

    asyncio.run(story())
