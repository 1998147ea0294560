"""Placements on a single machine, until the scheduler drives it: every unit that is to run, runs here."""

from __future__ import annotations

import logging
from contextlib import aclosing
from typing import TYPE_CHECKING

from skerry.fleet.assign.mirror import read_unit
from skerry.fleet.presence.leader import NotLeadingError
from skerry.fleet.state.placement import PlacementRecord, placement_key
from skerry.fleet.state.unit import UNITS_PREFIX
from skerry.fleet.store.errors import CompactedError, StoreError
from skerry.fleet.store.interface import Delete, Operation, Put

if TYPE_CHECKING:
    from collections.abc import Iterable

    from skerry.fleet.presence.leader import Leading
    from skerry.fleet.store.interface import Store
    from skerry.kit.clock import Clock

RETRY_S = 1.0
MOST_IN_ONE = 100

log = logging.getLogger(__name__)


class PlaceHere:
    """Stands where the scheduler's driver is going to stand."""

    def __init__(self, store: Store, leading: Leading, node: str, clock: Clock) -> None:
        self._store = store
        self._leading = leading
        self._node = node
        self._clock = clock
        self._placed: set[str] = set()

    async def run(self) -> None:
        """Follow the units until cancelled, or until the store is closed."""
        async with aclosing(self._leading.changes()) as leaders:
            async for _ in leaders:
                if self._leading.is_leader:
                    await self._follow()

    async def _follow(self) -> None:
        while True:
            try:
                prefix = placement_key(self._node, "")
                placed = (await self._store.list(prefix)).entries
                self._placed = {entry.key.removeprefix(prefix) for entry in placed}
                listing = await self._store.list(UNITS_PREFIX)
                there = {entry.key.removeprefix(UNITS_PREFIX): entry.value for entry in listing.entries}
                gone = dict.fromkeys(self._placed - there.keys())
                await self._decide((there | gone).items())
                async with aclosing(self._store.watch(UNITS_PREFIX, listing.revision)) as batches:
                    async for batch in batches:
                        await self._decide(
                            (event.entry.key.removeprefix(UNITS_PREFIX), event.entry.value or None)
                            for event in batch.events
                        )
            except CompactedError:
                continue
            except (StoreError, NotLeadingError) as error:
                log.warning("placements wait: %s", error.message)
                await self._clock.sleep(RETRY_S)
            else:
                return

    async def _decide(self, units: Iterable[tuple[str, bytes | None]]) -> None:
        operations: list[Operation] = []
        for name, value in units:
            unit = None if value is None else read_unit(name, value)
            if unit is not None and unit.problem is not None:
                continue
            due = unit is not None and unit.runs and not unit.is_global
            if due and name not in self._placed:
                self._placed.add(name)
                record = PlacementRecord(name, self._node, "it is the only machine", self._clock.now())
                operations.append(Put(record.key, record.encode()))
            elif not due and name in self._placed:
                self._placed.discard(name)
                operations.append(Delete(placement_key(self._node, name)))
        for start in range(0, len(operations), MOST_IN_ONE):
            some = operations[start : start + MOST_IN_ONE]
            await self._store.transact([self._leading.fence], some)
