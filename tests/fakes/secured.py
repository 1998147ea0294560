"""The whole API behind its guard, on a loopback port with TLS and on a Unix socket, over a store in memory.

`Secured.ask` speaks HTTP by hand and reads only the head where told so, so that streams end; connections are
real and verified by OpenSSL.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from fakes.asgi import Reply, explain
from fakes.clock import FakeClock
from fakes.daemon import check, journal
from fakes.tls import SERVER, credential, member
from skerry.entry.daemon.access import access_of_server
from skerry.entry.daemon.places import Places
from skerry.entry.daemon.server import listen, make_server, serve
from skerry.entry.daemon.tls import TlsConfig, listen_tcp
from skerry.entry.rest.app import Cluster, create_app
from skerry.entry.rest.desired import Desired
from skerry.entry.rest.host import Host
from skerry.entry.rest.keys import routes as key_routes
from skerry.entry.rest.machine import Node
from skerry.entry.rest.streaming import Stream
from skerry.fleet.access.members import Members
from skerry.fleet.access.tokens import Tokens
from skerry.fleet.cluster.membership import Membership
from skerry.fleet.keys.keyspace import Keyspace
from skerry.fleet.store.memory import MemoryStore
from skerry.fleet.trust.certificates import NODE_LIFETIME_S, Authority
from skerry.fleet.trust.contexts import client_context, server_context
from skerry.fleet.trust.identity import Role

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping
    from pathlib import Path

    from starlette.requests import Request

    from skerry.entry.daemon.places import Bound, Stage
    from skerry.entry.daemon.tls import Limits

ENDED_S = 10


class AgentRoutes:
    """Stands in for the routes of agents where only who may ask them matters; the stream never ends."""

    def __init__(self) -> None:
        self.opened, self.closed = asyncio.Event(), asyncio.Event()

    def routes(self) -> list[Route]:
        prefix = "/v1/agents/{id}/"
        plain = ["reports", "heartbeat", "goodbye"]
        return [
            Route(prefix + "stream", self.stream, methods=["POST"]),
            *(Route(prefix + name, self.answer, methods=["POST"]) for name in plain),
            Route("/v1/presence/heard", self.answer, methods=["POST"]),
        ]

    async def answer(self, request: Request) -> Response:
        return Response(b"{}")

    async def stream(self, request: Request) -> Stream:
        return Stream(self._lines(), media_type="application/x-ndjson")

    async def _lines(self) -> AsyncGenerator[bytes, None]:
        self.opened.set()
        try:
            yield b"{}\n"
            await asyncio.get_running_loop().create_future()
        finally:
            self.closed.set()


@dataclass
class Secured:
    """One server of a cluster. Certificates have real dates, OpenSSL looks at the real clock."""

    directory: Path
    lifetime_s: float = NODE_LIFETIME_S
    keep_alive_s: int | None = None
    limits: Limits | None = None
    bounds: Mapping[Stage, Bound] | None = None

    def __post_init__(self) -> None:
        self.clock = FakeClock(now=time.time())
        self.store = MemoryStore(clock=self.clock)
        self.authority = Authority.create("test", self.clock.now())
        self.pki = member(
            self.directory / "pki", self.authority, credential(self.authority, SERVER, self.clock.now())
        )
        self.pki.write_authority(self.authority)
        self.pki.write_store_authority(Authority.create("store", self.clock.now()))
        self.membership = Membership("c1", "home", SERVER.node, Role.SERVER, "127.0.0.1", ())
        self.members = Members(self.store, self.clock)
        self.tokens = Tokens(self.store, self.clock, self.authority.pin)
        self.agents = AgentRoutes()
        self.enlisted: list[tuple[str, str]] = []
        self.desired = Desired(self.store, Node(SERVER.node), check, self.clock)
        access = access_of_server(
            self.store,
            self.clock,
            self.pki,
            lambda: self.membership,
            self._enlist,
            lifetime_s=self.lifetime_s,
        )
        assert access.joining is not None
        self.access, self.known, self.audit, self.joining = access, access.known, access.audit, access.joining
        more = [
            *key_routes(Keyspace(self.store, self.clock)),
            *access.routes,
            *self.agents.routes(),
        ]
        self.app = create_app(
            Host(SERVER.node, root=self.directory / "nowhere"),
            Cluster(
                self.desired,
                journal,
                more,
                removal=access.removal,
                explain=explain,
            ),
        )
        self.guard = access.guard(self.app)
        self.port = 0
        self.socket = self.directory / "api.sock"

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def _enlist(self, node: str, address: str) -> dict[str, str]:
        self.enlisted.append((node, address))
        return {"initial_cluster": "five"}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Secured]:
        """Serve; everything is ended afterwards."""
        listener = listen_tcp("127.0.0.1", 0)
        self.port = listener.getsockname()[1]
        self.context = server_context(self.pki)
        secure, local = make_server(self.guard, self.context), make_server(self.guard)
        if self.keep_alive_s is not None:
            secure.config.timeout_keep_alive = self.keep_alive_s
        assert isinstance(secure.config, TlsConfig)
        if self.limits is not None:
            secure.config.limits = self.limits
        if self.bounds is not None:
            secure.config.places = Places(self.clock.monotonic, self.bounds)
        self.places = secure.config.places
        tasks = [
            asyncio.create_task(work)
            for work in (*self.access.loops(self.guard).values(), self.desired.mirror.run())
        ]
        serving = [
            asyncio.create_task(serve(secure, [listener])),
            asyncio.create_task(serve(local, [listen(self.socket)])),
        ]
        await self.known.ready()
        try:
            yield self
        finally:
            secure.should_exit = local.should_exit = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.wait_for(asyncio.gather(*serving), ENDED_S)

    def connecting(self, credential: Path | None = None) -> ssl.SSLContext:
        """A client's context."""
        return client_context(self.authority.pem, credential=credential)

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        context: ssl.SSLContext | None = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        head_only: bool = False,
    ) -> Reply:
        """One request on a connection of its own; `context` None is the Unix socket. Raises OSError."""
        async with asyncio.timeout(ENDED_S):
            opened = self.opened(method, path, body, context=context, token=token, headers=headers)
            async with opened as (status, answered, reader):
                return Reply(status, answered, b"" if head_only else await reader.read())

    @contextlib.asynccontextmanager
    async def opened(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        context: ssl.SSLContext | None = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[tuple[int, Mapping[str, str], asyncio.StreamReader]]:
        """A request whose head has been answered: the status, the headers, and where the body comes."""
        if context is None:
            reader, writer = await asyncio.open_unix_connection(str(self.socket))
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context)
        try:
            raw = b"" if body is None else json.dumps(body).encode()
            fields = {"host": "x", "connection": "close", "content-length": str(len(raw))}
            if body is not None:
                fields["content-type"] = "application/json"
            if token is not None:
                fields["authorization"] = f"Bearer {token}"
            fields |= dict(headers or {})
            lines = [f"{method} {path} HTTP/1.1", *(f"{n}: {t}" for n, t in fields.items()), "", ""]
            writer.write("\r\n".join(lines).encode() + raw)
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
            except asyncio.IncompleteReadError as error:
                raise ConnectionError("closed without an answer") from error
            status, *rest = head.strip().split("\r\n")
            answered = {n.lower(): t.strip() for n, _, t in (line.partition(":") for line in rest)}
            yield int(status.split()[1]), answered, reader
        finally:
            writer.transport.abort()
