"""Servers in the hands of a test: it says what an agent is told, and whether anybody answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from skerry.fleet.assign.assignment import Assignment, Beat, Change, Full
from skerry.fleet.presence.heartbeat import Contact, Heartbeat
from skerry.fleet.state.unit import DesiredState, UnitRecord
from skerry.host.units.unit_file import parse_unit, unit_hash
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from skerry.fleet.assign.assignment import Message
    from skerry.fleet.state.unit import UnitReport

SLEEPER = "[Service]\nExecStart=/bin/sleep 100\n"


def assignment(
    name: str,
    text: str = SLEEPER,
    desired: DesiredState = DesiredState.LAUNCHED,
    *,
    fence: bool = False,
) -> Assignment:
    record = UnitRecord(name, text, unit_hash(parse_unit(text)), launch=0)
    return Assignment(record.wanting(desired), fence)


class FakeSource:
    """Implements skerry.fleet.agent.source.Source. `alive`: heartbeats are answered; `taking`: claims are.

    `streams` counts how often it was asked for all; the test answers, with `full`.
    """

    def __init__(self) -> None:
        self.alive = True
        self.taking = True
        self.contact = Contact(15.0)
        self.refused = ""
        self.beats: list[Heartbeat] = []
        self.reports: dict[str, UnitReport] = {}
        self.left = False
        self.streams = 0
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self.revision = 0

    def full(self, *assignments: Assignment) -> None:
        self.revision += 1
        self._messages.put_nowait(Full(assignments, self.revision))

    def change(self, *put: Assignment, gone: Sequence[str] = ()) -> None:
        self.revision += 1
        self._messages.put_nowait(Change(self.revision, put, tuple(gone)))

    def beat(self) -> None:
        self._messages.put_nowait(Beat(15.0, self.revision))

    async def messages(self) -> AsyncGenerator[Message, None]:
        self.streams += 1
        while True:
            yield await self._messages.get()

    async def report(
        self, reports: Sequence[UnitReport], gone: Sequence[str], *, whole: bool = False
    ) -> frozenset[str]:
        if whole:
            self.reports.clear()
        if not self.taking:
            return frozenset(report.name for report in reports)
        for name in gone:
            self.reports.pop(name, None)
        self.reports.update({report.name: report for report in reports})
        return frozenset()

    async def heartbeat(self, beat: Heartbeat) -> Contact:
        if not self.alive:
            raise SkerryError("no server answers")
        self.beats.append(beat)
        return self.contact

    async def goodbye(self) -> None:
        self.left = True
