"""An agent's servers that come late: it waits for them where it can, and is told where it cannot."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from fakes.clock import settle
from fakes.source import FakeSource, assignment
from skerry.entry.daemon.late import LateSource, NotYetError
from skerry.fleet.assign.assignment import Full
from skerry.fleet.presence.heartbeat import Contact, Heartbeat
from skerry.fleet.state.node import Facts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from skerry.fleet.assign.assignment import Message

BEAT = Heartbeat("1", 0, Facts(boot_id="1"))


def test_messages_and_reports_wait_and_heartbeats_are_refused_until_it_is_there() -> None:
    async def story() -> None:
        late, real = LateSource(), FakeSource()
        messages = late.messages()
        first = asyncio.ensure_future(anext(messages))
        report = asyncio.create_task(late.report([], ["a.service"]))
        await settle()
        assert (first.done(), report.done()) == (False, False)
        for refused in (late.heartbeat(BEAT), late.goodbye()):
            with pytest.raises(NotYetError, match="has not answered yet"):
                await refused
        assert (late.refused, real.left) == ("", False)
        real.full(assignment("a.service"))
        real.taking = False
        late.put(real)
        assert isinstance(await first, Full)
        assert await report == frozenset()
        assert await late.heartbeat(BEAT) == Contact(15.0)
        await late.goodbye()
        real.refused = "another machine has this id"
        assert (late.refused, real.left, real.beats) == (real.refused, True, [BEAT])
        await messages.aclose()

    asyncio.run(story())


class Following(FakeSource):
    """Says when nobody listens any more."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = False

    async def messages(self) -> AsyncGenerator[Message, None]:
        try:
            async with aclosing(super().messages()) as messages:
                async for message in messages:
                    yield message
        finally:
            self.ended = True


def test_who_stops_listening_ends_the_real_stream_at_once() -> None:
    async def story() -> None:
        late, real = LateSource(), Following()
        real.full()
        late.put(real)
        async with aclosing(late.messages()) as messages:
            await anext(messages)
        assert real.ended

    asyncio.run(story())
