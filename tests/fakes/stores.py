"""Every driver of the store that the conformance suite knows, opened and closed the same way."""

from __future__ import annotations

import contextlib
import enum
from typing import TYPE_CHECKING

from skerry.fleet.store.memory import MemoryStore
from skerry.fleet.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from skerry.fleet.store.interface import Batch, Store
    from skerry.kit.clock import Clock


class Driver(enum.StrEnum):
    MEMORY = "memory"
    SQLITE = "sqlite"


@contextlib.asynccontextmanager
async def opened(
    driver: Driver, directory: Path, clock: Clock, *, keep: int = 10_000
) -> AsyncIterator[Store]:
    """A store of the given kind, its file (if any) in `directory`."""
    store: Store
    if driver is Driver.MEMORY:
        store = MemoryStore(clock=clock, keep=keep)
    else:
        store = await SqliteStore.open(directory / "store.db", clock=clock, keep=keep)
    try:
        yield store
    finally:
        await store.close()


async def seen(store: Store, prefix: str, after: int, *, until: int) -> list[Batch]:
    """What a new watcher is shown, up to the batch of revision `until`."""
    batches: list[Batch] = []
    async with contextlib.aclosing(store.watch(prefix, after)) as watching:
        async for batch in watching:
            batches.append(batch)
            if batch.revision >= until:
                break
    return batches
