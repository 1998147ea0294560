"""The times of leases end with whoever runs them, whenever that is."""

from __future__ import annotations

import asyncio

from fakes.clock import FakeClock
from skerry.fleet.store.interface import Lease
from skerry.fleet.store.leases import LeaseTimes

ANY_TURN = 12
"""More turns of the event loop than it takes to be woken, clean up and lie down again."""


def test_it_can_be_cancelled_at_every_turn_of_being_woken() -> None:
    async def cancelled_after(turns: int) -> bool:
        times = LeaseTimes(FakeClock())
        times.start(Lease(1, 30.0))

        async def end(lease: int) -> None:
            raise AssertionError("no time passes here")

        running = asyncio.create_task(times.run(end))
        for _ in range(ANY_TURN):
            await asyncio.sleep(0)
        times.start(Lease(2, 10.0))
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait((running,), timeout=5)
        was_cancelled = running.cancelled()
        running.cancel()
        return was_cancelled

    assert [n for n in range(ANY_TURN) if not asyncio.run(cancelled_after(n))] == []
