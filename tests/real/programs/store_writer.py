"""Writes to a store as fast as it can and says on stdout what was acknowledged; killed by the test.

Each transaction moves a token: it puts `<writer>/<n>` and deletes `<writer>/<n-1>` together, so that a
store that broke a transaction in two would show two tokens of a writer, or none.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from skerry.fleet.store.interface import Delete, Put
from skerry.fleet.store.sqlite import SqliteStore
from skerry.kit.clock import SystemClock


async def write(store: SqliteStore, writer: int, start: int) -> None:
    for n in range(start, sys.maxsize):
        changes = [Put(f"{writer}/{n}", b"x" * (n % 700)), Delete(f"{writer}/{n - 1}")]
        result = await store.transact((), changes)
        # One write(2), so that a line is there whole or not at all.
        sys.stdout.write(f"{writer} {n} {result.revision}\n")
        sys.stdout.flush()


async def main(path: Path, start: int) -> None:
    store = await SqliteStore.open(path, clock=SystemClock(), keep=200)
    async with asyncio.TaskGroup() as group:
        for writer in range(8):
            group.create_task(write(store, writer, start))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
