"""Following the store for as long as it is there: anew after a compaction, again after an outage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.fleet.store.errors import CompactedError, StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from skerry.kit.clock import Clock


async def keep_following(
    turn: Callable[[], Awaitable[None]], clock: Clock, *, retry_s: float, away: Callable[[str], None]
) -> None:
    """Take turns until one returns, for then the store was closed. A turn lists what is there and watches.

    `away` is told why the store cannot be followed, each time that it is tried again.
    """
    while True:
        try:
            await turn()
        except CompactedError:
            continue
        except StoreError as error:
            away(error.message)
            await clock.sleep(retry_s)
        else:
            return
