"""A plan's steps as transactions on the store.

A batch is one transaction: the leader's key and every unit that it places must be as they were. Where they
are not, its steps are tried one by one, in order, and the scheduler is told which did not come about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.fleet.schedule.errors import DeposedError
from skerry.fleet.schedule.model import Verb
from skerry.fleet.state.placement import PlacementRecord, placement_key
from skerry.fleet.state.unit import unit_key
from skerry.fleet.store.interface import Compare, Delete, Entry, Field, Put, Relation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skerry.fleet.schedule.model import Step
    from skerry.fleet.schedule.scheduler import Scheduler
    from skerry.fleet.store.interface import Operation, Store

MOST_STEPS = 127
"""One operation for each; etcd takes 128 operations, and as many comparisons, in its default settings."""


async def carry_out(
    store: Store, steps: Sequence[Step], scheduler: Scheduler, fence: Compare, now: float
) -> list[tuple[str, Entry | None, int]]:
    """Write the steps. Units that were changed by others meanwhile are returned as the store has them: key,
    entry (None where it is gone), revision. Raises StoreError, DeposedError."""
    compares = {step.unit: _unchanged(step, scheduler) for step in steps if step.verb is Verb.PLACE}
    # A unit may leave a machine and come back within one plan: the last word counts.
    operations = {placement_key(step.node, step.unit): _operation(step, now) for step in steps}
    result = await store.transact([fence, *compares.values()], list(operations.values()))
    if result.succeeded:
        return []
    entry = await store.get(fence.key)
    if entry is None or entry.create_revision != fence.operand:
        raise DeposedError("another server leads now")
    changed: list[tuple[str, Entry | None, int]] = []
    for step in steps:
        own = [compares[step.unit]] if step.verb is Verb.PLACE else []
        result = await store.transact([fence, *own], [_operation(step, now)])
        if not result.succeeded and not own:
            raise DeposedError("another server leads now")
        if not result.succeeded:
            scheduler.unplaced(step.unit, step.node)
            key = unit_key(step.unit)
            there = await store.get(key)
            changed.append((key, there, result.revision if there is None else there.mod_revision))
    return changed


def _unchanged(step: Step, scheduler: Scheduler) -> Compare:
    revision = scheduler.units[step.unit].revision
    return Compare(unit_key(step.unit), Field.MOD_REVISION, Relation.EQUAL, revision)


def _operation(step: Step, now: float) -> Operation:
    if step.verb is Verb.REMOVE:
        return Delete(placement_key(step.node, step.unit))
    placement = PlacementRecord(step.unit, step.node, step.why, now, leaving=step.verb is Verb.LEAVE)
    return Put(placement.key, placement.encode())
