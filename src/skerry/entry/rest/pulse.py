"""Heartbeats by a short way: of thousands of agents they are nearly all that a server at rest is asked.

What is, to the byte, what kit.wire sends for a heartbeat, from the node that the path names and that is
known, is answered here as the API would. All else, and what is in doubt, goes the long way, to be refused
there.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from skerry.entry.rest.codec import JSON, classify
from skerry.entry.rest.views import ErrorBody
from skerry.fleet.presence.heartbeat import Heartbeat
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from skerry.entry.rest.agents import Agents
    from skerry.entry.rest.auth import Connection, Guard

_REQUEST = re.compile(
    rb"POST /v1/agents/([0-9a-f]{32})/heartbeat HTTP/1\.1\r\nHost: [!-~]+\r\n"
    rb"Content-Type: application/json\r\nContent-Length: ([0-9]{1,5})\r\n\r\n"
)
_DECODER = msgspec.json.Decoder(Heartbeat)


class Pulse:
    """Knows heartbeats by sight, and has them answered; `guard` stands before the API of `agents`."""

    def __init__(self, guard: Guard, agents: Agents) -> None:
        self._guard = guard
        self._agents = agents
        self.taken = 0

    def take(
        self, connection: Connection, data: bytes, headers: Iterable[tuple[bytes, bytes]]
    ) -> Awaitable[bytes] | None:
        """What becomes the whole answer, `headers` in it, where `data` is such a request and nothing else."""
        found = _REQUEST.match(data)
        if found is None or len(data) - found.end() != int(found[2]):
            return None
        node = found[1].decode()
        if not self._guard.is_node(connection, node):
            return None
        try:
            beat = _DECODER.decode(data[found.end() :])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        connection.let_in()
        self.taken += 1
        return self._answer(node, beat, headers)

    async def _answer(self, node: str, beat: Heartbeat, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        status = HTTPStatus.OK
        try:
            body = msgspec.json.encode(await self._agents.beat(node, beat))
        except SkerryError as error:
            code, view = classify(error)
            status, body = HTTPStatus(code), msgspec.json.encode(ErrorBody(view))
        more = b"".join(b"%b: %b\r\n" % header for header in headers)
        head = f"HTTP/1.1 {status} {status.phrase}\r\ncontent-length: {len(body)}\r\ncontent-type: {JSON}\r\n"
        return head.encode() + more + b"\r\n" + body
