"""What a durable write of one key costs, beside a real etcd, for one client and for 64 at once.

Two comparisons, all on the same disk and with every write flushed before it is acknowledged:
`store` is how programs of ours write: to the SQLite store in their own process, to etcd through our driver;
and, to tell what that costs, to etcd's JSON gateway by hand. `keys` is etcd's v2 key API over HTTP on both
sides, with the same client.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness import RESULTS, run

SOURCES = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(SOURCES / "src"), str(SOURCES / "tests")]

from fakes.etcd import real_etcd  # noqa: E402
from skerry.fleet.store.etcd import EtcdStore  # noqa: E402
from skerry.fleet.store.etcd_client import EtcdClient  # noqa: E402
from skerry.fleet.store.etcd_foundation import found  # noqa: E402
from skerry.fleet.store.interface import Put  # noqa: E402
from skerry.fleet.store.sqlite import SqliteStore  # noqa: E402
from skerry.kit.clock import SystemClock  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from skerry.fleet.store.interface import Store

VALUE = "x" * 100
WRITES = {1: 100, 64: 1280}
ROUNDS = 7
KEYS = 500


async def spread(clients: int, writer: Callable[[int], Awaitable[Callable[[int], Awaitable[None]]]]) -> float:
    """Microseconds of wall time per write, with so many clients at work."""
    each = WRITES[clients] // clients
    ready = [await writer(client) for client in range(clients)]

    async def work(client: int) -> None:
        for n in range(each):
            await ready[client](client * each + n)

    begun = time.perf_counter()
    await asyncio.gather(*(work(client) for client in range(clients)))
    return (time.perf_counter() - begun) / (each * clients) * 1e6


class Connection:
    """HTTP/1.1 kept alive, as small as it can be, so that the client weighs little in the numbers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, method: str, target: str, body: bytes, kind: str) -> None:
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}"
        self._writer.write(head.encode() + b"\r\n\r\n" + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in answer.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        await self._reader.readexactly(length)
        if not answer.startswith(b"HTTP/1.1 20"):
            raise RuntimeError(answer.decode())


def over_http(url: str, request: Callable[[int], tuple[str, str, bytes, str]], clients: int) -> float:
    host, port = url.removeprefix("http://").split(":")

    async def writer(_: int) -> Callable[[int], Awaitable[None]]:
        connection = Connection(*await asyncio.open_connection(host, int(port)))
        return lambda n: connection.send(*request(n))

    return asyncio.run(spread(clients, writer))


def gateway_put(n: int) -> tuple[str, str, bytes, str]:
    key = base64.b64encode(f"/bench/{n % KEYS}".encode()).decode()
    body = json.dumps({"key": key, "value": base64.b64encode(VALUE.encode()).decode()})
    return "POST", "/v3/kv/put", body.encode(), "application/json"


def v2_put(n: int) -> tuple[str, str, bytes, str]:
    return (
        "PUT",
        f"/v2/keys/bench-{n % KEYS}",
        f"value={VALUE}".encode(),
        "application/x-www-form-urlencoded",
    )


def through_driver(url: str, clients: int) -> float:
    """Our driver: the same gateway, and a receipt with each change."""

    async def measure() -> float:
        clock = SystemClock()
        client = EtcdClient([url], clock=clock)
        await found(client)
        client.close()
        return await into(await EtcdStore.open([url], name="bench", clock=clock), clients)

    return asyncio.run(measure())


def in_process(path: Path, clients: int) -> float:
    async def measure() -> float:
        return await into(await SqliteStore.open(path, clock=SystemClock()), clients)

    return asyncio.run(measure())


async def into(store: Store, clients: int) -> float:
    """What the store, closed in the end, takes of so many clients."""

    async def put(n: int) -> None:
        await store.transact((), [Put(f"/bench/{n % KEYS}", VALUE.encode())])

    async def writer(_: int) -> Callable[[int], Awaitable[None]]:
        return put

    try:
        return await spread(clients, writer)
    finally:
        await store.close()


@contextlib.contextmanager
def served(path: Path) -> Iterator[str]:
    """Our key API in a process of its own."""
    program = Path(__file__).parent / "programs" / "keys_server.py"
    environment = {**os.environ, "PYTHONPATH": str(SOURCES / "src")}
    with subprocess.Popen(
        [sys.executable, str(program), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()
        process.wait(timeout=20)


def main() -> None:
    # Not in /tmp, which may be memory: a flush must reach the disk on both sides.
    RESULTS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RESULTS) as name:
        directory = Path(name)
        with real_etcd(directory) as etcd, served(directory / "keys.db") as ours:
            for clients in WRITES:
                run(
                    f"store_{clients}",
                    f"µs per durable write, {clients} at once",
                    {
                        "SQLite store, in process": lambda c=clients: in_process(directory / "store.db", c),
                        "etcd store, our driver": lambda c=clients: through_driver(etcd, c),
                        "etcd, JSON gateway": lambda c=clients: over_http(etcd, gateway_put, c),
                    },
                    rounds=ROUNDS,
                )
                run(
                    f"keys_{clients}",
                    f"µs per durable write, {clients} at once",
                    {
                        "our v2 key API": lambda c=clients: over_http(ours, v2_put, c),
                        "etcd's v2 key API": lambda c=clients: over_http(etcd, v2_put, c),
                    },
                    rounds=ROUNDS,
                )


if __name__ == "__main__":
    main()
