"""Heartbeats by the short way: what is taken for one, and that it is answered as by the long way."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec
import pytest
from starlette.applications import Starlette

from fakes.asgi import Reply, ask
from fakes.clock import FakeClock
from skerry.entry.rest.agents import Agents
from skerry.entry.rest.auth import CONNECTION, Connection, Guard
from skerry.entry.rest.codec import on_error
from skerry.entry.rest.pulse import Pulse
from skerry.fleet.access.known import Known
from skerry.fleet.access.records import REVOKED_PREFIX, RevokedRecord
from skerry.fleet.assign.feed import Feed
from skerry.fleet.assign.reports import Reports
from skerry.fleet.presence.heartbeat import Heard, Heartbeat
from skerry.fleet.presence.leader import Leadership, NotLeadingError
from skerry.fleet.presence.registry import Registry
from skerry.fleet.state.node import Facts
from skerry.fleet.store.interface import Put
from skerry.fleet.store.memory import MemoryStore
from skerry.fleet.trust.identity import Identity, Peer, Role
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from skerry.fleet.presence.heartbeat import Answers

NODE, OTHER = "a" * 32, "b" * 32
BEAT = msgspec.json.encode(Heartbeat("1", 1000.0, Facts(boot_id="1")))
PATH = f"/v1/agents/{NODE}/heartbeat"
DEADLINE_S = 30


def connection(node: str = NODE, *, role: Role = Role.AGENT, expires: float = 1e12) -> Connection:
    return Connection(peer=Peer(Identity(node, role), "1f", expires))


def request(
    body: bytes = BEAT, *, start: str = f"POST {PATH} HTTP/1.1", more: str = "", said: int | None = None
) -> bytes:
    length = len(body) if said is None else said
    head = f"{start}\r\nHost: 10.0.0.1:7443\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
    return f"{head}{more}\r\n".encode() + body


class World:
    """One server behind its guard; who leads is up to the test."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock)
        self.leading = Leadership(self.store, "s", "", self.clock)
        self.presence = Registry(self.store, self.leading, self.clock, nowhere)
        feed = Feed(self.store, self.clock)
        self.agents = Agents(feed, Reports(self.store), self.presence)
        self.known = Known(self.store, self.clock)
        handlers = {SkerryError: on_error, Exception: on_error}
        app = Starlette(routes=self.agents.routes(), exception_handlers=handlers)
        self.guard = Guard(app, self.clock, self.known, None)
        self.pulse = Pulse(self.guard, self.agents)

    @contextlib.asynccontextmanager
    async def running(self, *, leads: bool = True) -> AsyncIterator[World]:
        works = [self.known.run(), *((self.leading.run(), self.presence.run()) if leads else ())]
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            async with asyncio.timeout(DEADLINE_S):
                await self.known.ready()
                while leads and not await self._acts():  # noqa: ASYNC110  it tells nobody
                    await asyncio.sleep(0)
                yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _acts(self) -> bool:
        try:
            await self.presence.passed_on(Heard({}))
        except NotLeadingError:
            return False
        return True

    async def short(self, data: bytes, made: Connection) -> bytes | None:
        work = self.pulse.take(made, data, [(b"date", b"today")])
        return None if work is None else await work

    async def long(self, body: bytes, made: Connection) -> Reply:
        async def connected(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("state", {})[CONNECTION] = made
            await self.guard(scope, receive, send)

        return await ask(connected, "POST", PATH, body, {"content-type": "application/json"})


async def nowhere(url: str, heard: Heard) -> Answers:
    raise SkerryError(f"{url} is not here")


def read(answer: bytes | None) -> tuple[int, dict[str, str], bytes]:
    assert answer is not None
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body


def test_it_is_answered_as_by_the_long_way() -> None:
    async def scenario() -> tuple[tuple[int, dict[str, str], bytes], Reply]:
        async with World().running() as world:
            short = await world.short(request(), connection())
            return read(short), await world.long(BEAT, connection())

    (status, headers, body), long = asyncio.run(scenario())
    assert (status, body) == (long.status, long.body) == (200, body)
    assert headers.pop("date") == "today"
    assert headers == dict(long.headers)


def test_the_listener_is_told_that_the_node_is_let_in() -> None:
    told: list[str] = []

    async def scenario() -> None:
        async with World().running() as world:
            made = connection()
            heeded = Connection(peer=made.peer, let_in=lambda: told.append("in"))
            await world.short(request(b"[]"), heeded)
            assert not told
            await world.short(request(), heeded)

    asyncio.run(scenario())
    assert told == ["in"]


@pytest.mark.parametrize("leads", [True, False])
def test_a_refusal_is_the_same_by_both_ways(leads: bool) -> None:
    async def scenario() -> tuple[tuple[int, dict[str, str], bytes], Reply]:
        async with World().running(leads=leads) as world:
            if leads:  # another machine of the same id, which lives
                await world.presence.heard(NODE, Heartbeat("another", 0, Facts(boot_id="another")))
            long = asyncio.create_task(world.long(BEAT, connection()))
            short = asyncio.create_task(world.short(request(), connection()))
            while not (long.done() and short.done()):
                await world.clock.advance(0.1)
            return read(await short), await long

    (status, _, body), long = asyncio.run(scenario())
    assert (status, body) == (long.status, long.body)
    assert status == (409 if leads else 503)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        request()[:40],
        request()[:-1],
        request() + b"x",
        request() + request(),
        request(said=len(BEAT) - 1),
        request(more="Transfer-Encoding: chunked\r\n"),
        request(more=f"Content-Length: {len(BEAT)}\r\n"),
        request(more="Expect: 100-continue\r\n"),
        request(more="Connection: close\r\n"),
        request(start=f"GET {PATH} HTTP/1.1"),
        request(start=f"POST {PATH} HTTP/1.0"),
        request(start=f"POST {PATH}?x=1 HTTP/1.1"),
        request(start=f"POST /v1/agents/{NODE}/goodbye HTTP/1.1"),
        request(start=f"POST /v1/agents/{OTHER}/heartbeat HTTP/1.1"),
        request(start=f"POST /v1/agents/{NODE[:-1]}%61/heartbeat HTTP/1.1"),
        request(b""),
        request(b"[]"),
        request(b'{"boot": 1}'),
        request(b'{"boot": "\xff", "now": 1}'),
    ],
)
def test_whatever_else_is_asked_goes_the_long_way(data: bytes) -> None:
    async def scenario() -> bytes | None:
        async with World().running() as world:
            return await world.short(data, connection())

    assert asyncio.run(scenario()) is None


@pytest.mark.parametrize(
    "made",
    [
        Connection(),
        Connection(is_local=True),
        Connection(problem="the subject is not a node's"),
        connection(OTHER),
        connection(OTHER, role=Role.SERVER),
        connection(expires=1.0),
    ],
)
def test_whoever_is_not_that_node_goes_the_long_way(made: Connection) -> None:
    async def scenario() -> bytes | None:
        async with World().running() as world:
            return await world.short(request(), made)

    assert asyncio.run(scenario()) is None


def test_a_removed_node_goes_the_long_way() -> None:
    async def scenario() -> bytes | None:
        async with World().running() as world:
            removed = RevokedRecord(NODE, 0.0)
            key = REVOKED_PREFIX + NODE
            result = await world.store.transact([], [Put(key, msgspec.json.encode(removed))])
            await world.known.saw_revoked(result.revision)
            return await world.short(request(), connection())

    assert asyncio.run(scenario()) is None
