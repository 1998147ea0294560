"""A clock that stands still until a test turns it.

`advance` wakes sleepers in the order of their deadlines, those of one moment in the order in which they
lay down, and lets each run until it rests again before time goes on: a test never has to wait.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools

from skerry.kit.clock import SystemClock

TURNS = 50
"""How often the event loop goes round for a woken task to come to rest: more than any chain of awaits."""


class FakeClock:
    """Implements skerry.kit.clock.Clock; starts at a moment that is easy to recognise in output."""

    def __init__(self, *, now: float = 1_700_000_000.0) -> None:
        self._start = now
        self._passed = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self._passed

    def now(self) -> float:
        return self._start + self._passed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._passed + seconds, next(self._order), woken))
        await woken

    @property
    def sleeping(self) -> int:
        """How many tasks wait for this clock."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass: every sleeper due is woken at its own moment, and runs until it rests."""
        end = self._passed + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            deadline, _, woken = heapq.heappop(self._sleepers)
            if woken.done():
                continue
            self._passed = deadline
            woken.set_result(None)
            await settle()
        self._passed = end


SPEED = 5
"""How much faster stories pass before real programs: what the stories call a second is a fifth of one."""


class WallClock(SystemClock):
    """Real time for real programs, with the verb of the other: there a test has to wait."""

    async def advance(self, seconds: float) -> None:
        await asyncio.sleep(seconds / SPEED)


async def settle() -> None:
    """Let every task that can run do so until it rests."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
