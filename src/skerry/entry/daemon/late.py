"""An agent's servers while they are not there yet, and from then on the ones that came."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from skerry.fleet.agent.source import Source
    from skerry.fleet.assign.assignment import Message
    from skerry.fleet.presence.heartbeat import Contact, Heartbeat
    from skerry.fleet.state.unit import UnitReport


class NotYetError(SkerryError):
    """The store has not answered since this program started."""


class LateSource:
    """Implements Source; `put` gives the real one."""

    def __init__(self) -> None:
        self._source: Source | None = None
        self._there = asyncio.Event()

    def put(self, source: Source) -> None:
        self._source = source
        self._there.set()

    @property
    def refused(self) -> str:
        return "" if self._source is None else self._source.refused

    async def messages(self) -> AsyncGenerator[Message, None]:
        source = await self._real()
        async with aclosing(source.messages()) as messages:
            async for message in messages:
                yield message

    async def report(
        self, reports: Sequence[UnitReport], gone: Sequence[str], *, whole: bool = False
    ) -> frozenset[str]:
        return await (await self._real()).report(reports, gone, whole=whole)

    async def heartbeat(self, beat: Heartbeat) -> Contact:
        if self._source is None:
            raise NotYetError("the store of the cluster has not answered yet")
        return await self._source.heartbeat(beat)

    async def goodbye(self) -> None:
        if self._source is None:
            raise NotYetError("the store of the cluster has not answered yet")
        await self._source.goodbye()

    async def _real(self) -> Source:
        await self._there.wait()
        assert self._source is not None  # noqa: S101  set before the event
        return self._source
