"""The protocol of the API's port, where heartbeats and all else come over one connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from starlette.responses import Response

from skerry.entry.daemon.server import make_server, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterable

    from starlette.types import Receive, Scope, Send

    from skerry.entry.daemon.server import Server
    from skerry.entry.rest.auth import Connection

LONG = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
DEADLINE_S = 30


class Beats:
    """Takes BEAT for a heartbeat, and answers SHORT when it is told to."""

    def __init__(self) -> None:
        self.taken = asyncio.Semaphore(0)
        self.answer = asyncio.Event()

    def take(
        self, connection: Connection, data: bytes, headers: Iterable[tuple[bytes, bytes]]
    ) -> Awaitable[bytes] | None:
        if data != b"BEAT":
            return None
        self.taken.release()
        return self._answer()

    async def _answer(self) -> bytes:
        await self.answer.wait()
        return b"SHORT"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await Response("LONG")(scope, receive, send)


@contextlib.asynccontextmanager
async def connected(beats: Beats) -> AsyncIterator[tuple[Server, asyncio.StreamReader, asyncio.StreamWriter]]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = make_server(app, None, beats)  # type: ignore[arg-type]
    serving = asyncio.create_task(serve(server, [listener]))
    try:
        async with asyncio.timeout(DEADLINE_S):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            yield server, reader, writer
            writer.transport.abort()
    finally:
        server.should_exit = True
        await serving


def test_what_is_asked_after_a_heartbeat_is_answered_after_it() -> None:
    async def scenario() -> tuple[bytes, bytes]:
        beats = Beats()
        async with connected(beats) as (_, reader, writer):
            writer.write(b"BEAT")
            await beats.taken.acquire()
            writer.write(LONG)
            await writer.drain()
            for _ in range(20):
                await asyncio.sleep(0)
            beats.answer.set()
            return await reader.readexactly(5), await reader.readuntil(b"LONG")

    first, then = asyncio.run(scenario())
    assert first == b"SHORT"
    assert then.startswith(b"HTTP/1.1 200 OK\r\n")


def test_heartbeats_and_requests_take_turns_on_one_connection() -> None:
    async def scenario() -> list[bytes]:
        beats, got = Beats(), []
        beats.answer.set()
        async with connected(beats) as (_, reader, writer):
            for said, end in [(b"BEAT", b"SHORT"), (LONG, b"LONG"), (b"BEAT", b"SHORT"), (LONG, b"LONG")]:
                writer.write(said)
                got.append((await reader.readuntil(end))[:5])
        return got

    assert asyncio.run(scenario()) == [b"SHORT", b"HTTP/", b"SHORT", b"HTTP/"]


def test_what_looks_like_a_heartbeat_inside_of_a_request_is_none() -> None:
    async def scenario() -> bytes:
        beats = Beats()
        async with connected(beats) as (_, reader, writer):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n1234")
            await writer.drain()
            head = await reader.readuntil(b"LONG")  # the application did not wait for the rest
            writer.write(b"BEAT")
            writer.write(LONG)
            assert beats.taken.locked()
            return head + await reader.readuntil(b"LONG")

    assert asyncio.run(scenario()).count(b"HTTP/1.1 200") == 2


def test_a_heartbeat_is_answered_though_the_server_ends() -> None:
    async def scenario() -> bytes:
        beats = Beats()
        async with connected(beats) as (server, reader, writer):
            writer.write(b"BEAT")
            await beats.taken.acquire()
            server.should_exit = True
            while server.servers[0].is_serving():  # noqa: ASYNC110  uvicorn tells nobody
                await asyncio.sleep(0.01)
            beats.answer.set()
            return await reader.read()

    assert asyncio.run(scenario()) == b"SHORT"
