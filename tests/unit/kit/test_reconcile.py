"""The loop: at once, on event, after a pause, and again after a failure."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from fakes.clock import FakeClock, settle
from skerry.kit.errors import SkerryError
from skerry.kit.reconcile import FIRST_RETRY_S, JITTER, reconcile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EVERY_S = 100.0


@dataclass
class Thing:
    clock: FakeClock = field(default_factory=FakeClock)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    turns: list[float] = field(default_factory=list)
    failing: bool = False
    sentence: str | None = None

    async def turn(self) -> str | None:
        self.turns.append(self.clock.monotonic())
        if self.failing:
            raise SkerryError("it is away")
        return self.sentence

    @asynccontextmanager
    async def looping(self) -> AsyncIterator[None]:
        loop = reconcile(self.turn, self.wake, every_s=EVERY_S, clock=self.clock, chance=random.Random(1))  # noqa: S311
        task = asyncio.ensure_future(loop)
        await settle()
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_turn_at_once() -> None:
    async def scenario() -> Thing:
        thing = Thing()
        async with thing.looping():
            return thing

    assert asyncio.run(scenario()).turns == [0.0]


def test_a_turn_on_an_event() -> None:
    async def scenario() -> Thing:
        thing = Thing()
        async with thing.looping():
            await thing.clock.advance(5)
            thing.wake.set()
            await settle()
            return thing

    assert asyncio.run(scenario()).turns == [0.0, 5.0]


def test_a_turn_after_a_pause_with_jitter() -> None:
    async def scenario() -> Thing:
        thing = Thing()
        async with thing.looping():
            await thing.clock.advance(10 * EVERY_S)
            return thing

    turns = asyncio.run(scenario()).turns
    pauses = [after - before for before, after in itertools.pairwise(turns)]
    assert len(turns) >= 10
    assert all(EVERY_S * (1 - JITTER) <= pause <= EVERY_S for pause in pauses)
    assert len(set(pauses)) > 1


def test_failures_are_tried_again_sooner_then_slower_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> Thing:
        thing = Thing(failing=True)
        async with thing.looping():
            await thing.clock.advance(FIRST_RETRY_S * 7)
            return thing

    turns = asyncio.run(scenario()).turns
    assert turns == [0.0, FIRST_RETRY_S, FIRST_RETRY_S * 3, FIRST_RETRY_S * 7]
    assert [r.message for r in caplog.records] == ["it is away; trying again"]


def test_a_turn_that_changed_something_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def scenario() -> None:
        async with Thing(sentence="one unit placed").looping():
            pass

    asyncio.run(scenario())
    assert [r.message for r in caplog.records] == ["one unit placed"]


def test_a_bug_ends_the_loop() -> None:
    async def turn() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(reconcile(turn, asyncio.Event(), every_s=1, clock=FakeClock()))
