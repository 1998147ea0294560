"""A plan's steps as transactions on the store.

A batch is one transaction: the leader's key, every unit that it places, and every lost machine that it takes
units from must be as they were. Where units are not, its steps are tried one by one, in order, and the
scheduler is told which did not come about; where a machine is back, all is read anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.fleet.schedule.errors import DeposedError, RereadError
from skerry.fleet.schedule.model import Verb
from skerry.fleet.state.node import Liveness, presence_key
from skerry.fleet.state.placement import PlacementRecord, placement_key
from skerry.fleet.state.unit import unit_key
from skerry.fleet.store.interface import Compare, Delete, Entry, Field, Get, Put, Relation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from skerry.fleet.schedule.model import Step
    from skerry.fleet.schedule.scheduler import Scheduler
    from skerry.fleet.store.interface import Operation, Store

MOST_STEPS = 127
"""One operation for each; etcd takes 128 operations, and as many comparisons, in its default settings."""


async def carry_out(
    store: Store,
    steps: Sequence[Step],
    scheduler: Scheduler,
    fence: Compare,
    now: float,
    presence: Mapping[str, int],
) -> list[tuple[str, Entry | None, int]]:
    """Write the steps. Units that were changed by others meanwhile are returned as the store has them: key,
    entry (None where it is gone), revision. `presence` has the revision of each machine's presence. Raises
    StoreError, DeposedError, RereadError."""
    lost = _still_lost(steps, scheduler, presence)
    compares = {step.unit: _unchanged(step, scheduler) for step in steps if step.verb is Verb.PLACE}
    # A unit may leave a machine and come back within one plan: the last word counts.
    operations = {placement_key(step.node, step.unit): _operation(step, now) for step in steps}
    result = await store.transact([fence, *lost.values(), *compares.values()], list(operations.values()))
    if result.succeeded:
        return []
    entry = await store.get(fence.key)
    if entry is None or entry.create_revision != fence.operand:
        raise DeposedError("another server leads now")
    for node, compare in lost.items():
        if not (await store.transact([compare], [Get(compare.key)])).succeeded:
            raise RereadError(f"machine {node} was heard of while its units were about to move")
    changed: list[tuple[str, Entry | None, int]] = []
    for step in steps:
        own = [compares[step.unit]] if step.verb is Verb.PLACE else []
        result = await store.transact([fence, *lost.values(), *own], [_operation(step, now)])
        if not result.succeeded and not own:
            raise DeposedError("another server leads now, or a lost machine is back")
        if not result.succeeded:
            scheduler.unplaced(step.unit, step.node)
            key = unit_key(step.unit)
            there = await store.get(key)
            changed.append((key, there, result.revision if there is None else there.mod_revision))
    return changed


def _still_lost(
    steps: Sequence[Step], scheduler: Scheduler, presence: Mapping[str, int]
) -> dict[str, Compare]:
    """For every lost machine that units are taken from: that nobody has heard of it since.

    One that is back may have started a fenced unit by the placement that is about to go.
    """
    nodes = {step.node for step in steps if step.verb is Verb.REMOVE and step.node in scheduler.grounds}
    return {
        node: Compare(presence_key(node), Field.MOD_REVISION, Relation.EQUAL, presence.get(node, 0))
        for node in sorted(nodes)
        if scheduler.grounds[node].spec.liveness is not Liveness.READY
    }


def _unchanged(step: Step, scheduler: Scheduler) -> Compare:
    revision = scheduler.units[step.unit].revision
    return Compare(unit_key(step.unit), Field.MOD_REVISION, Relation.EQUAL, revision)


def _operation(step: Step, now: float) -> Operation:
    if step.verb is Verb.REMOVE:
        return Delete(placement_key(step.node, step.unit))
    placement = PlacementRecord(step.unit, step.node, step.why, now, leaving=step.verb is Verb.LEAVE)
    return Put(placement.key, placement.encode())
