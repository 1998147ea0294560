"""Why a unit is where it is, or why it is nowhere: for people, and for `skerry unit explain`.

Every machine that does not run it is asked in vain: `refusals` holds, per constraint, how many machines fail
it. A machine that fails several counts for each of them.
"""

from __future__ import annotations

import enum
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from skerry.fleet.schedule.ground import Ground, Unit
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


def explain(scheduler: Scheduler, unit: str, *, decided: str = "") -> Explanation:
    """What the scheduler would answer a person who asks about this unit; it changes nothing.

    `decided` is the sentence in the unit's placement record, if it has one: why it was placed there.
    """
    known = scheduler.units.get(unit)
    if known is None or not known.known:
        return Explanation(unit, Standing.UNKNOWN, "there is no such unit")
    node = known.ground.id if known.ground else None
    if known.leaving:
        why = "it is fenced, and goes elsewhere when its machine has said that it stopped, or is lost"
        return Explanation(unit, Standing.LEAVING, why, node)
    if not known.active:
        why = "it is to be on no machine: it was submitted or unloaded, not loaded or started"
        return Explanation(unit, Standing.INACTIVE, why, node)
    grounds = [scheduler.grounds[name] for name in sorted(scheduler.grounds)]
    if known.asks.is_global:
        return _global(scheduler, known, grounds)
    others = [ground for ground in grounds if ground is not known.ground]
    able = sum(scheduler.rules.able(known, ground) for ground in others)
    refusals = _refusals(scheduler, known, others)
    if known.ground is not None:
        going = scheduler.rules.why_not_stay(known)
        why = f"it is about to go: {going}" if going else decided or "it was placed there and may stay"
        return Explanation(unit, Standing.PLACED, why, node, len(grounds), able + 1, refusals)
    return Explanation(unit, Standing.PENDING, _waits(able, len(grounds)), None, len(grounds), able, refusals)


def _global(scheduler: Scheduler, unit: Unit, grounds: list[Ground]) -> Explanation:
    running = [ground for ground in grounds if unit.name in ground.running]
    others = [ground for ground in grounds if unit.name not in ground.running]
    why = f"it is Global: {len(running)} of {_machines(len(grounds))} may run it, and do"
    refusals = _refusals(scheduler, unit, others)
    return Explanation(unit.name, Standing.GLOBAL, why, None, len(grounds), len(running), refusals)


def _waits(able: int, machines: int) -> str:
    if not machines:
        return "there is no machine"
    if able:
        return f"it is about to be placed: {able} of {_machines(machines)} may run it"
    return f"none of {_machines(machines)} may run it" if machines > 1 else "the only machine may not run it"


def _refusals(scheduler: Scheduler, unit: Unit, grounds: list[Ground]) -> tuple[Refusal, ...]:
    counted = Counter(said for ground in grounds for said in scheduler.rules.refusals(unit, ground))
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Refusal(constraint, reason, nodes) for (constraint, reason), nodes in ordered)


def _machines(number: int) -> str:
    return f"{number} machine{'' if number == 1 else 's'}"
