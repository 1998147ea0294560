"""What this node says of its units, kept in the store: only what has changed, many in one transaction.

After a quiet time the first few changes are written at once, so that whoever started a unit sees it run;
then what changes within a tenth of a second goes together. A store that is away is tried again; nothing
else waits for it.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from typing import TYPE_CHECKING

from skerry.fleet.state.unit import REPORTS_PREFIX, UnitReport, report_key
from skerry.fleet.store.errors import StoreError
from skerry.fleet.store.interface import Delete, Operation, Put

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from skerry.fleet.store.interface import Store
    from skerry.kit.clock import Clock

AT_ONCE = 20
PAUSE_S = 0.1
RETRY_S = 2.0
MOST_IN_ONE = 200

log = logging.getLogger(__name__)


class Unknown(enum.Enum):
    """Said of a unit of which systemd has not told us anything since we started."""

    YET = "yet"


class Reporter:
    """Publishes what `report` says of each unit that was named to `changed`.

    None deletes; Unknown.YET leaves what was published as it is, a later change tells more.
    """

    def __init__(
        self, store: Store, node_id: str, clock: Clock, report: Callable[[str], UnitReport | Unknown | None]
    ) -> None:
        self._store = store
        self._node = node_id
        self._clock = clock
        self._report = report
        self._published: dict[str, bytes] = {}
        self._changed: set[str] = set()
        self._wake = asyncio.Event()
        self._allowance = float(AT_ONCE)
        self._counted_at = clock.monotonic()

    def changed(self, *names: str) -> None:
        """These units may have to be reported anew."""
        self._changed.update(names)
        self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled. What an earlier run left in the store is corrected first."""
        await self._again(self._recall)
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._again(self._publish)
            await self._pace()

    async def _pace(self) -> None:
        """Wait when more has been written than one transaction in each pause, but for the first few."""
        now = self._clock.monotonic()
        self._allowance = min(AT_ONCE, self._allowance + (now - self._counted_at) / PAUSE_S) - 1
        self._counted_at = now
        if self._allowance < 0:
            await self._clock.sleep(PAUSE_S)

    async def _recall(self) -> None:
        prefix = f"{REPORTS_PREFIX}{self._node}/"
        for entry in (await self._store.list(prefix)).entries:
            name = entry.key.removeprefix(prefix)
            self._published[name] = entry.value
            self.changed(name)

    async def _publish(self) -> None:
        while self._changed:
            batch = sorted(self._changed)[:MOST_IN_ONE]
            self._changed.difference_update(batch)
            operations: list[Operation] = []
            values: dict[str, bytes | None] = {}
            for name in batch:
                report = self._report(name)
                if report is Unknown.YET:
                    continue
                value = None if report is None else report.encode()
                if value == self._published.get(name):
                    continue
                key = report_key(self._node, name)
                operations.append(Delete(key) if value is None else Put(key, value))
                values[name] = value
            if not operations:
                continue
            try:
                await self._store.transact((), operations)
            except BaseException:
                self.changed(*batch)
                raise
            for name, value in values.items():
                if value is None:
                    self._published.pop(name, None)
                else:
                    self._published[name] = value

    async def _again(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except StoreError as error:
                log.warning("reports cannot be written yet: %s", error.message)
                await self._clock.sleep(RETRY_S)
            else:
                return
