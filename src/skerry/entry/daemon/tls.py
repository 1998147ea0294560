"""The API's listener for other machines: HTTPS on a port, certificates of clients welcome but not demanded.

    Unix socket ─ Protocol ─→ state["connection"] = Connection(is_local=True)
    TCP, TLS    ─ Protocol ─→ state["connection"] = Connection(peer=…), whose certificate OpenSSL has verified

A connection without TLS that is not the Unix socket's is nobody's. One listener each for both of them, with
one application behind.
"""

from __future__ import annotations

import socket
from asyncio.sslproto import SSLProtocol
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from skerry.entry.rest.auth import CONNECTION, Connection
from skerry.fleet.trust.errors import CertificateError
from skerry.fleet.trust.identity import read_peer
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    import asyncio
    import ssl

    from starlette.types import ASGIApp

PORT = 7443
RECORD_BYTES = 16 * 1024
"""The longest record of TLS. asyncio has a buffer of 256 KiB for each connection: too much for thousands."""

KEEP_ALIVE_S = 75
"""Longer than agents are silent on a connection that they mean to use again."""


class PortError(SkerryError):
    """The API's port cannot be opened."""


class Protocol(H11Protocol):
    """uvicorn's, that tells the application about the connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, CONNECTION: look(transport)}
        if transport.get_extra_info("ssl_object") is not None:
            # uvicorn counts from the first answer on; a stranger who asks nothing would be kept for ever.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )


class TlsConfig(uvicorn.Config):
    """uvicorn's settings with a context that is given: it makes its own from files, with other rules."""

    def __init__(self, app: ASGIApp, context: ssl.SSLContext | None, **settings: Any) -> None:
        super().__init__(app, http=Protocol, **settings)
        self._context = context

    def load(self) -> None:
        super().load()
        self.ssl = self._context
        if self._context is not None:
            SSLProtocol.max_size = RECORD_BYTES


def look(transport: asyncio.BaseTransport) -> Connection:
    """What is known of a connection."""
    secure = transport.get_extra_info("ssl_object")
    if secure is None:
        listening = transport.get_extra_info("socket")
        return Connection(is_local=listening is not None and listening.family == socket.AF_UNIX)
    shown = secure.getpeercert()
    if not shown:
        return Connection()
    try:
        return Connection(peer=read_peer(shown))
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
