"""The leader's loop: what the store says, told to the scheduler; what that decides, written to the store.

    units, nodes, presence ─ one listing, then watches ─→ Scheduler ─ steps ─→ placements, in transactions

Every transaction compares the leader's key, so that one who leads no longer changes nothing, and the
revision of each unit that it places. What arrives while one is under way is decided together after it. Only
the leader writes placements, so they are read once. Whatever goes wrong with the store ends in listing anew:
any part of a plan may be done and the rest lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from skerry.fleet.schedule.carry_out import MOST_STEPS, carry_out
from skerry.fleet.schedule.errors import ClosedError, RereadError
from skerry.fleet.schedule.model import NodeSpec, Verb
from skerry.fleet.schedule.reading import UnitReader, node_spec
from skerry.fleet.schedule.scheduler import Scheduler
from skerry.fleet.state.document import RecordError
from skerry.fleet.state.node import NODES_PREFIX, PRESENCE_PREFIX, Liveness, NodeRecord, PresenceRecord
from skerry.fleet.state.placement import PLACEMENTS_PREFIX, PlacementRecord
from skerry.fleet.state.unit import UNITS_PREFIX, UnitRecord, report_key
from skerry.fleet.store.interface import EventKind
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from skerry.fleet.schedule.model import Step
    from skerry.fleet.store.interface import Compare, Entry, Store
    from skerry.kit.clock import Clock

FENCE_S = 30.0
"""After so long a machine that nobody knows has stopped its fenced units: two TTLs."""

RETRY_S = 1.0
READ_AT_ONCE = 200
"""Records that are read before others have their turn on the event loop."""

log = logging.getLogger(__name__)


class Leading(Protocol):
    """Who leads; fleet.presence.leader has it. `fence` raises a SkerryError where this server does not."""

    @property
    def is_leader(self) -> bool: ...

    @property
    def fence(self) -> Compare: ...

    def changes(self) -> AsyncGenerator[object, None]:
        """Something now, and whenever it changes who leads."""


@dataclass(frozen=True, slots=True)
class _Stopped:
    """A machine no longer reports this unit, which is leaving it."""

    unit: str
    node: str


@dataclass(frozen=True, slots=True)
class _Expired:
    """Nobody has known this machine for so long that nothing fenced runs there."""

    node: str


_News: TypeAlias = "tuple[str, Entry | None, int] | _Stopped | _Expired"
_Record = TypeVar("_Record")


class Driver:
    """See the module. `scheduler` is what the leader knows, to be asked; None where this server leads not."""

    def __init__(self, store: Store, leading: Leading, clock: Clock, *, fence_s: float = FENCE_S) -> None:
        self._store = store
        self._leading = leading
        self._clock = clock
        self._fence_s = fence_s
        self.scheduler: Scheduler | None = None

    async def run(self) -> None:
        """Plan whenever this server leads, until cancelled."""
        async with asyncio.TaskGroup() as group, aclosing(self._leading.changes()) as changes:
            acting: asyncio.Task[None] | None = None
            async for _ in changes:
                if acting is not None:
                    acting.cancel()
                    await asyncio.wait([acting])
                self.scheduler = None
                acting = group.create_task(self._act(), name="schedule") if self._leading.is_leader else None

    async def _act(self) -> None:
        said = ""
        while self._leading.is_leader:
            try:
                await self._lead()
            except ClosedError:
                return
            except SkerryError as error:
                self.scheduler = None
                if error.message != said:
                    log.warning("planning begins anew: %s", error.message)
                said = error.message
            await self._clock.sleep(RETRY_S)

    async def _lead(self) -> None:
        """Plan until something goes wrong with the store, or it is closed: raises SkerryError."""
        term = _Term(self._store, self._leading, self._clock, self._fence_s)
        failed: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                term.group = group
                watches = await term.list()
                self.scheduler = term.scheduler
                for prefix, revision in watches.items():
                    group.create_task(term.watch(prefix, revision), name=f"watch {prefix}")
                await term.plan()
        except* SkerryError as errors:
            failed = errors
        while isinstance(failed, BaseExceptionGroup):
            failed = failed.exceptions[0]
        if failed is not None:
            raise failed


class _Term:
    """One reign: from a listing to the first failure."""

    group: asyncio.TaskGroup

    def __init__(self, store: Store, leading: Leading, clock: Clock, fence_s: float) -> None:
        self._store = store
        self._leading = leading
        self._clock = clock
        self._fence_s = fence_s
        self.scheduler = Scheduler()
        self._reader = UnitReader()
        self._news: list[_News] = []
        self._wake = asyncio.Event()
        self._unreadable: set[str] = set()
        self._records: dict[str, NodeRecord] = {}
        self._heard: dict[str, PresenceRecord] = {}
        self._presence: dict[str, int] = {}  # the revision of each record above
        self._expiring: set[str] = set()

    async def list(self) -> dict[str, int]:
        """Take everything in; the revisions from which to watch. Placements first: a unit that was made after
        the others were read is then not taken for one that is no more."""
        placements = await self._store.list(PLACEMENTS_PREFIX)
        revisions: dict[str, int] = {}
        for prefix in (NODES_PREFIX, PRESENCE_PREFIX, UNITS_PREFIX):
            listing = await self._store.list(prefix)
            revisions[prefix] = listing.revision
            await self._take((entry.key, entry, entry.mod_revision) for entry in listing.entries)
        for number, entry in enumerate(placements.entries):
            self._take_placement(entry)
            if number % READ_AT_ONCE == 0:
                await asyncio.sleep(0)
        self._wake.set()
        return revisions

    async def watch(self, prefix: str, after: int) -> None:
        async with aclosing(self._store.watch(prefix, after)) as batches:
            async for batch in batches:
                for event in batch.events:
                    entry = event.entry if event.kind is EventKind.PUT else None
                    self._tell((event.entry.key, entry, batch.revision))
        raise ClosedError("the store is closed")

    async def plan(self) -> None:
        """Decide and write, for ever; each turn at most what one transaction holds."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            news, self._news = self._news, []
            await self._take(news)
            done: Counter[Verb] = Counter()
            while steps := self.scheduler.decide(MOST_STEPS):
                fence, now = self._leading.fence, self._clock.now()
                changed = await carry_out(self._store, steps, self.scheduler, fence, now, self._presence)
                news, self._news = [*changed, *self._news], []
                await self._take(news)
                self._follow(steps)
                done.update(step.verb for step in steps)
            if done:
                log.info(
                    "planned: %s", ", ".join(f"{verb} {number}" for verb, number in sorted(done.items()))
                )

    def _tell(self, news: _News) -> None:
        self._news.append(news)
        self._wake.set()

    async def _take(self, many: Iterable[_News]) -> None:
        for number, news in enumerate(many, start=1):
            match news:
                case _Stopped(unit, node):
                    self.scheduler.stopped(unit, node)
                case _Expired(node):
                    self._expire(node)
                case (key, entry, revision):
                    self._take_entry(key, entry, revision)
            if number % READ_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _take_entry(self, key: str, entry: Entry | None, revision: int) -> None:
        if key.startswith(UNITS_PREFIX):
            self._take_unit(key.removeprefix(UNITS_PREFIX), entry, revision)
            return
        prefix = NODES_PREFIX if key.startswith(NODES_PREFIX) else PRESENCE_PREFIX
        node = key.removeprefix(prefix)
        try:
            if prefix == NODES_PREFIX:
                _keep(self._records, node, None if entry is None else NodeRecord.decode(entry.value))
            else:
                _keep(self._heard, node, None if entry is None else PresenceRecord.decode(entry.value))
                _keep(self._presence, node, None if entry is None else entry.mod_revision)
        except RecordError as error:
            log.warning("%s is left as it was: %s", key, error.message)
            return
        if node in self._records or node in self._heard:
            self.scheduler.put_node(node_spec(node, self._records.get(node), self._heard.get(node)))
        else:
            self.scheduler.drop_node(node)

    def _take_unit(self, name: str, entry: Entry | None, revision: int) -> None:
        known = self.scheduler.units.get(name)
        if known is not None and known.revision > revision:
            return  # told already, by the answer to a transaction
        if entry is None:
            self._unreadable.discard(name)
            self.scheduler.drop_unit(name)
            return
        try:
            spec = self._reader.spec(UnitRecord.decode(entry.value))
        except RecordError as error:
            log.warning("unit %s is neither placed nor moved: %s", name, error.message)
            self._unreadable.add(name)
        else:
            if name in self._unreadable and known is None:
                raise RereadError(f"unit {name} can be read now")
            self._unreadable.discard(name)
            self.scheduler.put_unit(spec, revision=entry.mod_revision)

    def _take_placement(self, entry: Entry) -> None:
        try:
            placement = PlacementRecord.decode(entry.value)
        except RecordError as error:
            log.warning("%s is left as it is: %s", entry.key, error.message)
            return
        if placement.unit not in self._unreadable:
            self.scheduler.placed(placement.unit, placement.node, leaving=placement.leaving)
            if placement.leaving:
                self._await_stop(placement.unit, placement.node)

    def _follow(self, steps: Iterable[Step]) -> None:
        for step in steps:
            if step.verb is Verb.LEAVE:
                self._await_stop(step.unit, step.node)

    def _await_stop(self, unit: str, node: str) -> None:
        self.group.create_task(self._stop(unit, node), name=f"{unit} leaves {node}")
        ground = self.scheduler.grounds.get(node)
        if ground is not None and ground.spec.liveness is None and node not in self._expiring:
            self._expiring.add(node)
            self.group.create_task(self._expiry(node), name=f"{node} expires")

    async def _stop(self, unit: str, node: str) -> None:
        """Wait until the machine's report on the unit is gone."""
        key = report_key(node, unit)
        listing = await self._store.list(key)
        if any(entry.key == key for entry in listing.entries):
            async with aclosing(self._store.watch(key, listing.revision)) as batches:
                async for batch in batches:
                    if any(e.entry.key == key and e.kind is EventKind.DELETE for e in batch.events):
                        break
                else:
                    raise ClosedError("the store is closed")
        self._tell(_Stopped(unit, node))

    async def _expiry(self, node: str) -> None:
        await self._clock.sleep(self._fence_s)
        self._tell(_Expired(node))

    def _expire(self, node: str) -> None:
        self._expiring.discard(node)
        ground = self.scheduler.grounds.get(node)
        if ground is not None and ground.spec.liveness is None:
            self.scheduler.put_node(NodeSpec(node, liveness=Liveness.LOST))


def _keep(records: dict[str, _Record], node: str, record: _Record | None) -> None:
    if record is None:
        records.pop(node, None)
    else:
        records[node] = record
