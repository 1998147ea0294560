"""An agent of a cluster: it runs what the servers tell it, and has no store.

Unix socket ── /v1/host, /v1/host/cluster here; the rest is asked of a server, as this node may
servers ─ TLS ─ RemoteSource ─ Agent ── systemd        assignments.json: what goes on without them
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from skerry.entry.daemon.standing import Standing
from skerry.entry.daemon.verbs import AgentVerbs
from skerry.entry.rest.app import ALL_METHODS
from skerry.entry.rest.codec import RequestError, on_error, read_body
from skerry.entry.rest.here import Here
from skerry.entry.rest.host import Host
from skerry.entry.rest.streaming import Stream
from skerry.fleet.agent.kept import Kept
from skerry.fleet.agent.link import RemoteSource
from skerry.fleet.state.node import Role
from skerry.fleet.trust.renewal import Renewal, ask_servers
from skerry.kit.errors import SkerryError
from skerry.kit.http import HttpError
from skerry.kit.wire import Wire

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Callable

    from starlette.requests import Request

    from skerry.entry.daemon.machine import Machine
    from skerry.fleet.cluster.membership import Membership
    from skerry.kit.wire import Stream as Answer

ASK_S = 20.0

log = logging.getLogger("skerry.daemon")


async def play(machine: Machine, membership: Membership | None) -> None:
    """Be an agent until cancelled."""
    assert membership is not None  # noqa: S101  the loop has seen it
    standing, tls, clock = Standing(machine.paths.state, membership), machine.tls(), machine.clock

    source = RemoteSource(
        membership.servers,
        tls.client,
        machine.node.id,
        clock,
        lambda: machine.hello(Role.AGENT, membership.address),
    )

    def nearest() -> Wire:
        return Wire(source.server, tls.client)

    renewal = Renewal(machine.pki, clock, ask_servers(lambda: standing.now().servers, tls.client), tls.reload)
    host = Host(machine.node.id, lambda: source.refused or None, machine.paths.root)
    verbs = AgentVerbs(machine, membership, nearest)
    passing = Passing(standing, lambda: source.server, tls.client)
    routes = [*host.routes(), *Here(verbs).routes()]
    routes.append(Route("/{path:path}", passing.answer, methods=list(ALL_METHODS)))
    handlers = {SkerryError: on_error, Exception: on_error}
    machine.front.put(Starlette(routes=routes, exception_handlers=handlers))
    kept = Kept(machine.paths.state)
    try:
        async with asyncio.TaskGroup() as group:
            work = machine.run_agent(source, Role.AGENT, membership.address, kept)
            group.create_task(work, name="agent")
            group.create_task(renewal.run(), name="certificates")
            group.create_task(standing.ask(nearest, clock, source.use), name="servers")
            machine.turns.begun()
    finally:
        source.close()


async def _parts(answer: Answer, stack: contextlib.AsyncExitStack) -> AsyncGenerator[bytes, None]:
    """What the server sends, no sooner than somebody takes it; nothing at first.

    So it can be begun before it is handed on: one that is closed before it begins would close nothing.
    """
    async with stack, contextlib.aclosing(answer.chunks()) as chunks:
        yield b""
        async for chunk in chunks:
            yield chunk


class Passing:
    """What this machine cannot answer is asked of a server, with this node's certificate."""

    def __init__(
        self, standing: Standing, server: Callable[[], str], tls: Callable[[], ssl.SSLContext]
    ) -> None:
        self._standing = standing
        self._server = server
        self._tls = tls

    async def answer(self, request: Request) -> Response:
        """The server's answer, as it comes; a refusal says where people are to ask."""
        # As it was sent: what is decoded once does not fit into a line of a request any more.
        query = request.scope["query_string"].decode()
        path = request.scope["raw_path"].decode() + (f"?{query}" if query else "")
        headers = {name: request.headers[name] for name in ("content-type",) if name in request.headers}
        body = await read_body(request)
        async with contextlib.AsyncExitStack() as stack:
            wire = Wire(self._server(), self._tls)
            stack.callback(wire.close)
            asking = wire.stream(request.method, path, body, headers=headers, timeout_s=ASK_S)
            try:
                answer = await stack.enter_async_context(asking)
            except HttpError as error:
                raise self._ask_there(503, f"and its server does not answer: {error.message}") from error
            if answer.status in (401, 403):
                raise self._ask_there(421, "which may not do this for people")
            kind = answer.headers.get("content-type", "application/json")
            kept = {name: answer.headers[name] for name in ("content-length",) if name in answer.headers}
            if request.method == "HEAD":
                return Response(None, answer.status, kept, kind)
            parts = _parts(answer, stack.pop_all())
            await anext(parts)
            return Stream(parts, media_type=kind, status=answer.status, headers=kept)

    def _ask_there(self, status: int, why: str) -> RequestError:
        membership = self._standing.now()
        return RequestError(
            status,
            "ask-a-server",
            f"this machine is an agent of the cluster {membership.name}, {why}",
            hint=f"ask on a server, or from here with a token that `skerry token create` makes there: "
            f"`skerry context add NAME {' '.join(membership.servers)}`",
        )
