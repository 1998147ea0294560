"""One server for simulated agents: `python3 agents_server.py FOLDER`; its URL is the first line it prints.

Store on SQLite, leadership by lease, presence, feed and the API of agents are the real ones, over plain HTTP
and without a guard: everybody is the node that the path names. POST /bench/unit stores a unit, GET
/bench/store tells the store's revision.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from skerry.entry.daemon.server import KEEP_ALIVE_S, make_server
from skerry.entry.rest.agents import Agents
from skerry.entry.rest.codec import on_error, respond
from skerry.fleet.access.caller import Caller, CallerKind
from skerry.fleet.assign.feed import Feed
from skerry.fleet.assign.reports import Reports
from skerry.fleet.presence.forward import Forwarder
from skerry.fleet.presence.leader import Leadership
from skerry.fleet.presence.registry import Registry
from skerry.fleet.state.node import Role
from skerry.fleet.state.unit import UnitRecord, unit_key
from skerry.fleet.store.interface import Put
from skerry.fleet.store.sqlite import SqliteStore
from skerry.kit.clock import SystemClock
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send


async def main(folder: Path) -> None:
    clock = SystemClock()
    listener = socket.create_server(("127.0.0.1", 0), backlog=8192)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    store = await SqliteStore.open(folder / "store.db", clock=clock)
    leading = Leadership(store, "server", url, clock)
    presence = Registry(store, leading, clock, Forwarder(None))
    feed = Feed(store, clock)

    async def put_unit(request: Request) -> Response:
        record = UnitRecord.decode(await request.body())
        await store.transact([], [Put(unit_key(record.name), record.encode())])
        return Response(status_code=204)

    async def tell_store(_: Request) -> Response:
        return respond({"revision": (await store.list("/skerry/v1/leader")).revision})

    routes = Agents(feed, Reports(store, feed.is_fenced), presence).routes()
    routes += [Route("/bench/unit", put_unit, methods=["POST"]), Route("/bench/store", tell_store)]
    app = Starlette(routes=routes, exception_handlers={SkerryError: on_error, Exception: on_error})

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        node = scope["path"].split("/")[3] if scope["path"].startswith("/v1/agents/") else ""
        scope.setdefault("state", {})["caller"] = Caller(CallerKind.NODE, node, node_role=Role.AGENT)
        await app(scope, receive, send)

    server = make_server(guarded)
    server.config.timeout_keep_alive = KEEP_ALIVE_S  # as for machines, not for the local socket
    async with asyncio.TaskGroup() as group:
        for work in (leading, presence, feed):
            group.create_task(work.run())
        while not leading.is_leader:  # noqa: ASYNC110  once, at the start
            await asyncio.sleep(0.01)
        print(url, flush=True)
        gc.collect()
        gc.freeze()
        await server.serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
