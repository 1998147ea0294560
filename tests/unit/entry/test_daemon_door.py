"""The door to the API's port: how many are greeted at once, and who is not waited for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from asyncio.sslproto import SSLProtocol
from typing import TYPE_CHECKING

from fakes.tls import AGENT, SERVER, credential, member
from skerry.entry.daemon.door import MOST, MOST_LATE, MOST_WARY, Door
from skerry.entry.daemon.server import make_server
from skerry.entry.daemon.tls import BUFFER_BYTES
from skerry.fleet.trust.certificates import Authority
from skerry.fleet.trust.contexts import client_context, server_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

LONGEST_S = 60


class Guest(asyncio.Protocol):
    """What the door leads to: says a word to each who comes in."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"!")


class House:
    """A door on loopback, a client's context for it, and how many were greeted."""

    def __init__(self, directory: Path) -> None:
        authority, now = Authority.create("test", time.time()), time.time()
        server = member(directory / "server", authority, credential(authority, SERVER, now))
        agent = member(directory / "agent", authority, credential(authority, AGENT, now))
        self.server = server_context(server)
        self.client = client_context(authority.pem, credential=agent.node)
        self.port = 0
        self.greeted = 0
        self._one_more = asyncio.Event()

    @contextlib.asynccontextmanager
    async def open(self, handshake_s: float = LONGEST_S, late_s: float = LONGEST_S) -> AsyncIterator[None]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
            door = Door(
                listener, self.server, self._greet, handshake_s=handshake_s, late_s=late_s, calm_s=LONGEST_S
            )
            try:
                async with asyncio.timeout(LONGEST_S):
                    yield
            finally:
                door.close()
                await door.wait_closed()

    async def has_greeted(self, count: int) -> None:
        while self.greeted < count:
            self._one_more.clear()
            await self._one_more.wait()

    async def visit(self) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.client)
        said = await reader.readexactly(1)
        writer.transport.abort()
        return said

    async def strangers(self, count: int) -> list[socket.socket]:
        """Connections of those who say nothing."""
        loop, made = asyncio.get_running_loop(), []
        for _ in range(count):
            one = socket.socket()
            one.setblocking(False)
            await loop.sock_connect(one, ("127.0.0.1", self.port))
            made.append(one)
        return made

    def _greet(self) -> Guest:
        self.greeted += 1
        self._one_more.set()
        return Guest()


def test_everybody_comes_in_though_not_all_are_greeted_at_once(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def scenario() -> list[bytes]:
        async with house.open():
            return await asyncio.gather(*(house.visit() for _ in range(2 * MOST)))

    assert asyncio.run(scenario()) == [b"!"] * (2 * MOST)


def test_of_those_who_wait_one_is_greeted_for_each_that_is_gone(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def scenario() -> tuple[int, int]:
        async with house.open():
            strangers = await house.strangers(MOST + 5)
            await house.has_greeted(MOST)
            for _ in range(100):
                await asyncio.sleep(0)
            before = house.greeted
            strangers.pop(0).close()
            await house.has_greeted(MOST + 1)
            for one in strangers:
                one.close()
            return before, house.greeted

    assert asyncio.run(scenario()) == (MOST, MOST + 1)


def test_who_has_given_up_is_not_greeted(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def scenario() -> tuple[bytes, int]:
        async with house.open():
            strangers = await house.strangers(MOST)
            await house.has_greeted(MOST)
            for one in await house.strangers(20):
                one.close()
            visit = asyncio.create_task(house.visit())
            for one in strangers:
                one.close()
            return await visit, house.greeted

    assert asyncio.run(scenario()) == (b"!", MOST + 1)


def test_silent_strangers_keep_nobody_out(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def scenario() -> bytes:
        async with house.open(handshake_s=2):
            strangers = await house.strangers(MOST)
            try:
                return await house.visit()
            finally:
                for one in strangers:
                    one.close()

    assert asyncio.run(scenario()) == b"!"


def test_who_let_handshakes_lapse_has_few_at_a_time(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def scenario() -> tuple[int, bytes]:
        async with house.open(handshake_s=2):
            strangers = await house.strangers(1)
            loop = asyncio.get_running_loop()
            assert await _end(loop, strangers[0]) == b""  # it has lapsed
            strangers += await house.strangers(MOST_WARY)
            await house.has_greeted(1 + MOST_WARY)
            strangers += await house.strangers(MOST)
            closed = [await _end(loop, one) for one in strangers[1 + MOST_WARY :]]
            try:
                assert closed == [b""] * MOST
                greeted = house.greeted
                for one in strangers:
                    one.close()
                while True:  # until it is seen that those have gone
                    with contextlib.suppress(ConnectionError):
                        return greeted, await house.visit()
            finally:
                for one in strangers:
                    one.close()

    assert asyncio.run(scenario()) == (1 + MOST_WARY, b"!")


def test_while_we_are_late_fewer_are_greeted(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def scenario() -> list[int]:
        async with house.open(late_s=0):
            (first,) = await house.strangers(1)
            await house.has_greeted(1)  # and that was late, as everything is
            strangers = [first, *await house.strangers(MOST_LATE + 5)]
            await house.has_greeted(MOST_LATE)
            for _ in range(100):
                await asyncio.sleep(0)
            seen = [house.greeted]
            strangers.pop(0).close()
            await house.has_greeted(MOST_LATE + 1)
            for one in strangers:
                one.close()
            return [*seen, house.greeted]

    assert asyncio.run(scenario()) == [MOST_LATE, MOST_LATE + 1]


def test_nobody_is_blamed_for_what_lapsed_while_we_were_late(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def scenario() -> int:
        async with house.open(handshake_s=2, late_s=0):
            strangers = await house.strangers(1)
            assert await _end(asyncio.get_running_loop(), strangers[0]) == b""  # it has lapsed
            strangers += await house.strangers(MOST_WARY + 1)
            await house.has_greeted(1 + MOST_WARY + 1)
            for one in strangers:
                one.close()
            return house.greeted

    assert asyncio.run(scenario()) == 1 + MOST_WARY + 1


def test_a_closed_door_keeps_no_connection(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def scenario() -> list[bytes]:
        loop = asyncio.get_running_loop()
        async with house.open():
            strangers = await house.strangers(2)
            await house.has_greeted(2)
            strangers += await house.strangers(1)  # taken in, perhaps, and not greeted yet
        async with asyncio.timeout(LONGEST_S):
            try:
                return [await _end(loop, one) for one in strangers]
            finally:
                for one in strangers:
                    one.close()

    assert asyncio.run(scenario()) == [b""] * 3


def test_a_connection_has_a_small_buffer(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def nobody(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("nobody asks")

    make_server(nobody, house.server).config.load()
    assert SSLProtocol.max_size == BUFFER_BYTES


async def _end(loop: asyncio.AbstractEventLoop, one: socket.socket) -> bytes:
    try:
        return await loop.sock_recv(one, 1)
    except ConnectionResetError:
        return b""
