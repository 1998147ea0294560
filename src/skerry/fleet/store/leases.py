"""When each lease of a local store runs out, by the clock that the store was given.

Times live in memory only: after a restart every lease has its full time again, because nobody could
renew it while the store was down. What ends a lease is the store's own command, in order with all others.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
from typing import TYPE_CHECKING

from skerry.fleet.store.errors import LeaseNotFoundError, StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from skerry.fleet.store.interface import Lease
    from skerry.kit.clock import Clock

RETRY_S = 1.0
"""How long a lease lives on that could not be ended, for instance because the disk is full."""

ROUNDING_S = 1e-6
_log = logging.getLogger(__name__)


class LeaseTimes:
    """The leases that are alive, and until when."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._alive: dict[int, tuple[Lease, float]] = {}
        self._queue: list[tuple[float, int]] = []
        self._sooner = asyncio.Event()

    def start(self, lease: Lease, *, remaining_s: float | None = None) -> None:
        """Count from now, for the lease's whole time or for `remaining_s`."""
        deadline = self._clock.monotonic() + (lease.ttl_s if remaining_s is None else remaining_s)
        self._alive[lease.id] = (lease, deadline)
        heapq.heappush(self._queue, (deadline, lease.id))
        if self._queue[0] == (deadline, lease.id):
            self._sooner.set()

    def renew(self, lease: int) -> Lease:
        """Start the lease's time anew. Raises LeaseNotFoundError."""
        found, _ = self._find(lease)
        self.start(found)
        return found

    def remaining_s(self, lease: int) -> float:
        """Raises LeaseNotFoundError, also for a lease whose time is up but whose keys still stand."""
        return self._find(lease)[1] - self._clock.monotonic()

    def take(self, lease: int) -> Lease:
        """Stop counting for a lease. Raises LeaseNotFoundError."""
        found, _ = self._find(lease)
        del self._alive[lease]
        return found

    async def run(self, end: Callable[[int], Awaitable[None]]) -> None:
        """End each lease when its time is up, those of one moment in the order of their ids; for ever."""
        while True:
            # Together, so that they can share a commit; each is submitted in its turn.
            await asyncio.gather(*(self._end(lease, end) for lease in self._take_due()))
            await self._until_next()

    async def _end(self, lease: Lease, end: Callable[[int], Awaitable[None]]) -> None:
        try:
            await end(lease.id)
        except LeaseNotFoundError:
            pass
        except StoreError as error:
            _log.warning("Lease %d could not be ended, trying again: %s", lease.id, error)
            self.start(lease, remaining_s=RETRY_S)

    def _find(self, lease: int) -> tuple[Lease, float]:
        found = self._alive.get(lease)
        if found is None or found[1] <= self._clock.monotonic():
            raise LeaseNotFoundError(f"there is no lease {lease}")
        return found

    def _take_due(self) -> list[Lease]:
        due = []
        now = self._clock.monotonic() + ROUNDING_S
        while self._queue and self._queue[0][0] <= now:
            deadline, lease = heapq.heappop(self._queue)
            if self._is_current(deadline, lease):
                due.append(self._alive.pop(lease)[0])
        return due

    def _is_current(self, deadline: float, lease: int) -> bool:
        return lease in self._alive and self._alive[lease][1] == deadline

    async def _until_next(self) -> None:
        self._sooner.clear()
        while self._queue and not self._is_current(*self._queue[0]):
            heapq.heappop(self._queue)
        if not self._queue:
            await self._sooner.wait()
            return
        sleep = self._clock.sleep(self._queue[0][0] - self._clock.monotonic())
        sleeping = asyncio.ensure_future(sleep)
        called = asyncio.ensure_future(self._sooner.wait())
        try:
            await asyncio.wait({sleeping, called}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sleeping, called):
                task.cancel()
            # Not awaited one by one: their cancellation could not be told from our own, which would be lost.
            await asyncio.wait({sleeping, called})


def check_ttl(ttl_s: float) -> float:
    """Raises ValueError for a time that no lease can have."""
    if not (math.isfinite(ttl_s) and ttl_s > 0):
        raise ValueError(f"a lease cannot last {ttl_s} s")
    return ttl_s
