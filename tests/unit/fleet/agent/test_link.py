"""An agent's link to real servers over loopback: what it is told, what it says, and servers that go."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from fakes.assign import Listener, destroy, displace, place, want
from fakes.cluster import ClusterServer, servers
from skerry.fleet.agent.link import NoServerError, RemoteSource
from skerry.fleet.presence.heartbeat import Heartbeat
from skerry.fleet.state.node import Facts, Liveness, PresenceRecord, presence_key
from skerry.fleet.state.placement import PlacementRecord
from skerry.fleet.state.unit import DesiredState, UnitReport, report_key
from skerry.fleet.store.interface import Put
from skerry.fleet.store.memory import MemoryStore
from skerry.kit.clock import SystemClock
from skerry.kit.errors import SkerryError
from skerry.kit.http import ApiError, HttpError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from skerry.fleet.presence.heartbeat import Answers, Heard

LAUNCHED = DesiredState.LAUNCHED
DEADLINE_S = 30


def hello(boot: str = "1") -> Heartbeat:
    return Heartbeat(boot, 0, Facts(boot_id=boot))


@asynccontextmanager
async def linked(those: Sequence[ClusterServer], node: str, boot: str = "1") -> AsyncIterator[RemoteSource]:
    link = RemoteSource([s.url for s in those], None, node, SystemClock(), lambda: hello(boot))
    try:
        yield link
    finally:
        link.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def listening(link: RemoteSource) -> AsyncIterator[Listener]:
    listener = Listener()

    async def listen() -> None:
        async with aclosing(link.messages()) as messages:
            async for message in messages:
                listener.hear(message)

    task = asyncio.ensure_future(listen())
    try:
        yield listener
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  real sockets wake nobody here
            await asyncio.sleep(0.01)


def report(name: str, node: str = "a") -> UnitReport:
    return UnitReport(name, node, "h", LAUNCHED, name, "loaded", "active", "running")


async def reported(store: MemoryStore, node: str = "a") -> set[str]:
    prefix = report_key(node, "")
    return {entry.key.removeprefix(prefix) for entry in (await store.list(prefix)).entries}


def test_assignments_come_and_reports_go() -> None:
    async def scenario() -> None:
        store = MemoryStore(clock=SystemClock())
        await want(store, "old.service")
        await place(store, "old.service", "a")
        async with servers(store, 1) as those, linked(those, "a") as link, listening(link) as heard:
            await until(lambda: "old.service" in heard.holds)
            await want(store, "web.service")
            await place(store, "web.service", "a")
            await until(lambda: "web.service" in heard.holds)
            await displace(store, "old.service", "a")
            await until(lambda: "old.service" not in heard.holds)
            assert await link.report([report("web.service"), report("x.service")], ()) == frozenset()
            assert await reported(store) == {"web.service", "x.service"}
            await link.report([report("web.service")], (), whole=True)
            assert await reported(store) == {"web.service"}
            await link.report([], ["web.service"])
            assert await reported(store) == set()

    asyncio.run(scenario())


def test_a_heartbeat_through_any_server_reaches_the_leader_and_goodbye_too() -> None:
    async def scenario() -> None:
        store = MemoryStore(clock=SystemClock())
        async with servers(store, 2) as (_, follower):
            async with linked([follower], "a") as link:
                contact = await link.heartbeat(hello())
                entry = await store.get(presence_key("a"))
                assert entry is not None
                assert (contact.ttl_s, contact.revision) == (15, entry.mod_revision)
                await link.goodbye()
            entry = await store.get(presence_key("a"))
            assert entry is not None
            assert PresenceRecord.decode(entry.value).liveness is Liveness.LEFT

    asyncio.run(scenario())


def test_where_a_server_dies_the_next_is_taken_and_tells_everything() -> None:
    async def scenario() -> None:
        store = MemoryStore(clock=SystemClock())
        await want(store, "web.service")
        await place(store, "web.service", "a")
        async with (
            servers(store, 2, lease_s=0.5) as those,
            linked(those, "a") as link,
            listening(link) as heard,
        ):
            await until(lambda: "web.service" in heard.holds)
            dying = next(s for s in those if s.url == link.server)
            await dying.kill()
            await destroy(store, "web.service")
            await until(lambda: not heard.holds)
            await until(lambda: all(s.leading.leader is not None for s in those if s is not dying))
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    try:
                        contact = await link.heartbeat(hello())
                        break
                    except SkerryError:
                        await asyncio.sleep(0.1)
            assert contact.ttl_s == 15
            assert link.server != dying.url

    asyncio.run(scenario())


def test_heartbeats_move_the_stream_away_from_a_server_that_hangs() -> None:
    async def scenario() -> None:
        store = MemoryStore(clock=SystemClock())
        async with servers(store, 2) as those, linked(those, "a") as link, listening(link) as heard:
            await until(lambda: len(heard.told) == 1)
            other = next(s for s in those if s.url != link.server)
            link._move_to(next(w for w in link._wires if w.url == other.url))
            await until(lambda: len(heard.told) == 2)
            await until(lambda: other.feed.following == 1)

    asyncio.run(scenario())


def test_a_server_that_only_waits_for_a_leader_is_not_left_at_once() -> None:
    async def scenario() -> None:
        store = MemoryStore(clock=SystemClock())
        async with servers(store, 2) as (leader, other), linked([leader, other], "a") as link:
            link._move_to(next(w for w in link._wires if w.url == other.url))
            other.forward.close()

            async def nowhere(url: str, heard: Heard) -> Answers:
                raise HttpError(f"{url} cannot be reached")

            other.presence._forward = nowhere
            for expected in (other.url, other.url, leader.url, leader.url):
                assert (await link.heartbeat(hello())).ttl_s == 15
                assert link.server == expected

    asyncio.run(scenario())


def test_a_server_without_its_store_gives_no_stream() -> None:
    async def scenario() -> None:
        store = MemoryStore(clock=SystemClock())
        async with servers(store, 1) as (server,), linked([server], "a") as link:
            server.feed._ready.clear()
            async with listening(link) as heard:
                await asyncio.sleep(0.3)
                assert heard.told == []
                server.feed._ready.set()
                await until(lambda: len(heard.told) == 1)

    asyncio.run(scenario())


def test_without_servers_it_says_so_and_goes_on() -> None:
    async def scenario() -> None:
        link = RemoteSource(["http://127.0.0.1:1"], None, "a", SystemClock(), hello)
        with pytest.raises(SkerryError, match="cannot reach"):
            await link.heartbeat(hello())
        with pytest.raises(SkerryError):
            await link.goodbye()
        assert issubclass(NoServerError, SkerryError)

    asyncio.run(scenario())


def test_a_copy_of_a_machine_is_told_nothing() -> None:
    async def scenario() -> None:
        store = MemoryStore(clock=SystemClock())
        async with (
            servers(store, 1) as those,
            linked(those, "a") as link,
            linked(those, "a", boot="2") as copy,
        ):
            await link.heartbeat(hello())
            async with listening(copy) as heard:
                await until(lambda: copy.refused != "")
                assert heard.told == []
            with pytest.raises(ApiError) as caught:
                await copy.heartbeat(hello("2"))
            assert caught.value.status == 409

    asyncio.run(scenario())


def test_a_claim_of_a_fenced_unit_is_taken_only_while_it_is_placed_there() -> None:
    async def scenario() -> None:
        store = MemoryStore(clock=SystemClock())
        await want(store, "db.service", "[Service]\nExecStart=/bin/true\n[X-Skerry]\nFence=yes\n")
        async with servers(store, 1) as those:
            refused = frozenset({"db.service"})
            async with linked(those, "a") as link, listening(link) as heard:
                await until(lambda: bool(heard.told))
                assert await link.report([report("db.service")], ()) == refused
                await place(store, "db.service", "a")
                await until(lambda: "db.service" in heard.holds)
                assert await link.report([report("db.service"), report("web.service")], ()) == frozenset()
                leaving = PlacementRecord("db.service", "a", leaving=True)
                await store.transact([], [Put(leaving.key, leaving.encode())])
                assert await link.report([report("db.service")], ()) == frozenset()  # it has one
                await link.report([], ["db.service"])
                assert await link.report([report("db.service")], ()) == refused
        assert await reported(store) == {"web.service"}

    asyncio.run(scenario())
