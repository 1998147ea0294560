"""Time as an argument: whoever waits or asks the time is given a clock, so that a test can turn it.

`monotonic` never goes back and measures spans; `now` is what people and files are told. The fake that
tests turn by hand stands in tests/fakes/clock.py.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds since some moment of the clock's own; never goes back."""

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC, as the system has it; may jump."""

    async def sleep(self, seconds: float) -> None:
        """Return when `seconds` have passed; at once, but not before others had a turn, for 0 or less."""


class SystemClock:
    """The machine's own clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
