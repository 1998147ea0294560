"""The key space over a store in memory, where the comparison with etcd does not reach: time, races, gaps."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from fakes.clock import FakeClock, settle
from skerry.fleet.keys.change import Change, Kind
from skerry.fleet.keys.errors import Code, KeysError
from skerry.fleet.keys.keyspace import Keyspace
from skerry.fleet.keys.nodes import Shown, above, cleaned, is_hidden, path_of, store_key
from skerry.fleet.store.interface import Put
from skerry.fleet.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from skerry.fleet.keys.nodes import Event


class World:
    """A key space with its store and its clock."""

    def __init__(self, *, keep: int = 1000) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock, keep=keep)
        self.keys = Keyspace(self.store, self.clock)

    async def set(self, path: str, value: str = "", ttl_s: int | None = None) -> Event:
        return await self.keys.change(Change(Kind.SET, path, value, ttl_s=ttl_s))

    async def make_directory(self, path: str, ttl_s: int | None = None) -> Event:
        return await self.keys.change(Change(Kind.SET, path, directory=True, ttl_s=ttl_s))

    async def update_directory(self, path: str, ttl_s: int | None) -> Event:
        return await self.keys.change(Change(Kind.UPDATE, path, directory=True, ttl_s=ttl_s))

    async def paths(self) -> list[str]:
        def inside(shown: Shown) -> list[str]:
            return [shown.node.path, *(path for child in shown.below for path in inside(child))]

        return inside((await self.keys.get("/", recursive=True)).shown)[1:]


def play(story: Callable[[World], Awaitable[object]], *, keep: int = 1000) -> object:
    async def whole() -> object:
        world = World(keep=keep)
        try:
            return await story(world)
        finally:
            await world.store.close()

    return asyncio.run(whole())


async def seen(world: World, path: str, since: int | None, count: int) -> list[tuple[str, str]]:
    watch = await world.keys.watch(path, recursive=True, since=since)
    events = []
    async with contextlib.aclosing(watch.events) as following:
        async for event in following:
            events.append((event.action.value, event.shown.node.path))
            if len(events) == count:
                break
    return events


@pytest.mark.parametrize(
    ("asked", "kept"),
    [("", "/"), ("/", "/"), ("a", "/a"), ("//a//b/", "/a/b"), ("/a/./b/../c", "/a/c"), ("/../..", "/")],
)
def test_a_path_is_cleaned(asked: str, kept: str) -> None:
    assert cleaned(asked) == kept
    assert path_of(store_key(kept)) == kept


def test_the_directories_above_a_path() -> None:
    assert (above("/"), above("/a"), above("/a/b/c")) == ([], [], ["/a", "/a/b"])


@pytest.mark.parametrize(
    ("path", "seen_from", "hidden"),
    [
        ("/_a", "/", True),
        ("/a/_b", "/", True),
        ("/a/_b/c", "/a", True),
        ("/a/_b/c", "/a/_b", False),
        ("/a/_b", "/a/_b", False),
        ("/a_b", "/", False),
    ],
)
def test_what_begins_with_an_underscore_is_hidden_from_above(path: str, seen_from: str, hidden: bool) -> None:
    assert is_hidden(path, seen_from=seen_from) is hidden


def test_a_key_expires_at_its_time() -> None:
    async def story(world: World) -> object:
        await world.set("/a", "1", ttl_s=10)
        await world.set("/b", "1")
        await world.clock.advance(9.5)
        before = await world.paths()
        await world.clock.advance(0.5)
        return before, await world.paths(), await seen(world, "/", 1, 3)

    expected = [("set", "/a"), ("set", "/b"), ("expire", "/a")]
    assert play(story) == (["/a", "/b"], ["/b"], expected)


def test_a_directory_expires_whole_and_is_told_once() -> None:
    async def story(world: World) -> object:
        await world.make_directory("/d", ttl_s=10)
        await world.set("/d/a/b", "1")
        await world.set("/d/c", "1")
        await world.clock.advance(10)
        await world.set("/after", "1")
        return await world.paths(), await seen(world, "/", 4, 2)

    assert play(story) == (["/after"], [("expire", "/d"), ("set", "/after")])


def test_a_key_ends_before_the_directory_it_lies_in() -> None:
    async def story(world: World) -> object:
        await world.make_directory("/d", ttl_s=10)
        await world.set("/d/own", "1", ttl_s=60)
        await world.clock.advance(10)
        return await world.paths(), await seen(world, "/", 3, 2)

    assert play(story) == ([], [("expire", "/d/own"), ("expire", "/d")])


def test_more_time_for_a_directory_is_more_time_for_what_is_in_it() -> None:
    async def story(world: World) -> object:
        await world.make_directory("/d", ttl_s=10)
        made = await world.set("/d/a/b", "1")
        await world.clock.advance(5)
        await world.update_directory("/d", ttl_s=10)
        await world.clock.advance(9)
        inside = (await world.keys.get("/d/a/b")).shown.node
        kept = (inside.created, inside.modified) == (made.index, made.index)
        await world.clock.advance(1)
        return kept, await world.paths()

    assert play(story) == (True, [])


def test_a_directory_without_time_any_more_stays_with_all_that_is_in_it() -> None:
    async def story(world: World) -> object:
        await world.make_directory("/d", ttl_s=10)
        await world.set("/d/a", "1")
        await world.update_directory("/d", None)
        await world.clock.advance(100)
        return await world.paths()

    assert play(story) == ["/d", "/d/a"]


def test_a_key_set_anew_without_time_stays() -> None:
    async def story(world: World) -> object:
        await world.set("/a", "1", ttl_s=10)
        await world.set("/a", "2")
        await world.clock.advance(100)
        return await world.paths(), world.clock.sleeping

    assert play(story) == (["/a"], 0)


def test_a_refresh_prolongs_and_is_not_told() -> None:
    async def story(world: World) -> object:
        await world.set("/a", "1", ttl_s=10)
        for _ in range(3):
            await world.clock.advance(8)
            await world.keys.change(Change(Kind.UPDATE, "/a", ttl_s=10, refresh=True))
        value = (await world.keys.get("/a")).shown.node.value
        await world.clock.advance(10)
        return value, await seen(world, "/", 1, 2)

    assert play(story) == ("1", [("set", "/a"), ("expire", "/a")])


def test_a_change_that_is_refused_leaves_no_lease() -> None:
    async def story(world: World) -> object:
        await world.make_directory("/d")
        with pytest.raises(KeysError, match="102: Not a file"):
            await world.set("/d", "1", ttl_s=10)
        return world.clock.sleeping

    assert play(story) == 0


def test_of_many_who_create_one_succeeds() -> None:
    async def story(world: World) -> object:
        change = Change(Kind.CREATE, "/deep/in/lock", "mine", ttl_s=5)
        tries = await asyncio.gather(*(world.keys.change(change) for _ in range(30)), return_exceptions=True)
        refused = [t.code for t in tries if isinstance(t, KeysError)]
        return len(tries) - len(refused), set(refused)

    assert play(story) == (1, {Code.KEY_EXISTS})


def test_names_in_order_are_given_in_order_and_never_twice() -> None:
    async def story(world: World) -> object:
        change = Change(Kind.CREATE, "/q", "x", in_order=True)
        made = await asyncio.gather(*(world.keys.change(change) for _ in range(30)))
        await world.store.transact((), [Put("elsewhere", b"")])
        made.append(await world.keys.change(change))
        by_index = [event.shown.node.path for event in sorted(made, key=lambda event: event.index)]
        return by_index == sorted(set(by_index)), len(by_index)

    assert play(story) == (True, 31)


def test_counting_by_compare_and_swap_loses_nothing() -> None:
    async def count(world: World) -> None:
        while True:
            node = (await world.keys.get("/n")).shown.node
            change = Change(Kind.SWAP, "/n", str(int(node.value or "0") + 1), previous_index=node.modified)
            with contextlib.suppress(KeysError):
                await world.keys.change(change)
                return

    async def story(world: World) -> object:
        await world.set("/n", "0")
        await asyncio.gather(*(count(world) for _ in range(20)))
        return (await world.keys.get("/n")).shown.node.value

    assert play(story) == "20"


def test_a_directory_that_fills_while_it_is_removed_is_kept() -> None:
    async def story(world: World) -> object:
        await world.make_directory("/d")
        removal = Change(Kind.DELETE, "/d", directory=True)
        answers = await asyncio.gather(
            *(world.set(f"/d/{n}", "1") for n in range(5)),
            world.keys.change(removal),
            return_exceptions=True,
        )
        refused = isinstance(answers[-1], KeysError)
        return refused or "/d" in await world.paths(), await world.paths()

    consistent, paths = play(story)  # type: ignore[misc]
    assert consistent
    assert paths == ["/d", *(f"/d/{n}" for n in range(5))]


def test_other_changes_of_the_store_are_no_events_here() -> None:
    async def story(world: World) -> object:
        watching = asyncio.create_task(seen(world, "/", None, 1))
        await settle()
        await world.store.transact((), [Put("/skerry/v1/units/a.service", b"{}")])
        await world.set("/a", "1")
        return await watching, (await world.keys.get("/a")).shown.node.created

    assert play(story) == ([("set", "/a")], 2)


def test_a_history_that_is_gone_is_said_so() -> None:
    async def story(world: World) -> object:
        for n in range(50):
            await world.set("/a", str(n))
        with pytest.raises(KeysError, match=r"401: The event in requested index is outdated") as refused:
            await world.keys.watch("/a", since=2)
        kept = await seen(world, "/a", 45, 1)
        return refused.value.cause.startswith("the requested history has been cleared ["), kept

    assert play(story, keep=10) == (True, [("set", "/a")])
