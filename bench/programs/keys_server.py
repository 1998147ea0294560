"""The key API over a SQLite store on a TCP port of loopback, as skerryd serves it; ends with its stdin.

    keys_server.py STORE

Prints the port when it listens.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

from starlette.applications import Starlette

from skerry.entry.daemon.server import make_server, serve
from skerry.entry.rest.keys import routes
from skerry.fleet.keys.keyspace import Keyspace
from skerry.fleet.store.sqlite import SqliteStore
from skerry.kit.clock import SystemClock


async def main(path: Path) -> None:
    store = await SqliteStore.open(path, clock=SystemClock())
    server = make_server(Starlette(routes=routes(Keyspace(store, SystemClock()))))
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        # A kept connection must not wait for the other side's delayed acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        serving = asyncio.create_task(serve(server, [listener]))
        print(listener.getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)
        server.should_exit = True
        await serving
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
