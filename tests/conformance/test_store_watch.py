"""What every driver of the store shows a watcher, and how much history it keeps."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from fakes.clock import settle
from fakes.stores import put, seen
from skerry.fleet.store.errors import CompactedError, StoreError
from skerry.fleet.store.interface import (
    Delete,
    DeletePrefix,
    Entry,
    Event,
    EventKind,
    Put,
    Store,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from fakes.stores import Play, StoryClock
    from skerry.fleet.store.interface import Batch


def test_a_watch_replays_and_then_follows(play: Play) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        await put(store, "a/1", "x")
        await put(store, "b", "x")
        await store.transact((), [Put("a/1", b"y"), Put("c", b""), Put("a/2", b"z")])
        watching = asyncio.create_task(seen(store, "a/", 0, until=6))
        await settle()
        await put(store, "b", "y")
        await store.transact((), [Put("d", b""), Put("a/3", b"")])
        await store.transact((), [DeletePrefix("a/")])
        return [
            (batch.revision, [(e.kind.value, e.entry.key, e.entry.value) for e in batch.events])
            for batch in await watching
        ]

    assert play(story) == [
        (1, [("put", "a/1", b"x")]),
        (3, [("put", "a/1", b"y"), ("put", "a/2", b"z")]),
        (5, [("put", "a/3", b"")]),
        (6, [("delete", "a/1", b""), ("delete", "a/2", b""), ("delete", "a/3", b"")]),
    ]


def test_an_event_tells_what_stood_before(play: Play) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        lease = await store.grant(60)
        await put(store, "a", "1", lease.id)
        await put(store, "a", "2")
        await store.transact((), [Delete("a")])
        return [batch.events for batch in await seen(store, "", 0, until=3)]

    first = Entry("a", b"1", 1, 1, 1, 1)
    second = Entry("a", b"2", 1, 2, 2)
    assert play(story) == [
        (Event(EventKind.PUT, first),),
        (Event(EventKind.PUT, second, first),),
        (Event(EventKind.DELETE, Entry("a", b"", 0, 3, 0), second),),
    ]


def test_a_watch_may_begin_in_the_future(play: Play) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        watching = asyncio.create_task(seen(store, "", 2, until=4))
        await settle()
        for _n in range(4):
            await put(store, "a")
        return [batch.revision for batch in await watching]

    assert play(story) == [3, 4]


def test_a_long_history_is_replayed_without_a_gap(play: Play) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        revisions = await asyncio.gather(*(put(store, f"{n % 2}/{n}") for n in range(700)))
        watching = asyncio.create_task(seen(store, "", 0, until=750))
        for n in range(50):
            await put(store, f"x/{n}")
        all_seen = [batch.revision for batch in await watching]
        odd = sorted(revision for revision in revisions[1::2] if revision > 100)  # written in any order
        half_seen = [batch.revision for batch in await seen(store, "1/", 100, until=odd[-1])]
        return all_seen == list(range(1, 751)), half_seen == odd

    assert play(story) == (True, True)


def test_a_watch_from_before_the_history_says_so(play: Play) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        for _n in range(5):
            await put(store, "a")
        await store.compact(3)
        await store.compact(2)
        with pytest.raises(CompactedError, match="revision 3 is compacted; the oldest kept is 4") as refused:
            await seen(store, "", 2, until=5)
        kept = [batch.revision for batch in await seen(store, "", 3, until=5)]
        return refused.value.compacted_revision, kept, (await store.list("a")).entries[0].version

    assert play(story) == (3, [4, 5], 5)


def test_a_watcher_that_falls_behind_the_history_is_told(play: Play) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        await put(store, "a")
        async with contextlib.aclosing(store.watch("a", 0)) as slow:
            first = await anext(slow)
            for _n in range(3):
                await put(store, "a")
            await store.compact(3)
            with pytest.raises(CompactedError):
                await anext(slow)
            return first.revision

    assert play(story) == 1


def test_a_watcher_that_waits_is_not_overtaken_by_compaction(play: Play) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        watching = asyncio.create_task(seen(store, "a", 0, until=3))
        await settle()
        await put(store, "b")
        await put(store, "b")
        await store.compact(2)
        await put(store, "a")
        return [batch.revision for batch in await watching]

    assert play(story) == [3]


def test_the_future_cannot_be_compacted(play: Play) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        with pytest.raises(ValueError, match="revision 1 is yet to come; the newest is 0"):
            await store.compact(1)

    play(story)


def test_history_is_bounded_by_itself(play: Callable[..., object]) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        for n in range(45):
            await put(store, "a", str(n))
        with pytest.raises(CompactedError) as refused:
            await seen(store, "", 0, until=45)
        kept = await seen(store, "", refused.value.compacted_revision, until=45)
        return len(kept)

    kept = play(story, keep=10)
    assert isinstance(kept, int)
    assert 10 <= kept < 20


def test_closing_ends_the_watches(play: Play) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        await put(store, "a")
        watchers = [asyncio.create_task(seen(store, "", after, until=99)) for after in (0, 1, 50)]
        await settle()
        await asyncio.to_thread(lambda: None)
        await store.close()
        await store.close()
        counts = [len(batches) for batches in await asyncio.gather(*watchers)]
        with pytest.raises(StoreError, match="the store is closed"):
            await store.get("a")
        with pytest.raises(StoreError, match="the store is closed"):
            await put(store, "a")
        return counts

    counts = play(story)
    assert isinstance(counts, list)
    assert counts[1:] == [0, 0]


def test_a_batch_is_what_a_listing_shows(play: Play) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        for n in range(30):
            await store.transact((), [Put(f"{n % 4}", str(n).encode()), Delete(f"{(n + 1) % 4}")])
        batches: list[Batch] = await seen(store, "", 0, until=30)
        replayed: dict[str, Entry] = {}
        for event in (event for batch in batches for event in batch.events):
            if event.kind is EventKind.PUT:
                replayed[event.entry.key] = event.entry
            else:
                del replayed[event.entry.key]
        return tuple(sorted(replayed.values(), key=lambda e: e.key)) == (await store.list("")).entries

    assert play(story) is True
