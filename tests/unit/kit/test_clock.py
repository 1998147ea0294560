"""The clock that tests turn by hand keeps its promises; so does the real one."""

from __future__ import annotations

import asyncio

from fakes.clock import FakeClock
from skerry.kit.clock import Clock, SystemClock


def test_sleepers_wake_in_the_order_of_their_deadlines() -> None:
    async def story() -> list[tuple[str, float]]:
        clock = FakeClock()
        woken: list[tuple[str, float]] = []

        async def sleeper(name: str, *naps: float) -> None:
            for nap in naps:
                await clock.sleep(nap)
                woken.append((name, clock.monotonic()))

        async with asyncio.TaskGroup() as group:
            group.create_task(sleeper("long", 5))
            group.create_task(sleeper("short", 2, 2, 2))
            await clock.advance(6)
        return woken

    assert asyncio.run(story()) == [("short", 2), ("short", 4), ("long", 5), ("short", 6)]


def test_time_stands_still_between_advances() -> None:
    async def story() -> tuple[int, float, float]:
        clock = FakeClock(now=100)
        task = asyncio.create_task(clock.sleep(3))
        await clock.advance(2.5)
        waiting = clock.sleeping
        task.cancel()
        return waiting, clock.monotonic(), clock.now()

    assert asyncio.run(story()) == (1, 2.5, 102.5)


def test_a_cancelled_sleeper_does_not_hold_up_the_others() -> None:
    async def story() -> bool:
        clock = FakeClock()
        gone = asyncio.create_task(clock.sleep(1))
        stays = asyncio.create_task(clock.sleep(2))
        await clock.advance(0)
        gone.cancel()
        await clock.advance(2)
        return stays.done()

    assert asyncio.run(story())


def test_the_system_clock_goes_forward() -> None:
    clock: Clock = SystemClock()
    before = clock.monotonic()
    asyncio.run(clock.sleep(0.001))
    assert clock.monotonic() > before
    assert clock.now() > 1_700_000_000
