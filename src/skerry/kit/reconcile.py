"""The loop that brings a thing into agreement with what is wanted, written once.

A turn is taken at once, then on every event, and every N seconds with jitter so that many machines do not
do it in step. A turn that changed something says so in one plain sentence, which goes to the journal.
A turn that fails with a sentence is tried again, sooner first and then more slowly; a bug ends the loop.
Run it inside a task group: it goes on until it is cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from skerry.kit.clock import Clock

FIRST_RETRY_S = 0.5
JITTER = 0.2

log = logging.getLogger(__name__)


async def reconcile(
    turn: Callable[[], Awaitable[str | None]],
    wake: asyncio.Event,
    *,
    every_s: float,
    clock: Clock,
    chance: random.Random | None = None,
) -> None:
    """Take turns for ever. `wake` is the event; one that comes during a turn leads to another turn.

    `every_s` is the longest pause, made shorter by up to a fifth by `chance`.
    """
    chance = chance or random.Random()  # noqa: S311  spreads load, keeps no secret
    failures = 0
    said = ""
    while True:
        wake.clear()
        pause_s = every_s * (1 - JITTER * chance.random())
        try:
            sentence = await turn()
        except SkerryError as error:
            pause_s = min(pause_s, FIRST_RETRY_S * 2**failures)
            failures = min(failures + 1, 30)
            if error.message != said:
                log.warning("%s; trying again", error.message)
            said = error.message
        else:
            failures, said = 0, ""
            if sentence:
                log.info("%s", sentence)
        await wait_for(wake, pause_s, clock)


async def wait_for(event: asyncio.Event, at_most_s: float, clock: Clock) -> bool:
    """Wait for an event or for time to pass, whichever is first; True where it was the event."""
    if event.is_set():
        return True
    waiting = asyncio.ensure_future(event.wait())
    sleeping = asyncio.ensure_future(clock.sleep(at_most_s))
    try:
        await asyncio.wait((waiting, sleeping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        sleeping.cancel()
        await asyncio.gather(waiting, sleeping, return_exceptions=True)
    return event.is_set()
