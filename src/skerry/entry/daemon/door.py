"""Takes connections in, and greets a bounded number of them at a time: the rest wait at the door.

    kernel: BACKLOG wait ─→ at most MOST handshakes under way ─→ uvicorn's protocol

A handshake is a millisecond of work. Thousands of agents that come together, as after a restart, would hold
up the event loop for seconds, and with it all that lives already: heartbeats, and the renewal of the leader's
lease. They would give up before they are answered, and come again. Here each is answered in its time or,
where too many wait, not noticed by the kernel, which costs nothing; it knocks again after a second.

Of an address that let a handshake lapse a few are greeted at a time for a while, and the others closed:
strangers who say nothing could keep everybody else waiting. Where it was we who were late nobody is blamed:
agents that come together may all be behind one address.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import TYPE_CHECKING

from skerry.entry.daemon.places import network_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

MOST = 64
BACKLOG = 512
"""So many are greeted in less time than an agent waits for it (2.5 s)."""

HANDSHAKE_S = 5.0
OUT_OF_FILES_S = 1.0
WARY_S = 60.0
MOST_WARY = 4
LATE_S = 0.1
"""For one turn of the event loop: it has more to do than it can, or too little of a processor."""

MOST_LATE = 8
CALM_S = 1.0
"""While we are late, and for this long after, fewer are greeted: who is in comes first."""

ESTABLISHED = b"\x01"
"""TCP_ESTABLISHED, the first byte of struct tcp_info, tcp(7)."""


class Door:
    """One listening socket; stands in for asyncio.Server where uvicorn closes it."""

    def __init__(
        self,
        listener: socket.socket,
        context: ssl.SSLContext,
        make_protocol: Callable[[], asyncio.Protocol],
        *,
        handshake_s: float = HANDSHAKE_S,
        late_s: float = LATE_S,
        calm_s: float = CALM_S,
    ) -> None:
        self._listener = listener
        self._handshake_s = handshake_s
        self._late_s = late_s
        self._calm_s = calm_s
        self._late_at = float("-inf")  # when we were late for the last time
        self._context = context
        self._make_protocol = make_protocol
        self._loop = asyncio.get_running_loop()
        self._greeted: set[asyncio.Task[None]] = set()
        self._wary: dict[str, float] = {}  # of which addresses, and until when
        self._watched = Counter[str]()  # their handshakes since
        self._next: set[socket.socket] = set()  # whose task has not begun
        self._is_closed = False
        self._listens = False
        listener.setblocking(False)
        listener.listen(BACKLOG)
        self._listen()

    def close(self) -> None:
        """Take nobody in from now on."""
        self._is_closed = True
        self._pause()
        for task in self._greeted:
            task.cancel()
        for connection in self._next:
            connection.close()

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._greeted, return_exceptions=True)

    def _listen(self) -> None:
        if not self._listens and not self._is_closed:
            self._listens = True
            self._loop.add_reader(self._listener, self._take)

    def _pause(self) -> None:
        self._listens = False
        self._loop.remove_reader(self._listener)

    def _take(self) -> None:
        most = MOST_LATE if self._loop.time() < self._late_at + self._calm_s else MOST
        while len(self._greeted) < most:
            try:
                connection, (address, *_) = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no more files, say: others have to go first
                self._pause()
                self._loop.call_later(OUT_OF_FILES_S, self._listen)
                return
            network = network_of(address)
            is_watched = self._wary.get(network, 0.0) > self._loop.time()
            if not _is_there(connection) or (is_watched and self._watched[network] >= MOST_WARY):
                connection.close()
                continue
            self._next.add(connection)
            self._watched[network] += is_watched
            taken = self._loop.time()
            task = self._loop.create_task(self._greet(connection, network, taken, is_watched=is_watched))
            self._greeted.add(task)
            task.add_done_callback(self._done)
        self._pause()

    async def _greet(
        self, connection: socket.socket, network: str, taken: float, *, is_watched: bool
    ) -> None:
        self._next.discard(connection)
        connection.setblocking(False)
        began = self._loop.time()
        if began - taken >= self._late_s:
            self._late_at = began
        try:
            await self._loop.connect_accepted_socket(
                self._make_protocol, connection, ssl=self._context, ssl_handshake_timeout=self._handshake_s
            )
        except OSError:  # it is nobody, or gone; ssl.SSLError is one
            now = self._loop.time()
            if now - began >= self._handshake_s / 2 and self._late_at < began:
                self._wary = {known: until for known, until in self._wary.items() if until > now}
                self._wary[network] = now + WARY_S
        finally:
            self._watched[network] -= is_watched
            if not self._watched[network]:
                del self._watched[network]

    def _done(self, task: asyncio.Task[None]) -> None:
        self._greeted.discard(task)
        self._listen()


def _is_there(connection: socket.socket) -> bool:
    """Whether the other end has not given up while it waited: a handshake for nobody costs as much."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == ESTABLISHED
