"""Servers that agents speak to, over real loopback HTTP, on one store in memory; no TLS, no guard.

Instead of certificates everybody is who they say: the node that the path names, or a server.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette

from skerry.entry.daemon.server import Server, make_server
from skerry.entry.rest.agents import Agents
from skerry.entry.rest.codec import on_error
from skerry.fleet.access.caller import Caller, CallerKind
from skerry.fleet.assign.feed import Feed
from skerry.fleet.assign.reports import Reports
from skerry.fleet.presence.forward import Forwarder
from skerry.fleet.presence.leader import Leadership
from skerry.fleet.presence.registry import Registry
from skerry.fleet.state.node import Role
from skerry.kit.clock import SystemClock
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from skerry.fleet.store.interface import Store


def as_said(scope: Scope) -> Caller:
    """The node of /v1/agents/{id}/…; elsewhere a server."""
    words = scope["path"].split("/")
    if words[2] == "agents":
        return Caller(CallerKind.NODE, words[3], node_role=Role.AGENT)
    return Caller(CallerKind.NODE, "server", node_role=Role.SERVER)


class Guarded:
    """Puts a caller into every request's state, as the real guard does."""

    def __init__(self, app: ASGIApp, who: Callable[[Scope], Caller] = as_said) -> None:
        self._app = app
        self._who = who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["caller"] = self._who(scope)
        await self._app(scope, receive, send)


class ClusterServer:
    """One server: leadership, presence, feed and the API of agents."""

    def __init__(self, store: Store, name: str, *, ttl_s: float = 15.0, lease_s: float = 5.0) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        clock = SystemClock()
        self.leading = Leadership(store, name, self.url, clock, lease_s=lease_s)
        self.forward = Forwarder(None)
        self.presence = Registry(store, self.leading, clock, self.forward, ttl_s=ttl_s)
        self.feed = Feed(store, clock, ttl_s=ttl_s)
        agents = Agents(self.feed, Reports(store, self.feed.is_fenced), self.presence)
        handlers = {SkerryError: on_error, Exception: on_error}
        self.app = Guarded(Starlette(routes=agents.routes(), exception_handlers=handlers))
        self._server: Server | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._server = make_server(self.app)
        works = (self.leading, self.presence, self.feed)
        self._tasks = [asyncio.ensure_future(work.run()) for work in works]
        self._tasks.append(asyncio.ensure_future(self._server.serve(sockets=[self.socket])))
        async with asyncio.timeout(20):
            while not self._up:  # noqa: ASYNC110  uvicorn tells nobody
                await asyncio.sleep(0.01)

    @property
    def _up(self) -> bool:
        return self._server is not None and self._server.started and self.leading.leader is not None

    async def kill(self) -> None:
        """As when its power is cut: connections break, its lease runs out."""
        if self._server is not None:
            self._server.should_exit = self._server.force_exit = True
            for state in tuple(self._server.server_state.connections):
                state.transport.abort()  # type: ignore[union-attr]
        serving = self._tasks.pop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(serving, *self._tasks, return_exceptions=True)
        self.forward.close()
        self.socket.close()


@asynccontextmanager
async def servers(store: Store, count: int, **settings: float) -> AsyncIterator[list[ClusterServer]]:
    """Some servers, up; those that were not killed end with the block."""
    made = [ClusterServer(store, f"server{number}", **settings) for number in range(count)]
    for one in made:
        await one.start()
    try:
        yield made
    finally:
        for one in made:
            if one.socket.fileno() >= 0:
                await one.kill()
