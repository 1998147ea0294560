"""One table of behaviours that every driver of the store has; see skerry.fleet.store.interface."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from fakes.clock import FakeClock, WallClock, settle
from fakes.stores import Driver, opened, seen
from skerry.fleet.store.errors import CompactedError, LeaseNotFoundError, StoreError
from skerry.fleet.store.interface import (
    Compare,
    Delete,
    DeletePrefix,
    Entry,
    Event,
    EventKind,
    Field,
    Get,
    Put,
    Relation,
    Store,
    absent,
    unchanged,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path

    from skerry.fleet.store.interface import Batch, Operation

    StoryClock = FakeClock | WallClock
    Story = Callable[[Store, StoryClock], Awaitable[object]]
    Play = Callable[[Story], object]


@pytest.fixture(params=list(Driver))
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Run a story on a fresh store; return what the story returns."""

    def run(story: Story, *, keep: int = 10_000) -> object:
        async def whole() -> object:
            clock = WallClock() if request.param is Driver.ETCD else FakeClock()
            async with opened(request.param, tmp_path, clock, keep=keep) as store:
                return await story(store, clock)

        return asyncio.run(whole())

    return run


async def put(store: Store, key: str, value: str = "", lease: int = 0) -> int:
    return (await store.transact((), [Put(key, value.encode(), lease)])).revision


def test_a_fresh_store_is_empty_and_stands_at_revision_0(play: Play) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        listing = await store.list("")
        return listing.revision, listing.entries, await store.get("a")

    assert play(story) == (0, (), None)


def test_an_entry_counts_its_changes(play: Play) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        await put(store, "a", "1")
        await put(store, "b", "1")
        await put(store, "a", "2")
        return await store.get("a")

    assert play(story) == Entry("a", b"2", create_revision=1, mod_revision=3, version=2)


def test_a_key_created_again_begins_anew(play: Play) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        await put(store, "a", "1")
        await store.transact((), [Delete("a")])
        await put(store, "a", "2")
        return await store.get("a")

    assert play(story) == Entry("a", b"2", create_revision=3, mod_revision=3, version=1)


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("", ["a", "a/", "a/b", "a/é", "aa", "a\uffff", "a\U0010ffff", "a\U0010ffffx", "b"]),
        ("a/", ["a/", "a/b", "a/é"]),
        ("a\uffff", ["a\uffff"]),
        ("a\U0010ffff", ["a\U0010ffff", "a\U0010ffffx"]),
        ("aa", ["aa"]),
        ("c", []),
    ],
)
def test_a_listing_holds_what_begins_with_the_prefix_sorted(
    play: Play, prefix: str, expected: list[str]
) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        for key in ("b", "a\U0010ffffx", "a/é", "a", "a\uffff", "aa", "a/b", "a\U0010ffff", "a/"):
            await put(store, key)
        return [entry.key for entry in (await store.list(prefix)).entries]

    assert play(story) == expected


def test_a_transaction_has_one_revision_and_reports_what_it_found(play: Play) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        await store.transact((), [Put("a", b"1"), Put("b", b"1"), Put("c/x", b"1"), Put("c/y", b"1")])
        result = await store.transact(
            (), [Get("a"), Put("a", b"2"), Get("a"), Delete("b"), Get("b"), DeletePrefix("c/"), Get("c/x")]
        )
        return result.revision, [[(e.key, e.value, e.mod_revision) for e in f] for f in result.found]

    assert play(story) == (
        2,
        [
            [("a", b"1", 1)],
            [("a", b"1", 1)],
            [("a", b"2", 2)],
            [("b", b"1", 1)],
            [],
            [("c/x", b"1", 1), ("c/y", b"1", 1)],
            [],
        ],
    )


@pytest.mark.parametrize("operation", [Get("a"), Delete("a"), DeletePrefix("a")])
def test_what_changes_nothing_has_no_revision(play: Play, operation: Operation) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        await put(store, "b")
        result = await store.transact((), [operation])
        return result.succeeded, result.revision, (await store.list("")).revision

    assert play(story) == (True, 1, 1)


COMPARES = [
    (Compare("a", Field.VALUE, Relation.EQUAL, b"5"), True),
    (Compare("a", Field.VALUE, Relation.EQUAL, b"6"), False),
    (Compare("a", Field.VALUE, Relation.NOT_EQUAL, b"6"), True),
    (Compare("a", Field.VALUE, Relation.LESS, b"50"), True),
    (Compare("a", Field.VALUE, Relation.GREATER, b"5"), False),
    (Compare("a", Field.VERSION, Relation.EQUAL, 2), True),
    (Compare("a", Field.VERSION, Relation.LESS, 2), False),
    (Compare("a", Field.CREATE_REVISION, Relation.EQUAL, 1), True),
    (Compare("a", Field.MOD_REVISION, Relation.GREATER, 1), True),
    (Compare("a", Field.MOD_REVISION, Relation.NOT_EQUAL, 2), False),
    (Compare("none", Field.VALUE, Relation.EQUAL, b""), True),
    (Compare("none", Field.VERSION, Relation.EQUAL, 0), True),
    (Compare("none", Field.MOD_REVISION, Relation.LESS, 1), True),
    (absent("none"), True),
    (absent("a"), False),
]


@pytest.mark.parametrize(("compare", "holds"), COMPARES)
def test_a_comparison_chooses_the_branch(play: Play, compare: Compare, holds: bool) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        await put(store, "a", "4")
        await put(store, "a", "5")
        result = await store.transact([compare], [Put("then", b"")], [Put("otherwise", b""), Get("a")])
        assert result.succeeded is holds
        return [entry.key for entry in (await store.list("")).entries if entry.key != "a"]

    assert play(story) == (["then"] if holds else ["otherwise"])


def test_every_comparison_must_hold(play: Play) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        await put(store, "a")
        return (await store.transact([absent("b"), absent("a")], [Put("b", b"")])).succeeded

    assert play(story) is False


def test_of_two_who_saw_the_same_one_wins(play: Play) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        await put(store, "a", "0")
        entry = await store.get("a")
        assert entry is not None
        writes = [store.transact([unchanged(entry)], [Put("a", str(n).encode())]) for n in range(20)]
        return sum(result.succeeded for result in await asyncio.gather(*writes))

    assert play(story) == 1


REFUSED: list[tuple[list[Compare], list[Operation]]] = [
    ([], []),
    ([], [Put("", b"")]),
    ([], [Get("")]),
    ([], [Put("a", b""), Put("a", b"")]),
    ([], [Put("a", b""), Delete("a")]),
    ([], [Put("a/b", b""), DeletePrefix("a/")]),
    ([], [DeletePrefix("a/"), DeletePrefix("a/b")]),
    ([], [DeletePrefix("a/"), DeletePrefix("a/")]),
    ([], [Put("\ud800", b"")]),
    ([Compare("a", Field.VALUE, Relation.EQUAL, 1)], [Get("a")]),
    ([Compare("a", Field.VERSION, Relation.EQUAL, b"1")], [Get("a")]),
    ([absent("")], [Get("a")]),
]


@pytest.mark.parametrize(("compares", "operations"), REFUSED)
def test_what_is_no_transaction_is_refused(
    play: Play, compares: list[Compare], operations: list[Operation]
) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        with pytest.raises(ValueError, match=r"."):
            await store.transact(compares, operations)
        return (await store.list("")).revision

    assert play(story) == 0


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
        await asyncio.gather(*(put(store, f"{n % 2}/{n}") for n in range(700)))
        watching = asyncio.create_task(seen(store, "", 0, until=750))
        for n in range(50):
            await put(store, f"x/{n}")
        all_seen = [batch.revision for batch in await watching]
        half = [batch.revision for batch in await seen(store, "1/", 100, until=699)]
        return all_seen == list(range(1, 751)), len(half)

    everything, half = play(story)  # type: ignore[misc]
    assert everything
    assert half == 300


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


def test_an_expired_lease_deletes_its_keys_in_one_revision(play: Play) -> None:
    async def story(store: Store, clock: StoryClock) -> object:
        lease = await store.grant(10)
        await put(store, "b", "x", lease.id)
        await put(store, "a", "y", lease.id)
        await put(store, "c", "z")
        watching = asyncio.create_task(seen(store, "", 3, until=4))
        early_s = 9.9 if isinstance(clock, FakeClock) else 5
        await clock.advance(early_s)
        assert (await store.list("")).revision == 3
        await clock.advance(10 - early_s)
        (batch,) = await watching
        with pytest.raises(LeaseNotFoundError):
            await store.keep_alive(lease.id)
        return [(e.kind.value, e.entry.key) for e in batch.events], batch.revision

    assert play(story) == ([("delete", "a"), ("delete", "b")], 4)


def test_a_lease_kept_alive_does_not_expire(play: Play) -> None:
    async def story(store: Store, clock: StoryClock) -> object:
        kept, lost = await store.grant(10), await store.grant(10)
        await put(store, "kept", "", kept.id)
        await put(store, "lost", "", lost.id)
        watching = asyncio.create_task(seen(store, "", 2, until=3))
        for _n in range(4):
            await clock.advance(6)
            assert await store.keep_alive(kept.id) == kept
        await watching
        left_s = await store.time_to_live_s(kept.id)
        assert left_s == 10 if isinstance(clock, FakeClock) else 0 <= left_s <= 10
        return [entry.key for entry in (await store.list("")).entries]

    assert play(story) == ["kept"]


def test_leases_end_in_the_order_of_their_time(play: Play) -> None:
    async def story(store: Store, clock: StoryClock) -> object:
        for name, ttl_s in (("late", 30), ("early", 10), ("middle", 20), ("none", 5)):
            lease = await store.grant(ttl_s)
            if name != "none":
                await put(store, name, "", lease.id)
        watching = asyncio.create_task(seen(store, "", 3, until=6))
        await clock.advance(30)
        return [batch.events[0].entry.key for batch in await watching]

    assert play(story) == ["early", "middle", "late"]


def test_revoking_deletes_the_keys_and_the_lease(play: Play) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        lease = await store.grant(10)
        await put(store, "a", "", lease.id)
        await put(store, "b", "", lease.id)
        await put(store, "b", "")
        await store.revoke(lease.id)
        for refused in (store.revoke(lease.id), store.keep_alive(lease.id), store.time_to_live_s(lease.id)):
            with pytest.raises(LeaseNotFoundError):
                await refused
        listing = await store.list("")
        return listing.revision, [entry.key for entry in listing.entries]

    assert play(story) == (4, ["b"])


def test_a_key_moves_from_lease_to_lease(play: Play) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        old, new = await store.grant(10), await store.grant(10)
        await put(store, "a", "", old.id)
        await put(store, "a", "", new.id)
        await store.revoke(old.id)
        entry = await store.get("a")
        assert entry is not None
        return entry.lease == new.id, entry.version

    assert play(story) == (True, 2)


@pytest.mark.parametrize("lease", [7, -1, 2**63, 2**70])
def test_a_put_under_an_unknown_lease_changes_nothing(play: Play, lease: int) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        with pytest.raises(LeaseNotFoundError):
            await store.transact((), [Put("a", b""), Put("b", b"", lease)])
        return (await store.list("")).revision

    assert play(story) == 0


@pytest.mark.parametrize("ttl_s", [0, -1, float("nan"), float("inf")])
def test_a_lease_lasts_some_time(play: Play, ttl_s: float) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        with pytest.raises(ValueError, match="a lease cannot last"):
            await store.grant(ttl_s)

    play(story)


def test_many_writers_at_once_lose_nothing(play: Play) -> None:
    async def writer(store: Store, name: int) -> list[int]:
        return [await put(store, f"{name}/{n}") for n in range(25)]

    async def story(store: Store, _: StoryClock) -> object:
        writers: list[Coroutine[object, object, list[int]]] = [writer(store, name) for name in range(20)]
        revisions = [revision for own in await asyncio.gather(*writers) for revision in own]
        listing = await store.list("")
        return sorted(revisions) == list(range(1, 501)), len(listing.entries), listing.revision

    assert play(story) == (True, 500, 500)


def test_who_gives_up_waiting_does_not_undo_or_harm(play: Play) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        task = asyncio.create_task(put(store, "a"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        await put(store, "b")
        return [entry.key for entry in (await store.list("b")).entries]

    assert play(story) == ["b"]


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
