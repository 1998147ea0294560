"""HTTP/1.1 for event loops: connections that are kept, over TLS or plain, answers whole or line by line.

For what runs long and speaks to other machines: a node to the servers, a server to etcd. It follows no
redirect, asks for no compression, and tells of every failure whether the request may have been acted upon:
`sent` is False only where not one byte of it went out.

Messages: https://www.rfc-editor.org/rfc/rfc9112 (status line 4, header fields 5, chunked 7.1).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from skerry.kit.http import Answer, HttpError

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

MAX_HEAD_BYTES = 64 * 1024
PIECE_BYTES = 64 * 1024
CONNECT_S = 3.0
KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 11_000}
"""A machine that lost its power says nothing: after this long a connection to it is given up."""


class WireError(HttpError):
    """No answer, or none that can be read. `sent` tells whether the server may have acted on the request."""

    def __init__(self, message: str, *, sent: bool, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.sent = sent


@dataclass(slots=True, eq=False)
class _Line:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def is_fresh(self) -> bool:
        """Whether the server has not hung up as far as we know."""
        return not (self.reader.at_eof() or self.writer.is_closing())

    def drop(self) -> None:
        self.writer.transport.abort()


class Stream:
    """An answer whose head has been read; its body is read once."""

    def __init__(self, status: int, headers: Mapping[str, str], line: _Line, url: str) -> None:
        self.status = status
        self.headers = headers
        self.is_whole = False
        self._line = line
        self._url = url

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives, without its framing, in pieces of PIECE_BYTES at most.

        Raises WireError where it is cut short.
        """
        reader = self._line.reader
        try:
            if self.headers.get("transfer-encoding", "").lower() == "chunked":
                while size := int((await reader.readuntil(b"\n")).partition(b";")[0], 16):
                    async for piece in _pieces(reader, size):
                        yield piece
                    await reader.readexactly(2)
                while (await reader.readuntil(b"\n")).strip():
                    pass  # trailers
            else:
                async for piece in _pieces(reader, int(self.headers.get("content-length", "0"))):
                    yield piece
        except (OSError, ValueError, EOFError, asyncio.LimitOverrunError) as error:
            raise WireError(f"the answer of {self._url} was cut short: {_why(error)}", sent=True) from error
        self.is_whole = True

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """The lines of the body as they come, without their ends; what follows the last end is one, too."""
        rest: list[bytes] = []
        async with contextlib.aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                *whole, last = chunk.split(b"\n")
                for line in whole:
                    yield b"".join((*rest, line))
                    rest = []
                if last:
                    rest.append(last)
        if rest:
            yield b"".join(rest)

    async def body(self) -> bytes:
        """All of the body."""
        pieces = [chunk async for chunk in self.chunks()]
        return b"".join(pieces)


class Wire:
    """One server, `http://HOST:PORT` or `https://HOST:PORT`, and the connections to it that are kept.

    `tls` gives the context for each new connection, so that a renewed certificate is used from then on.
    Used from one event loop, by any number of tasks.
    """

    def __init__(
        self, url: str, tls: Callable[[], ssl.SSLContext] | None = None, *, idle_limit: int = 32
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or parts.hostname is None:
            raise HttpError(f"{url} is not the URL of a server", hint="https://ADDRESS:PORT is one")
        if parts.scheme == "https" and tls is None:
            raise ValueError(f"{url} without a TLS context")
        self.url = url.rstrip("/")
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._authority = parts.netloc
        self._tls = tls if parts.scheme == "https" else None
        self._idle: list[_Line] = []
        self._idle_limit = idle_limit
        self._closed = False

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float,
    ) -> Answer:
        """Send one request and read the whole answer, whatever its status. Raises WireError."""
        line, usable = None, False
        try:
            async with asyncio.timeout(timeout_s):
                line = await self._take()
                stream = await self._send(line, method, path, body, headers)
                answer = Answer(stream.status, stream.headers, await stream.body())
            usable = not _closes(stream)
        except TimeoutError as error:
            raise self._silent(timeout_s, sent=line is not None) from error
        finally:
            if line is not None:
                self._give_back(line, usable=usable)
        return answer

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float,
    ) -> AsyncIterator[Stream]:
        """An answer to be read as it comes; `timeout_s` bounds the wait for its head only. Raises WireError.

        The connection is closed at the end of the block.
        """
        line = None
        try:
            try:
                async with asyncio.timeout(timeout_s):
                    line = await self._take()
                    stream = await self._send(line, method, path, body, headers)
            except TimeoutError as error:
                raise self._silent(timeout_s, sent=line is not None) from error
            yield stream
        finally:
            if line is not None:
                line.drop()

    def close(self) -> None:
        """Close what is kept; connections in use are closed when their answers end."""
        self._closed = True
        while self._idle:
            self._idle.pop().drop()

    def forget(self) -> None:
        """Close what is kept: the next request is sent over a new connection."""
        while self._idle:
            self._idle.pop().drop()

    async def _take(self) -> _Line:
        while self._idle:
            line = self._idle.pop()
            if line.is_fresh:
                return line
            line.drop()
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await asyncio.open_connection(
                    self._host,
                    self._port,
                    ssl=None if self._tls is None else self._tls(),
                    limit=MAX_HEAD_BYTES,
                )
        except TimeoutError as error:
            raise WireError(f"{self.url} does not answer", sent=False) from error
        except OSError as error:
            raise WireError(f"cannot reach {self.url}: {_why(error)}", sent=False) from error
        _keep_alive(writer.get_extra_info("socket"))
        return _Line(reader, writer)

    async def _send(
        self, line: _Line, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None
    ) -> Stream:
        head = [f"{method} {path} HTTP/1.1", f"Host: {self._authority}"]
        head += [f"{name}: {text}" for name, text in (headers or {}).items()]
        if body is not None or method in {"POST", "PUT", "PATCH"}:
            head.append(f"Content-Length: {len(body or b'')}")
        try:
            line.writer.write("\r\n".join([*head, "", ""]).encode() + (body or b""))
            await line.writer.drain()
            status, fields = await _head(line.reader)
            while 100 <= status < 200:
                status, fields = await _head(line.reader)
        except (OSError, ValueError, EOFError, asyncio.LimitOverrunError) as error:
            raise WireError(f"the connection to {self.url} broke: {_why(error)}", sent=True) from error
        return Stream(status, fields, line, self.url)

    def _give_back(self, line: _Line, *, usable: bool) -> None:
        if usable and line.is_fresh and not self._closed and len(self._idle) < self._idle_limit:
            self._idle.append(line)
        else:
            line.drop()

    def _silent(self, timeout_s: float, *, sent: bool) -> WireError:
        return WireError(f"{self.url} did not answer within {timeout_s:g} s", sent=sent)


async def _pieces(reader: asyncio.StreamReader, left: int) -> AsyncGenerator[bytes, None]:
    while left > 0:
        piece = await reader.read(min(left, PIECE_BYTES))
        if not piece:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(piece)
        yield piece


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    version, _, rest = lines[0].partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
        raise ValueError("it does not speak HTTP/1.1")
    fields = {}
    for field in lines[1:-2]:
        name, _, text = field.partition(":")
        fields[name.strip().lower()] = text.strip()
    return int(rest[:3]), fields


def _closes(stream: Stream) -> bool:
    return not stream.is_whole or stream.headers.get("connection", "").lower() == "close"


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if (option := getattr(socket, name, None)) is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _why(error: BaseException) -> str:
    if isinstance(error, EOFError):
        return "it hung up"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
