"""An agent's servers where one of them is this very process: no HTTP in between."""

from __future__ import annotations

import logging
import math
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

from skerry.fleet.presence.heartbeat import Contact, Heartbeat
from skerry.fleet.store.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from skerry.fleet.assign.assignment import Message
    from skerry.fleet.assign.feed import Feed
    from skerry.fleet.assign.reports import Reports
    from skerry.fleet.state.unit import UnitReport
    from skerry.kit.clock import Clock

RETRY_S = 2.0

log = logging.getLogger(__name__)


class Presence(Protocol):
    """Who is told that a node lives."""

    async def heard(self, node: str, beat: Heartbeat) -> Contact: ...

    async def goodbye(self, node: str) -> None: ...


class LocalSource:
    """Implements Source. `presence` is None where nobody has to know whether this machine lives."""

    def __init__(
        self, feed: Feed, reports: Reports, node: str, clock: Clock, presence: Presence | None = None
    ) -> None:
        self._feed = feed
        self._reports = reports
        self._node = node
        self._clock = clock
        self._presence = presence

    @property
    def refused(self) -> str:
        return ""

    async def messages(self) -> AsyncGenerator[Message, None]:
        while True:
            async with aclosing(self._feed.follow(self._node)) as messages:
                async for message in messages:
                    yield message
            await self._clock.sleep(RETRY_S)

    async def report(
        self, reports: Sequence[UnitReport], gone: Sequence[str], *, whole: bool = False
    ) -> frozenset[str]:
        while True:
            try:
                return await self._reports.write(self._node, reports, gone, whole=whole)
            except StoreError as error:
                log.warning("reports cannot be written yet: %s", error.message)
                await self._clock.sleep(RETRY_S)

    async def heartbeat(self, beat: Heartbeat) -> Contact:
        if self._presence is None:
            return Contact(math.inf)
        return await self._presence.heard(self._node, beat)

    async def goodbye(self) -> None:
        if self._presence is not None:
            await self._presence.goodbye(self._node)
