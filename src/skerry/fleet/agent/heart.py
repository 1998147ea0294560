"""Says every few seconds that this machine lives, and what is new about it; what is answered is a lease.

While fenced units are here it beats faster, so that the loss of a server, or a new leader, is overcome before
their lease ends.
"""

from __future__ import annotations

import logging
import math
import random
from typing import TYPE_CHECKING

from skerry.fleet.presence.heartbeat import HEARTBEAT_S, Heartbeat
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from skerry.fleet.agent.fence import Fence
    from skerry.fleet.agent.source import Source
    from skerry.fleet.state.node import Facts
    from skerry.kit.clock import Clock

FENCED_S = 2.0
RETRY_S = 1.0
SOON_S = 0.1
FACTS_S = 60.0

log = logging.getLogger(__name__)


class Heart:
    """Beats until cancelled; `boot` names this run of the machine."""

    def __init__(
        self,
        source: Source,
        fence: Fence,
        clock: Clock,
        boot: str,
        facts: Callable[[], Facts],
        chance: random.Random | None = None,
    ) -> None:
        self._source = source
        self._fence = fence
        self._clock = clock
        self._boot = boot
        self._facts = facts
        self._chance = chance or random.Random()  # noqa: S311  spreads load, keeps no secret
        self._told: Facts | None = None
        self._looked = -math.inf
        self._seen: Facts | None = None

    async def run(self) -> None:
        said: str | None = None
        failures = 0
        while True:
            try:
                ttl_s = await self.beat()
            except SkerryError as error:
                failures += 1
                if failures > 1 and error.message != said:  # once is nothing: a server restarts, say
                    log.warning("no server answers: %s", error.message)
                    said = error.message
                await self._clock.sleep(RETRY_S * (1 - 0.3 * self._chance.random()))
                continue
            if said is not None:
                log.info("a server answers again")
            said, failures = None, 0
            if ttl_s == 0:
                await self._clock.sleep(SOON_S)
                continue  # it wants to know more first
            if math.isinf(ttl_s):  # nobody else has to know that it lives, only what is new
                await self._clock.sleep(FACTS_S)
                while self._now() == self._told:
                    await self._clock.sleep(FACTS_S)
                continue
            every_s = FENCED_S if self._fence.needed else HEARTBEAT_S
            await self._clock.sleep(every_s * (1 - 0.1 * self._chance.random()))

    async def beat(self) -> float:
        """Beat once; how long the servers wait for the next. Raises SkerryError."""
        facts = self._now()
        sent = self._clock.monotonic()
        news = facts if facts != self._told else None
        contact = await self._source.heartbeat(Heartbeat(self._boot, self._clock.now(), news))
        self._told = None if contact.tell else facts
        if contact.ttl_s > 0:
            self._fence.answered(sent, contact)
        return contact.ttl_s

    def _now(self) -> Facts:
        if self._seen is None or self._clock.monotonic() - self._looked >= FACTS_S:
            self._looked = self._clock.monotonic()
            self._seen = self._facts()
        return self._seen
