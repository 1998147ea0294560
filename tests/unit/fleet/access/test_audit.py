"""The audit log: in the order of time, in the store before it is said, and bounded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fakes.clock import FakeClock
from fakes.stores import Driver, opened
from skerry.fleet.access.audit import Audit, Series
from skerry.fleet.access.records import AUDIT_PREFIX, AuditRecord
from skerry.fleet.store.errors import StoreError
from skerry.fleet.store.memory import MemoryStore
from skerry.kit.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from skerry.fleet.store.interface import Compare, Operation, Result


def record(clock: FakeClock, what: str) -> AuditRecord:
    return AuditRecord(clock.now(), "person", "ann", "10.0.0.9", what, 200)


class World:
    def __init__(self, keep: int = 100) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock)
        self.audit = Audit(self.store, self.clock, keep=dict.fromkeys(Series, keep))

    async def told(self, series: Series = Series.CHANGES, limit: int = 1000) -> list[str]:
        return [r.what for _, r in await self.audit.newest(series, limit=limit)]


async def _order() -> None:
    w = World()
    for number in range(5):
        await w.audit.append(record(w.clock, f"change {number}"))
        assert (await w.told())[0] == f"change {number}"
        if number % 2:
            await w.clock.advance(1)
    assert await w.told() == [f"change {n}" for n in (4, 3, 2, 1, 0)]
    first = await w.audit.newest(limit=2)
    assert [r.what for _, r in await w.audit.newest(limit=2, before=first[-1][0])] == ["change 2", "change 1"]


def test_the_newest_comes_first_page_by_page() -> None:
    asyncio.run(_order())


async def _bounded() -> None:
    w = World(keep=100)
    for number in range(250):
        await w.audit.append(record(w.clock, f"change {number}"))
    told = await w.told()
    assert told[0] == "change 249"
    assert 100 <= len(told) <= 111
    another_server = Audit(w.store, w.clock, keep=dict.fromkeys(Series, 50))
    await another_server.append(record(w.clock, "its first"))
    assert len(await w.told()) == 50


def test_the_log_is_bounded_and_keeps_the_newest() -> None:
    asyncio.run(_bounded())


async def _together(directory: Path) -> None:
    clock = SystemClock()
    async with opened(Driver.SQLITE, directory, clock) as store:
        audit = Audit(store, clock)
        await asyncio.gather(*(audit.append(record(FakeClock(), f"{n}")) for n in range(300)))
        told = [int(r.what) for _, r in await audit.newest(limit=1000)]
        assert sorted(told) == list(range(300))
        assert (await store.list("")).revision <= 5


def test_what_comes_together_is_written_together(tmp_path: Path) -> None:
    asyncio.run(_together(tmp_path))


async def _gathered() -> None:
    w = World()
    running = asyncio.create_task(w.audit.run())
    w.audit.gather(record(w.clock, "PUT /v2/keys/a"))
    assert await w.told(Series.KEYS) == []
    await w.clock.advance(1.5)
    assert await w.told(Series.KEYS) == ["PUT /v2/keys/a"]
    w.audit.gather(record(w.clock, "PUT /v2/keys/b"))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (await w.told(Series.KEYS), await w.told()) == (["PUT /v2/keys/b", "PUT /v2/keys/a"], [])


def test_keys_have_a_series_of_their_own_that_lags_a_second() -> None:
    asyncio.run(_gathered())


async def _clock_set_back() -> None:
    w = World()
    await w.audit.append(record(FakeClock(now=2e9), "later"))
    await w.audit.append(record(FakeClock(now=1e9), "after the clock was set back"))
    keys = [e.key.removeprefix(AUDIT_PREFIX) for e in (await w.store.list(AUDIT_PREFIX)).entries]
    assert keys == sorted(keys)
    assert await w.told() == ["after the clock was set back", "later"]


def test_a_clock_that_is_set_back_loses_no_order_of_one_server() -> None:
    asyncio.run(_clock_set_back())


class Away(MemoryStore):
    """Takes nothing while `away`."""

    away = False

    async def transact(
        self, compares: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation] = ()
    ) -> Result:
        if self.away:
            raise StoreError("the store is away")
        return await super().transact(compares, then, otherwise)


async def _flood() -> None:
    clock = FakeClock()
    store = Away(clock=clock)
    audit = Audit(store, clock, most_waiting=20)
    store.away = True
    flood = [asyncio.create_task(audit.append(record(clock, f"change {n}"))) for n in range(50)]
    ended = await asyncio.wait_for(asyncio.gather(*flood, return_exceptions=True), 20)
    assert {type(error) for error in ended} == {StoreError}
    with pytest.raises(StoreError):
        await audit.append(record(clock, "one more"))
    await audit.flush()
    store.away = False
    await audit.flush()
    told = [(r.who, r.what, r.detail) for _, r in await audit.newest(limit=1000)]
    assert told[0] == ("skerryd", "AUDIT", "31 entries were dropped: more waited than are kept")
    assert [what for _, what, _ in told[1:]] == ["one more", *(f"change {n}" for n in range(49, 30, -1))]
    await audit.append(record(clock, "afterwards"))
    assert len(await audit.newest(limit=1000)) == 22


def test_what_waits_is_bounded_and_how_much_was_dropped_is_said() -> None:
    asyncio.run(_flood())


async def _later() -> None:
    clock = FakeClock()
    store = Away(clock=clock)
    audit = Audit(store, clock)
    running = asyncio.create_task(audit.run())
    store.away = True
    with pytest.raises(StoreError):
        await audit.append(record(clock, "a change"))
    store.away = False
    await clock.advance(1.5)
    assert [r.what for _, r in await audit.newest()] == ["a change"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_what_the_store_did_not_take_is_written_when_it_does() -> None:
    asyncio.run(_later())
