"""The store on real etcd while answers get lost and members fail: no change is lost, none is made twice."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from fakes.clock import WallClock
from fakes.etcd_cluster import SHORT_TIMES, etcd_leader, etcd_members
from fakes.lossy import LossyWay
from fakes.stores import fresh_etcd_store, seen
from skerry.fleet.store.errors import OutcomeUnknownError, UnavailableError
from skerry.fleet.store.etcd import EtcdStore
from skerry.fleet.store.etcd_client import EtcdClient
from skerry.fleet.store.etcd_foundation import found
from skerry.fleet.store.interface import (
    Compare,
    Delete,
    DeletePrefix,
    Entry,
    Field,
    Get,
    Put,
    Relation,
    absent,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from fakes.etcd_cluster import Member
    from skerry.fleet.store.interface import Operation, Result


def lossy(story: Callable[[EtcdStore, LossyWay], Awaitable[object]]) -> object:
    """A store that reaches its etcd over a way on which answers get lost."""

    async def whole() -> object:
        direct = await fresh_etcd_store()
        try:
            async with LossyWay(direct.client.endpoints[0]).opened() as way:
                direct.client.use([way.url])
                return await story(direct, way)
        finally:
            await direct.close()

    return asyncio.run(whole())


COUNTED = Compare("n", Field.VERSION, Relation.EQUAL, 1)
LOST: list[tuple[list[Compare], list[Operation], list[Operation]]] = [
    ([], [Put("n", b"2"), Get("n"), Put("new", b"")], []),
    ([COUNTED], [Put("n", b"2")], [Put("otherwise", b"")]),
    ([absent("n")], [Put("n", b"2")], [Put("otherwise", b""), Delete("n")]),
    ([absent("n")], [Put("n", b"2")], [Get("n")]),
    ([absent("n")], [Put("n", b"2")], []),
    ([COUNTED], [Delete("n")], [Get("n")]),
    ([COUNTED], [Delete("none")], []),
    ([], [DeletePrefix("")], []),
    ([Compare("none", Field.VALUE, Relation.EQUAL, b"")], [Put("n", b"2")], []),
    ([COUNTED], [Get("n")], []),
]


@pytest.mark.parametrize(("compares", "then", "otherwise"), LOST)
@pytest.mark.parametrize("times", [1, 3])
def test_a_change_whose_answer_is_lost_is_made_once_and_told(
    compares: list[Compare], then: list[Operation], otherwise: list[Operation], times: int
) -> None:
    async def told(store: EtcdStore, way: LossyWay, lose: int) -> tuple[Result, list[Entry]]:
        await store.transact((), [Put("n", b"1"), Put("m", b"1")])
        way.lose = lose
        result = await store.transact(compares, then, otherwise)
        assert way.lost == lose
        return result, list((await store.list("")).entries)

    undisturbed = lossy(lambda store, way: told(store, way, 0))
    disturbed = lossy(lambda store, way: told(store, way, times))
    assert disturbed[0].succeeded == undisturbed[0].succeeded  # type: ignore[index]
    assert disturbed[0].found == undisturbed[0].found  # type: ignore[index]
    assert disturbed[1] == undisturbed[1]  # type: ignore[index]


def test_leases_are_given_and_ended_once_though_answers_are_lost() -> None:
    async def story(store: EtcdStore, way: LossyWay) -> object:
        way._only = b"/v3/lease/"
        way.lose = 2
        lease = await store.grant(60)
        await store.transact((), [Put("a", b"", lease.id)])
        way.lose = 1
        await store.keep_alive(lease.id)
        way.lose = 2
        await store.revoke(lease.id)
        return way.lost, (await store.list("")).entries

    assert lossy(story) == (5, ())


def test_what_etcd_may_have_done_is_said_so_when_patience_ends() -> None:
    async def story(store: EtcdStore, way: LossyWay) -> object:
        store.client.patience_s = 0.5
        way.lose = 1000
        with pytest.raises(OutcomeUnknownError, match="may or may not have been made"):
            await store.transact((), [Put("a", b"1")])
        with pytest.raises(UnavailableError) as refused:
            await store.transact((), [Get("a")])
        way.lose = 0
        return type(refused.value), (await store.list("a")).entries[0].version

    assert lossy(story) == (UnavailableError, 1)


def test_receipts_do_not_pile_up() -> None:
    async def story(store: EtcdStore, way: LossyWay) -> object:
        for n in range(200):
            await store.transact((), [Put("a", str(n).encode())])
        return len((await store.list("\0skerry/receipts/")).entries)

    held = lossy(story)
    assert isinstance(held, int)
    assert held <= 2


async def happens(event: Callable[[], bool]) -> None:
    while not event():  # noqa: ASYNC110  what is waited for happens in other programs
        await asyncio.sleep(0.02)


@dataclass
class Traffic:
    """Writers that count and sign in, and a watcher that sees everything."""

    store: EtcdStore
    acknowledged: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    refused: int = 0
    counted: int = 0
    shown: list[tuple[int, str]] = field(default_factory=list)
    names: itertools.count[int] = field(default_factory=itertools.count)

    async def write(self) -> None:
        while True:
            name = f"name/{next(self.names)}"
            entry = await self._read()
            count = int(entry.value) if entry else 0
            guard = (
                absent("count")
                if entry is None
                else Compare("count", Field.MOD_REVISION, Relation.EQUAL, entry.mod_revision)
            )
            try:
                result = await self.store.transact(
                    [guard], [Put("count", str(count + 1).encode()), Put(name, b"")], [Put(name, b"lost")]
                )
            except OutcomeUnknownError:
                self.unknown.add(name)
            except UnavailableError:
                self.refused += 1
            else:
                self.acknowledged.add(name)
                self.counted += result.succeeded
            await asyncio.sleep(0.01)

    async def watch(self) -> None:
        async for batch in self.store.watch("", 0):
            self.shown += [(batch.revision, event.entry.key) for event in batch.events]

    async def _read(self) -> Entry | None:
        while True:
            try:
                return await self.store.get("count")
            except UnavailableError:
                self.refused += 1

    async def progress(self, more: int) -> None:
        """Wait until so many more are acknowledged."""
        until = len(self.acknowledged) + more
        await happens(lambda: len(self.acknowledged) >= until)

    async def check(self) -> None:
        """Nothing acknowledged is lost, nothing was done twice, the watcher saw all of it in order."""
        listing = await self.store.list("")
        there = {entry.key: entry for entry in listing.entries}
        assert self.acknowledged <= there.keys()
        assert there.keys() - {"count"} <= self.acknowledged | self.unknown
        assert all(there[name].version == 1 for name in there if name != "count")
        count = int(there["count"].value)
        assert self.counted <= count <= self.counted + len(self.unknown)
        await happens(lambda: bool(self.shown) and self.shown[-1][0] >= listing.revision)
        # A write that was given up may still arrive, after the listing.
        shown = [(revision, key) for revision, key in self.shown if revision <= listing.revision]
        assert shown == sorted(shown, key=lambda told: told[0])
        assert {key for _, key in shown} == there.keys()
        assert sum(key == "count" for _, key in shown) == count
        replayed = await seen(self.store, "", 0, until=listing.revision)
        assert [(b.revision, e.entry.key) for b in replayed for e in b.events] == shown


def under_traffic(
    directory: Path, story: Callable[[list[Member], Traffic], Awaitable[None]], *, patience_s: float = 30
) -> Traffic:
    async def whole(members: list[Member]) -> Traffic:
        clock = WallClock()
        urls = [member.clients for member in members]
        client = EtcdClient(urls, clock=clock)
        await found(client)
        client.close()
        store = await EtcdStore.open(urls, name="test", clock=clock, patience_s=patience_s)
        traffic = Traffic(store)
        tasks = [asyncio.create_task(traffic.write()) for _ in range(4)]
        watching = asyncio.create_task(traffic.watch())
        try:
            async with asyncio.timeout(100):
                await traffic.progress(20)
                await story(members, traffic)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                # A write that was cancelled may have been made: it counts as unknown.
                traffic.unknown |= {f"name/{n}" for n in range(next(traffic.names))} - traffic.acknowledged
                await traffic.check()
        finally:
            for task in (*tasks, watching):
                task.cancel()
            await asyncio.gather(*tasks, watching, return_exceptions=True)
            await store.close()
        return traffic

    with etcd_members(directory, 3, *SHORT_TIMES) as members:
        return asyncio.run(whole(members))


def test_the_loss_of_the_leader_is_not_noticed(tmp_path: Path) -> None:
    async def story(members: list[Member], traffic: Traffic) -> None:
        for _ in range(3):
            lost = await etcd_leader(members)
            lost.kill()
            await traffic.progress(20)
            lost.start()
            await asyncio.to_thread(lost.until_ready)

    traffic = under_traffic(tmp_path, story)
    assert traffic.refused == 0
    assert len(traffic.acknowledged) >= 80


def test_a_leader_that_stands_still_is_not_waited_for(tmp_path: Path) -> None:
    async def story(members: list[Member], traffic: Traffic) -> None:
        still = await etcd_leader(members)
        still.hold()
        await traffic.progress(20)
        still.release()
        await traffic.progress(20)

    assert under_traffic(tmp_path, story).refused == 0


def test_without_a_majority_nothing_is_written_and_nothing_is_lost(tmp_path: Path) -> None:
    async def story(members: list[Member], traffic: Traffic) -> None:
        for member in members[:2]:
            member.kill()
        await happens(lambda: traffic.refused + len(traffic.unknown) > 0)
        for member in members[:2]:
            member.start()
        await traffic.progress(20)

    under_traffic(tmp_path, story, patience_s=3)
