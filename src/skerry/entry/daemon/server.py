"""uvicorn as a task of ours: on sockets that are given to it, without signals, loggers or lifespan.

Connections that stream (waiting, journals, events) are cut when it is stopped, after a grace.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any

import uvicorn

from skerry.entry.daemon.door import Door
from skerry.entry.daemon.tls import KEEP_ALIVE_S, SecureProtocol, TlsConfig
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from starlette.types import ASGIApp

    from skerry.entry.rest.pulse import Pulse

GRACE_S = 2


class ListenError(SkerryError):
    """The API's socket cannot be opened."""


class Server(uvicorn.Server):
    """Serves until `should_exit` is set; the caller deals with signals."""

    config: TlsConfig

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        config = self.config
        if config.ssl is None:
            await super().startup(sockets)
            return
        await super().startup([])

        def make_protocol() -> SecureProtocol:
            return SecureProtocol(config, self.server_state, self.lifespan.state)

        doors = [Door(listener, config.ssl, make_protocol) for listener in sockets or ()]
        self.servers: list[Any] = doors

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def make_server(app: ASGIApp, context: ssl.SSLContext | None = None, pulse: Pulse | None = None) -> Server:
    """A server with the smallest stack there is, for the Unix socket or, with a context, for TLS.

    Heartbeats need not go through `app` where there is a `pulse`.
    """
    config = TlsConfig(
        app,
        context,
        pulse,
        loop="none",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=256,
        timeout_keep_alive=KEEP_ALIVE_S if context else 5,
        timeout_graceful_shutdown=GRACE_S,
    )
    return Server(config)


async def serve(server: Server, sockets: Sequence[socket.socket]) -> None:
    """Serve on open sockets until asked to exit."""
    await server.serve(sockets=list(sockets))


def listen(path: Path) -> socket.socket:
    """A listening Unix socket for its owner alone; a left-over of a dead daemon is replaced.

    Raises ListenError, also where a living daemon listens there.
    """
    if _is_answered(path):
        raise ListenError(f"another skerryd listens on {path}", hint="`systemctl status skerryd` tells which")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(256)
    except OSError as error:
        listener.close()
        raise ListenError(f"cannot listen on {path}: {error.strerror}") from error
    finally:
        os.umask(before)
    return listener


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
