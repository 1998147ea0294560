"""A part of the store in memory: as the store has it, whatever happens on the way."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.clock import FakeClock, settle
from skerry.fleet.access.mirror import Mirror
from skerry.fleet.store.errors import StoreError
from skerry.fleet.store.interface import Delete, Put
from skerry.fleet.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from skerry.fleet.store.interface import Listing

CHANGES = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.none() | st.sampled_from([b"1", b"2"]), st.booleans()),
    max_size=30,
)


class Failing(MemoryStore):
    """Cannot be read while `down`."""

    down = False

    async def list(self, prefix: str) -> Listing:
        if self.down:
            raise StoreError("the store is away")
        return await super().list(prefix)


@contextlib.asynccontextmanager
async def followed(store: MemoryStore, clock: FakeClock, told: list[str]) -> AsyncIterator[Mirror[bytes]]:
    mirror = Mirror(store, clock, "/p/", lambda entry: entry.value, told.append)
    running = asyncio.create_task(mirror.run())
    try:
        yield mirror
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _follow(changes: list[tuple[str, bytes | None, bool]]) -> None:
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    told: list[str] = []
    async with followed(store, clock, told) as mirror:
        await mirror.reached()
        held: dict[str, bytes] = {}
        for key, value, compacts in changes:
            before = held.get(key)
            result = await store.transact(
                [], [Delete(f"/p/{key}") if value is None else Put(f"/p/{key}", value)]
            )
            held.pop(key, None) if value is None else held.update({key: value})
            if compacts:
                await store.compact(result.revision)
            if value is not None or before is not None:
                await mirror.reached(result.revision)
                assert told[-1] == key or before == value
            assert dict(mirror.content) == held


@settings(max_examples=50, deadline=None)
@given(CHANGES)
def test_it_is_as_the_store_is_even_where_history_is_forgotten(
    changes: list[tuple[str, bytes | None, bool]],
) -> None:
    asyncio.run(_follow(changes))


async def _away() -> None:
    clock = FakeClock()
    store = Failing(clock=clock)
    store.down = True
    told: list[str] = []
    async with followed(store, clock, told) as mirror:
        await clock.advance(5)
        assert not mirror.is_ready
        await store.transact([], [Put("/p/a", b"1"), Put("/other", b"2")])
        store.down = False
        await clock.advance(2)
        assert (mirror.is_ready, dict(mirror.content), told) == (True, {"a": b"1"}, ["a"])
        await store.close()
        await settle()
        assert dict(mirror.content) == {"a": b"1"}


def test_a_store_that_is_away_is_asked_again() -> None:
    asyncio.run(_away())
