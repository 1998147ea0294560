"""The API's listener for other machines: HTTPS on a port, certificates of clients welcome but not demanded.

    Unix socket ─ Protocol       ─→ state["connection"] = Connection(is_local=True)
    TCP, TLS    ─ SecureProtocol ─→ state["connection"] = Connection(peer=…), verified by OpenSSL

A connection without TLS that is not the Unix socket's is nobody's. One listener each for both of them, with
one application behind. From other machines a request has to arrive in time; how long it is answered is free.
"""

from __future__ import annotations

import socket
import time
from asyncio.sslproto import SSLProtocol
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from skerry.entry.daemon.places import Places, Stage
from skerry.entry.rest.auth import CONNECTION, Connection
from skerry.fleet.trust.errors import CertificateError
from skerry.fleet.trust.identity import read_peer
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp
    from uvicorn.server import ServerState

    from skerry.entry.daemon.places import Place
    from skerry.entry.rest.pulse import Pulse

PORT = 7443
BUFFER_BYTES = 4 * 1024
"""Of each connection, to read into. asyncio's is 256 KiB: too much for thousands that say little."""

KEEP_ALIVE_S = 75
"""Longer than agents are silent on a connection that they mean to use again."""


_IDLE = {h11.CLIENT: h11.IDLE, h11.SERVER: h11.IDLE}


@dataclass(frozen=True, slots=True)
class Limits:
    """How long others may take: for a request's head from its first byte on, for each part of its body."""

    head_s: float = 20.0
    body_s: float = 30.0


class PortError(SkerryError):
    """The API's port cannot be opened."""


class Protocol(H11Protocol):
    """uvicorn's, that tells the application about the connection, and heartbeats from what is for that."""

    _pulse: Pulse | None = None
    _beating = False
    _leaving = False
    _later = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._connection = look(transport)
        self._pulse = self.config.pulse if isinstance(self.config, TlsConfig) else None
        self.app_state = {**self.app_state, CONNECTION: self._connection}

    def data_received(self, data: bytes) -> None:
        if self._beating:  # it asks again before it was answered
            self._later += data
            self.flow.pause_reading()
            return
        if self._pulse is not None and self._is_between_requests:
            headers = self.server_state.default_headers
            work = self._pulse.take(self._connection, data, headers)
            if work is not None:
                self._unset_keepalive_if_required()
                self._beating = True
                task = self.loop.create_task(self._beat(work))
                task.add_done_callback(self.tasks.discard)
                self.tasks.add(task)
                return
        super().data_received(data)

    def shutdown(self) -> None:
        if self._beating:
            self._leaving = True
        else:
            super().shutdown()

    @property
    def _is_between_requests(self) -> bool:
        return self.conn.states == _IDLE and not self.conn.trailing_data[0]

    async def _beat(self, work: Awaitable[bytes]) -> None:
        try:
            answer = await work
        except Exception:
            self.transport.close()
            raise
        finally:
            self._beating = False
        if self.transport.is_closing():
            return
        self.transport.write(answer)
        self.on_response_complete()
        if self._leaving:
            super().shutdown()
        elif self._later:
            later, self._later = self._later, b""
            self.data_received(later)


class SecureProtocol(Protocol):
    """For other machines: its place is counted, and its time."""

    def __init__(self, config: TlsConfig, server_state: ServerState, app_state: dict[str, Any]) -> None:
        super().__init__(config, server_state, app_state)
        self._places = config.places
        self._limits = config.limits
        self._place: Place | None = None
        self._overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._place = place = self._places.place(self.client[0] if self.client else "")
        self._connection = connection = look(transport, lambda: place.move(Stage.KNOWN))
        self.app_state = {**self.app_state, CONNECTION: connection}
        if not place.move(Stage.STRANGER if connection.peer is None else Stage.SHOWN):
            transport.abort()
            return
        # uvicorn counts from the first answer on; a stranger who asks nothing would be kept for ever.
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            self._expect(self._limits.body_s)
        elif state is h11.IDLE and self.conn.trailing_data[0]:
            if self._overdue is None:
                self._expect(self._limits.head_s)
        else:
            self._expect(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(None)
        if self._place is not None:
            self._place.leave()
        super().connection_lost(exc)

    def _expect(self, more_s: float | None) -> None:
        """The rest of a request within so long; None: it is whole."""
        if self._overdue is not None:
            self._overdue.cancel()
        self._overdue = None if more_s is None else self.loop.call_later(more_s, self._too_slow)

    def _too_slow(self) -> None:
        if self.flow.read_paused:  # it is we who are slow
            self._expect(self._limits.body_s)
        else:
            self._overdue = None
            self.transport.abort()


class TlsConfig(uvicorn.Config):
    """uvicorn's settings with a context that is given: it makes its own from files, with other rules."""

    def __init__(
        self, app: ASGIApp, context: ssl.SSLContext | None, pulse: Pulse | None, **settings: Any
    ) -> None:
        super().__init__(app, http=Protocol, **settings)
        self._context = context
        self.limits = Limits()
        self.places = Places(time.monotonic)
        self.pulse = pulse

    def load(self) -> None:
        super().load()
        self.ssl = self._context
        if self._context is not None:
            SSLProtocol.max_size = BUFFER_BYTES


def look(transport: asyncio.BaseTransport, let_in: Callable[[], object] = lambda: None) -> Connection:
    """What is known of a connection; `let_in` is called when somebody known has asked something over it."""
    secure = transport.get_extra_info("ssl_object")
    if secure is None:
        listening = transport.get_extra_info("socket")
        return Connection(is_local=listening is not None and listening.family == socket.AF_UNIX)
    shown = secure.getpeercert()
    if not shown:
        return Connection(let_in=let_in)
    try:
        return Connection(peer=read_peer(shown), let_in=let_in)
    except CertificateError as error:
        return Connection(problem=error.message)


def listen_tcp(address: str = "0.0.0.0", port: int = PORT) -> socket.socket:  # noqa: S104  for other machines
    """A listening socket. Raises PortError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise PortError(f"cannot listen on {address} port {port}: {error.strerror}") from error
    return listener
