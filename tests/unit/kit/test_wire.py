"""The client for event loops against a server that says exactly what the test wants."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from skerry.kit.http import HttpError
from skerry.kit.wire import Wire, WireError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

HANG_UP = b""


class Server:
    """For each request the next of `answers`; an empty one hangs up, None says nothing."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.asked: list[bytes] = []
        self.connections = 0
        self._open: list[asyncio.StreamWriter] = []

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[Wire]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        wire = Wire(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        try:
            yield wire
        finally:
            wire.close()
            server.close()
            for writer in self._open:
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
                self.asked.append(head + await reader.readexactly(size))
                answer = self.answers.pop(0)
                if answer is not None:
                    writer.write(answer)
                    await writer.drain()
                if answer is not None and not whole(answer):
                    break
        writer.close()


def whole(answer: bytes) -> bool:
    return answer.endswith(b"0\r\n\r\n") or b"Content-Length" in answer


def plain(body: bytes, head: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


def chunked(*chunks: bytes) -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


def play(server: Server, story: Callable[[Wire], Awaitable[object]]) -> object:
    async def run() -> object:
        async with server.served() as wire, asyncio.timeout(20):
            return await story(wire)

    return asyncio.run(run())


def test_requests_share_a_connection() -> None:
    server = Server(plain(b"one"), plain(b"two", b"404 Not Found"))

    async def story(wire: Wire) -> object:
        first = await wire.request("POST", "/a", b"{}", headers={"X-One": "1"}, timeout_s=9)
        second = await wire.request("GET", "/b", timeout_s=9)
        return first.body, second.status, server.connections

    assert play(server, story) == (b"one", 404, 1)
    assert server.asked[0].startswith(b"POST /a HTTP/1.1\r\nHost: 127.0.0.1:")
    assert server.asked[0].endswith(b"X-One: 1\r\nContent-Length: 2\r\n\r\n{}")


def test_requests_at_once_have_connections_of_their_own() -> None:
    server = Server(*[plain(b"x")] * 5)

    async def story(wire: Wire) -> object:
        answers = await asyncio.gather(*(wire.request("GET", "/", timeout_s=9) for _ in range(5)))
        return [answer.body for answer in answers], server.connections

    assert play(server, story) == ([b"x"] * 5, 5)


@pytest.mark.parametrize(
    "answer",
    [
        chunked(b"a", b"b", b"c"),
        plain(b"abc"),
        b"HTTP/1.1 100 Continue\r\n\r\n" + plain(b"abc"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nTrailer: x\r\n\r\n",
    ],
)
def test_a_body_however_it_is_framed(answer: bytes) -> None:
    async def story(wire: Wire) -> object:
        return (await wire.request("GET", "/", timeout_s=9)).body

    assert play(Server(answer), story) == b"abc"


def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    closing = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"
    server = Server(closing, plain(b"y"))

    async def story(wire: Wire) -> object:
        await wire.request("GET", "/", timeout_s=9)
        return (await wire.request("GET", "/", timeout_s=9)).body, server.connections

    assert play(server, story) == (b"y", 2)


def test_lines_come_as_they_come() -> None:
    async def story(wire: Wire) -> object:
        async with wire.stream("POST", "/", b"{}", timeout_s=9) as stream:
            return stream.status, [line async for line in stream.lines()]

    answer = chunked(b"one\ntw", b"o", b"\n\nthree\n", b"rest")
    assert play(Server(answer), story) == (200, [b"one", b"two", b"", b"three", b"rest"])


@pytest.mark.parametrize(
    "answer",
    [
        HANG_UP,
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
    ],
)
def test_an_answer_cut_short_was_perhaps_acted_upon(answer: bytes) -> None:
    async def story(wire: Wire) -> object:
        with pytest.raises(WireError) as refused:
            await wire.request("POST", "/", b"{}", timeout_s=9)
        return refused.value.sent

    assert play(Server(answer), story) is True


def test_a_body_cut_short_is_told() -> None:
    async def story(wire: Wire) -> object:
        async with wire.stream("GET", "/", timeout_s=9) as stream:
            lines = stream.lines()
            first = await anext(lines)
            with pytest.raises(WireError, match="cut short: it hung up"):
                await anext(lines)
            return first

    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n9\r\ntw"
    assert play(Server(answer), story) == b"one"


def test_a_server_that_says_nothing_is_given_up() -> None:
    async def story(wire: Wire) -> object:
        with pytest.raises(WireError, match=r"did not answer within 0\.05 s") as refused:
            await wire.request("POST", "/", timeout_s=0.05)
        with pytest.raises(WireError, match="did not answer"):
            async with wire.stream("POST", "/", timeout_s=0.05):
                pass
        return refused.value.sent

    assert play(Server(None, None), story) is True


def test_where_nobody_listens_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    async def story() -> object:
        with pytest.raises(WireError, match="cannot reach http://127") as refused:
            await Wire(f"http://127.0.0.1:{port}").request("POST", "/", timeout_s=9)
        return refused.value.sent

    assert asyncio.run(story()) is False


@pytest.mark.parametrize("url", ["ftp://a", "10.0.0.1:2379", "http://"])
def test_what_is_no_server_is_refused(url: str) -> None:
    with pytest.raises(HttpError, match="is not the URL of a server"):
        Wire(url)
