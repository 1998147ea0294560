"""APIs served for a test, by the server that skerryd uses, in a thread of their own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from starlette.applications import Starlette

from fakes.asgi import Api
from fakes.stores import fresh_etcd_store
from skerry.entry.daemon.server import Server, make_server, serve
from skerry.entry.rest.keys import routes
from skerry.fleet.keys.keyspace import Keyspace
from skerry.fleet.store.memory import MemoryStore
from skerry.kit.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from skerry.fleet.store.interface import Store
    from skerry.kit.clock import Clock


@contextlib.contextmanager
def listening(path: Path | None = None) -> Iterator[socket.socket]:
    """A Unix socket at `path`, or a TCP socket on loopback with a port of the system's choice."""
    if path is None:
        listener = socket.create_server(("127.0.0.1", 0))
    else:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        listener.listen(64)
    with listener:
        yield listener


@contextlib.contextmanager
def served_api(path: Path, prepare: Callable[[Api], Awaitable[None]]) -> Iterator[str]:
    """Serve a whole API over a store in memory, once `prepare` has filled it, on a Unix socket at `path`."""

    async def begin() -> tuple[Server, Callable[[], Awaitable[None]]]:
        api = Api()
        api.follow()
        await prepare(api)
        return make_server(api.app), api.store.close

    with listening(path) as listener, _in_a_thread(begin, listener):
        yield str(path)


@contextlib.contextmanager
def served_keys(
    listener: socket.socket,
    *,
    clock: Clock | None = None,
    wait_limit_s: float = 60,
    keep: int = 1000,
    over_etcd: bool = False,
) -> Iterator[None]:
    """Serve a fresh key space on `listener`, over a store in memory or over a real etcd v3."""

    async def begin() -> tuple[Server, Callable[[], Awaitable[None]]]:
        store: Store
        if over_etcd:
            store = await fresh_etcd_store(keep=keep)
        else:
            store = MemoryStore(clock=clock or SystemClock(), keep=keep)
        keys = Keyspace(store, clock or SystemClock())
        return make_server(Starlette(routes=routes(keys, wait_limit_s=wait_limit_s))), store.close

    with _in_a_thread(begin, listener):
        yield


@contextlib.contextmanager
def _in_a_thread(
    begin: Callable[[], Awaitable[tuple[Server, Callable[[], Awaitable[None]]]]], listener: socket.socket
) -> Iterator[None]:
    """Run what `begin` makes in an event loop of its own, until the context ends."""
    started = threading.Event()
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        server, close = await begin()
        serving = asyncio.create_task(serve(server, [listener]))
        wanted = asyncio.Event()
        stop.append((asyncio.get_running_loop(), wanted))
        started.set()
        await wanted.wait()
        await close()
        server.should_exit = True
        await serving

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="served")
    thread.start()
    started.wait()
    try:
        yield
    finally:
        loop, wanted = stop[0]
        loop.call_soon_threadsafe(wanted.set)
        thread.join()
