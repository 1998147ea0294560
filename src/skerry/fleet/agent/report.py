"""What this node says of its units: only what has changed, many at a time, everything to a new server.

After a quiet time the first few changes are told at once, so that whoever started a unit sees it run;
then what changes within a tenth of a second goes together. A server that is away is waited for; nothing
else waits for it.
"""

from __future__ import annotations

import asyncio
import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from skerry.fleet.agent.source import Source
    from skerry.fleet.state.unit import UnitReport
    from skerry.kit.clock import Clock

AT_ONCE = 20
PAUSE_S = 0.1
MOST_IN_ONE = 200


class Unknown(enum.Enum):
    """Said of a unit of which systemd has not told us anything since we started."""

    YET = "yet"


class Reporter:
    """Tells what `report` says of each unit that was named to `changed`.

    None deletes; Unknown.YET leaves what was told as it is, a later change tells more. `names` are those of
    all units there are. `on_taken` gets the names that a server has put into the store.
    """

    def __init__(
        self,
        source: Source,
        clock: Clock,
        names: Callable[[], Iterable[str]],
        report: Callable[[str], UnitReport | Unknown | None],
        on_taken: Callable[[Iterable[str]], None],
    ) -> None:
        self._source = source
        self._clock = clock
        self._names = names
        self._report = report
        self._on_taken = on_taken
        self._told: dict[str, UnitReport] = {}
        self._changed: set[str] = set()
        self._whole = False
        self._wake = asyncio.Event()
        self._allowance = float(AT_ONCE)
        self._counted_at = clock.monotonic()

    def changed(self, *names: str) -> None:
        """These units may have to be reported anew."""
        self._changed.update(names)
        self._wake.set()

    def everything(self) -> None:
        """A server may not know what another was told: tell all there is."""
        self._whole = True
        self._wake.set()

    def told(self, name: str) -> bool:
        """Whether a server has taken a report on this unit."""
        return name in self._told

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._whole:
                await self._tell_everything()
            while self._changed:
                await self._tell_some()
            await self._pace()

    async def _pace(self) -> None:
        """Wait when more has been told than once in each pause, but for the first few."""
        now = self._clock.monotonic()
        self._allowance = min(AT_ONCE, self._allowance + (now - self._counted_at) / PAUSE_S) - 1
        self._counted_at = now
        if self._allowance < 0:
            await self._clock.sleep(PAUSE_S)

    async def _tell_everything(self) -> None:
        reports: list[UnitReport] = []
        for name in sorted(self._names()):
            report = self._report(name)
            if report is Unknown.YET:
                return  # soon
            if report is not None:
                reports.append(report)
        self._whole = False
        self._changed.clear()
        refused = await self._source.report(reports, (), whole=True)
        self._told = {report.name: report for report in reports if report.name not in refused}
        self._on_taken(self._told)

    async def _tell_some(self) -> None:
        batch = sorted(self._changed)[:MOST_IN_ONE]
        self._changed.difference_update(batch)
        reports: list[UnitReport] = []
        gone: list[str] = []
        for name in batch:
            report = self._report(name)
            if report is Unknown.YET or report == self._told.get(name):
                continue
            if report is None:
                gone.append(name)
            else:
                reports.append(report)
        if not reports and not gone:
            return
        refused = await self._source.report(reports, gone)
        for name in (*gone, *refused):
            self._told.pop(name, None)
        taken = [report for report in reports if report.name not in refused]
        self._told.update({report.name: report for report in taken})
        self._on_taken([report.name for report in taken])
