"""Why a unit is where it is, or why it is nowhere: for people, and for `skerry unit explain`.

For a unit that waits, every machine is asked in vain: `refusals` holds, per constraint, how many machines
fail it. A machine that fails several counts for each of them.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from skerry.fleet.schedule.scheduler import Scheduler


class Standing(enum.StrEnum):
    """LEAVING: fenced, and its machine has yet to say that it stopped. GLOBAL: on every machine that may."""

    UNKNOWN = "unknown"
    INACTIVE = "inactive"
    PENDING = "pending"
    PLACED = "placed"
    LEAVING = "leaving"
    GLOBAL = "global"


class Refusal(msgspec.Struct, frozen=True):
    """One constraint, as its author could have written it, why it is not met, and on how many machines."""

    constraint: str
    reason: str
    nodes: int


class Explanation(msgspec.Struct, frozen=True):
    """The whole answer. `why` is a sentence without its full stop; `nodes` is how many machines there are,
    `able` how many of them may run the unit now (for a Global unit: run it)."""

    unit: str
    standing: Standing
    why: str
    node: str | None = None
    nodes: int = 0
    able: int = 0
    refusals: tuple[Refusal, ...] = ()


def explain(scheduler: Scheduler, unit: str) -> Explanation:
    """What the scheduler would answer a person who asks about this unit; it changes nothing."""
    raise NotImplementedError
