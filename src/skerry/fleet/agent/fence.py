"""Until when this machine may run what must never run twice: the lease that it has of the servers.

    /run/skerry/lease   a whole number: hundredths of a second of uptime until which the lease holds

A heartbeat that was *sent* at a moment and was answered is good for LEASE_S from that moment, whatever time
the answer took; where the answer says that it counts from earlier, from then. The file is read by
skerry-lease.service, on which fenced units depend; it is written only while there are such units. Uptime goes
on while a machine sleeps, and is the same for both processes.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING

from skerry.fleet.agent.fence_drop_in import LEASE_S
from skerry.kit.reconcile import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from skerry.fleet.presence.heartbeat import Contact
    from skerry.kit.clock import Clock

LEASE_FILE = "run/skerry/lease"

log = logging.getLogger(__name__)


class Fence:
    """The lease. `on_lapse` is called when it has ended, `on_contact` after each answer."""

    def __init__(
        self,
        root: Path,
        clock: Clock,
        uptime: Callable[[], float],
        on_lapse: Callable[[], None],
        on_contact: Callable[[], None],
    ) -> None:
        self._path = root / LEASE_FILE
        self._clock = clock
        self._uptime = uptime
        self._on_lapse = on_lapse
        self._on_contact = on_contact
        self._needed = False
        self._renewed = asyncio.Event()
        self._until = self._recall()
        self._lapsed = not self.holds
        self.revision = 0

    @property
    def holds(self) -> bool:
        """Whether fenced units may go on running."""
        return self._clock.monotonic() < self._until

    @property
    def needed(self) -> bool:
        return self._needed

    def need(self, *, needed: bool) -> None:
        """Whether there is a unit here that depends on the lease."""
        if needed and not self._needed:
            self._needed = True
            self._write()
        self._needed = needed

    def answered(self, sent: float, contact: Contact) -> None:
        """The leader has heard what was sent at `sent`, by the clock."""
        self._check()
        self.revision = contact.revision
        until = math.inf if math.isinf(contact.ttl_s) else sent - contact.age_s + LEASE_S
        if until > self._until and until > self._clock.monotonic():
            self._until = until
            self._lapsed = False
            self._renewed.set()
            if self._needed:
                self._write()
        self._on_contact()

    async def run(self) -> None:
        """Tell of each end of the lease as it happens, until cancelled."""
        while True:
            self._check()
            self._renewed.clear()
            if self._lapsed or math.isinf(self._until):
                await self._renewed.wait()
            else:
                await wait_for(self._renewed, max(self._until - self._clock.monotonic(), 0), self._clock)

    def _check(self) -> None:
        if not self._lapsed and not self.holds:
            self._lapsed = True
            if self._needed:
                log.warning("no server has answered for %g s: what is fenced stops here", LEASE_S)
            self._on_lapse()

    def _recall(self) -> float:
        """Until when the lease of an earlier life of this program holds, by the clock."""
        try:
            end = int(self._path.read_text()) / 100
        except (OSError, ValueError):
            return -math.inf
        # In this order: were the process stopped in between, the lease would only seem shorter.
        uptime = self._uptime()
        return self._clock.monotonic() + end - uptime if end < uptime + LEASE_S else -math.inf

    def _write(self) -> None:
        if math.isinf(self._until):
            return
        uptime = self._uptime()
        end = uptime + self._until - self._clock.monotonic()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._path.with_name("lease.new")
            fresh.write_text(f"{math.floor(end * 100)}\n")
            fresh.rename(self._path)
        except OSError as error:
            log.warning("the lease cannot be written, what is fenced will stop: %s", error)
