"""Writes what is wanted: checks the texts, plans on a snapshot, and commits all or nothing.

A transaction compares every record that it stands on, so of two requests that meet the second plans
again on what the first left. What `carry_out` has returned is durable. Texts are checked before the
transaction, by systemd's and Podman's own programs, in a thread.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from skerry.entry.rest.codec import RequestError
from skerry.entry.rest.companions import is_quadlet
from skerry.entry.rest.mirror import Mirror
from skerry.entry.rest.shown import Shown
from skerry.entry.rest.snapshot import Snapshot, is_glob, matching, read_snapshot, stored_unit
from skerry.entry.rest.verbs import Plan, plan
from skerry.fleet.state.unit import UnitRecord, unit_key
from skerry.fleet.store.interface import Compare, Delete, Field, Put, Relation, absent
from skerry.host.units.check import check_files, refuse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from skerry.entry.rest.machine import Node
    from skerry.entry.rest.snapshot import Stored
    from skerry.entry.rest.views import Offer, Order
    from skerry.fleet.store.interface import Operation, Store
    from skerry.kit.clock import Clock
    from skerry.kit.errors import Problem

ATTEMPTS = 20
SETTLE_S = 1.5  # so long without news, then a unit counts as having come to rest


class Check(Protocol):
    """skerry.host.units.check.check_unit, or a test's stand-in that starts no programs."""

    def __call__(
        self,
        name: str,
        text: str,
        companions: Mapping[str, str] | None = None,
        *,
        file: str | None = None,
        drop_ins: Iterable[tuple[str, str]] = (),
    ) -> list[Problem]: ...


@dataclass(frozen=True, slots=True)
class Committed:
    """A plan that is in the store as of `revision`; `before` is what it was made on."""

    plan: Plan
    before: Snapshot
    revision: int
    problems: tuple[Problem, ...]


class Desired:
    """The desired units of one store, as the API on `node` has them. Its mirror's `run` is to be started."""

    def __init__(self, store: Store, node: Node, check: Check, clock: Clock) -> None:
        self.store = store
        self.node = node
        self.mirror = Mirror(store, clock)
        self.settle_s = SETTLE_S
        self._check = check

    async def fresh(self) -> Shown:
        """What is to be shown, with everything that was acknowledged until now. Raises StoreError."""
        return Shown(await self.mirror.fresh(), self.node)

    def shown(self) -> Shown:
        """What is to be shown, as far as this server has heard."""
        return Shown(self.mirror.now, self.node)

    async def snapshot(self, names: Iterable[str], offers: Iterable[Offer]) -> Snapshot:
        """The records that an order over `names` can mean, with those of the Quadlet files beside it."""
        now = await self.mirror.fresh()
        revision = self.mirror.revision
        wanted: list[str] = []
        for name in names:
            wanted += matching(now.units, name) if is_glob(name) else [name]
        texts = {offer.name: offer.text for offer in offers}
        return await read_snapshot(self.store, revision, [*wanted, *texts], texts)

    async def get(self, name: str) -> Stored | None:
        """One record. Raises RecordError where this version cannot read it."""
        return await stored_unit(self.store, name)

    async def carry_out(self, order: Order) -> Committed:
        """Plan an order and commit it. Raises RequestError, UnitRefusedError, StoreError."""
        checked: dict[Offer, tuple[Problem, ...]] = {}
        for _ in range(ATTEMPTS):
            now = await self.snapshot(order.names, order.offers)
            planned = plan(order, now)
            for offer in planned.checked:
                if offer not in checked:
                    checked[offer] = await self.check(offer, now, order.offers)
            revision = await self._commit(planned, now)
            if revision is not None:
                problems = tuple(p for offer in planned.checked for p in checked[offer])
                return Committed(planned, now, revision, problems)
        raise RequestError(409, "conflict", "others keep changing the same units", hint="try again")

    async def check(self, offer: Offer, now: Snapshot, beside: Iterable[Offer]) -> tuple[Problem, ...]:
        """The warnings of an offered unit. Raises UnitRefusedError where there are errors."""
        problems = await self.problems_of(offer, now, beside)
        refuse(offer.name, problems)
        return problems

    async def problems_of(self, offer: Offer, now: Snapshot, beside: Iterable[Offer]) -> tuple[Problem, ...]:
        """Everything that can be said of an offered unit; nothing is refused."""
        companions = {name: s.record.text for name, s in now.units.items() if is_quadlet(name)}
        companions |= {o.name: o.text for o in beside if is_quadlet(o.name)}
        companions.pop(offer.name, None)
        drop_ins = [(d.name, d.text) for d in offer.drop_ins]

        def run() -> list[Problem]:
            file = offer.file or None
            return self._check(offer.name, offer.text, companions, file=file, drop_ins=drop_ins)

        beside_it = check_files(offer.name, [(f.name, f.text) for f in offer.files])
        return (*beside_it, *await asyncio.to_thread(run))

    async def put(self, record: UnitRecord, stored: Stored | None) -> bool:
        """Write one record if nobody touched it since `stored` was read; whether it was written."""
        key = unit_key(record.name)
        result = await self.store.transact([_stands_on(key, stored)], [Put(key, record.encode())])
        return result.succeeded

    async def remove(self, name: str) -> bool:
        """Delete a record; False where there was none."""
        result = await self.store.transact([], [Delete(unit_key(name))])
        return bool(result.found[0])

    async def _commit(self, planned: Plan, now: Snapshot) -> int | None:
        """The revision from which the plan holds, None where somebody came between."""
        if not planned.changes:
            return now.revision
        compares: list[Compare] = []
        operations: list[Operation] = []
        for name, record in planned.changes.items():
            key = unit_key(name)
            if name not in now.unreadable:
                compares.append(_stands_on(key, now.units.get(name)))
            operations.append(Delete(key) if record is None else Put(key, record.encode()))
        result = await self.store.transact(compares, operations)
        return result.revision if result.succeeded else None


def _stands_on(key: str, stored: Stored | None) -> Compare:
    if stored is None:
        return absent(key)
    return Compare(key, Field.MOD_REVISION, Relation.EQUAL, stored.mod_revision)
