"""Simulated agents, as cheap as can be, for they run beside the server: what fleet.agent.link does, no more.

Each has a certificate of its own, a TLS connection for its stream and one for its heartbeats; these begin
at once, come every five seconds, are tried again after about one, and are given up after 2.5 s. Nothing is
read of an answer but what is counted.
"""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import random
import time
from typing import TYPE_CHECKING

import msgspec

from skerry.fleet.agent.heart import RETRY_S
from skerry.fleet.agent.link import FIRST_PAUSE_S, HEARTBEAT_TIMEOUT_S, LONGEST_PAUSE_S, REQUEST_TIMEOUT_S
from skerry.fleet.presence.heartbeat import HEARTBEAT_S, Contact, Heartbeat
from skerry.fleet.state.node import Facts
from skerry.fleet.trust.certificates import Authority, make_request, new_key, read_request
from skerry.fleet.trust.contexts import client_context
from skerry.fleet.trust.identity import Identity, Role
from skerry.kit.wire import CONNECT_S

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

GREETING = 96
"""Handshakes under way here: real agents have a processor each, and need not wait for one another."""

asyncio.sslproto.SSLProtocol.max_size = 4 * 1024  # as skerryd has it (entry.daemon.tls)


class Counts:
    """What has become of all agents so far; events are set when the last one is there."""

    def __init__(self, agents: int) -> None:
        self.agents = agents
        self.full: set[str] = set()
        self.told: set[str] = set()
        self.beating: set[str] = set()
        self.late_beats = 0
        self.broken_streams = 0
        self.connections = 0
        self.changed = asyncio.Event()
        self.greeting = asyncio.Semaphore(GREETING)
        self.returning = asyncio.Semaphore(
            GREETING
        )  # they would not wait for those who come for the first time

    def add(self, names: set[str], node: str) -> None:
        names.add(node)
        if len(names) == self.agents:
            self.changed.set()

    async def all_in(self, names: set[str], within_s: float) -> None:
        async with asyncio.timeout(within_s):
            while len(names) < self.agents:
                self.changed.clear()
                await self.changed.wait()


class _Line(asyncio.Protocol):
    """One connection: an answer at a time, or a stream."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.gone = asyncio.get_running_loop().create_future()
        self.answer: asyncio.Future[tuple[int, bytes]] | None = None
        self.on_message: list[object] = []
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.gone.done():
            self.gone.set_result(None)
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(ConnectionError("it hung up"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end or self.answer is None or self.answer.done():
            return
        size = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
        if len(body) >= size:
            self._buffer = b""
            self.answer.set_result((int(head[9:12]), body))


class _Stream(_Line):
    def __init__(self, counts: Counts, node: str) -> None:
        super().__init__()
        self._counts = counts
        self._node = node

    def data_received(self, data: bytes) -> None:
        if b'"type":"full"' in data:
            if self.answer is not None and not self.answer.done():
                self.answer.set_result((200, b""))
            self._counts.add(self._counts.full, self._node)
        elif b'"type":"change"' in data:
            self._counts.add(self._counts.told, self._node)
        elif data.startswith(b"HTTP/1.1 ") and data[9:12] != b"200" and self.transport is not None:
            self.transport.abort()


class Agent:
    def __init__(self, node: str, port: int, tls: ssl.SSLContext, counts: Counts) -> None:
        self._node = node
        self._port = port
        self._tls = tls
        self._counts = counts
        self._facts = Facts(hostname=node[-6:], boot_id="1", cpus=4, memory_bytes=8 << 30)
        self._line: _Line | None = None

    async def listen(self) -> None:
        """Hold a stream; one that does not come about, or breaks, is tried again."""
        failures = 0
        while True:
            line = _Stream(self._counts, self._node)
            try:
                await self._connect(line)
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    self._send(line, "stream", Heartbeat("1", time.time(), self._facts))
                    await self._answer(line)
                failures = 0
                await line.gone
            except (OSError, TimeoutError):
                failures += 1
            finally:
                if line.transport is not None:
                    line.transport.abort()
            self._counts.broken_streams += 1
            longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**failures)
            await asyncio.sleep(longest * random.uniform(0.3, 1))  # noqa: S311

    async def beat(self) -> None:
        facts: Facts | None = self._facts
        while True:
            try:
                await self._ready()
                async with asyncio.timeout(HEARTBEAT_TIMEOUT_S):
                    status, body = await self._ask("heartbeat", Heartbeat("1", time.time(), facts))
            except (OSError, TimeoutError):
                status, body = 0, b""
                if self._line is not None and self._line.transport is not None:
                    self._line.transport.abort()
                self._line = None
            if status != 200:
                self._counts.late_beats += 1
                await asyncio.sleep(RETRY_S * (1 - 0.3 * random.random()))  # noqa: S311
                continue
            contact = msgspec.json.decode(body, type=Contact)
            facts = self._facts if contact.tell else None
            if contact.ttl_s:
                self._counts.add(self._counts.beating, self._node)
                await asyncio.sleep(HEARTBEAT_S * (1 - 0.1 * random.random()))  # noqa: S311

    async def _ask(self, what: str, beat: Heartbeat) -> tuple[int, bytes]:
        assert self._line is not None
        self._send(self._line, what, beat)
        return await self._answer(self._line)

    async def _ready(self) -> None:
        if self._line is None or self._line.gone.done():
            self._line = _Line()
            await self._connect(self._line)

    async def _connect(self, line: _Line) -> None:
        loop = asyncio.get_running_loop()
        self._counts.connections += 1
        turn = self._counts.returning if self._node in self._counts.beating else self._counts.greeting
        async with turn, asyncio.timeout(min(CONNECT_S, HEARTBEAT_TIMEOUT_S)):
            await loop.create_connection(lambda: line, "127.0.0.1", self._port, ssl=self._tls)

    def _send(self, line: _Line, what: str, beat: Heartbeat) -> None:
        body = msgspec.json.encode(beat)
        line.answer = asyncio.get_running_loop().create_future()
        head = (
            f"POST /v1/agents/{self._node}/{what} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        assert line.transport is not None
        line.transport.write(head.encode() + body)

    async def _answer(self, line: _Line) -> tuple[int, bytes]:
        assert line.answer is not None
        return await line.answer


def contexts(authority: Authority, folder: Path, count: int) -> dict[str, ssl.SSLContext]:
    """A TLS context with a certificate of its own for each of so many nodes; they share one key."""
    key, now = new_key(), time.time()
    made: dict[str, ssl.SSLContext] = {}
    path = folder / "agent.pem"
    for number in range(1, count + 1):
        identity = Identity(f"{number:032x}", Role.AGENT)
        certificate = authority.issue(read_request(make_request(key, identity)), identity, now)
        path.write_text(key + certificate)
        made[identity.node] = client_context(authority.pem, credential=path)
    return made
