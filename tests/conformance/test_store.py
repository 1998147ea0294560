"""What every driver of the store does with entries and transactions; see skerry.fleet.store.interface."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fakes.stores import put
from skerry.fleet.store.interface import (
    Compare,
    Delete,
    DeletePrefix,
    Entry,
    Field,
    Get,
    Put,
    Relation,
    Store,
    absent,
    unchanged,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from fakes.stores import Play, StoryClock
    from skerry.fleet.store.interface import Operation


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
