"""The cluster's state as this server last heard it: fed by one watch, read by every request.

    store ─list, then watch─→ Mirror: units (without their texts), placements, reports, nodes, presence

A request that reads calls `fresh` first, which asks the store where it stands and waits until the mirror is
there: what was acknowledged before, by any server, is seen. Writes compare revisions in the store, so that
nothing is ever decided on what is old. The cost of a change is what it touches.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import functools
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from skerry.fleet.state.document import RecordError
from skerry.fleet.state.node import NODES_PREFIX, PRESENCE_PREFIX, NodeRecord, PresenceRecord
from skerry.fleet.state.placement import PLACEMENTS_PREFIX
from skerry.fleet.state.unit import REPORTS_PREFIX, UNITS_PREFIX, UnitRecord, UnitReport
from skerry.fleet.store.errors import StoreError
from skerry.fleet.store.follow import keep_following
from skerry.fleet.store.interface import EventKind
from skerry.host.units.errors import UnitFileError, UnitNameError
from skerry.host.units.name import parse_name
from skerry.host.units.requirements import Requirements, requirements
from skerry.host.units.unit_file import parse_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from skerry.fleet.state.document import Document
    from skerry.fleet.state.unit import DesiredState
    from skerry.fleet.store.interface import Batch, Entry, Store
    from skerry.kit.clock import Clock

PREFIX = "/skerry/v1/"
NOTHING = "/skerry/v1/nothing"  # no key begins so: a list of it costs nothing and tells the revision
RETRY_S = 1.0
PATIENCE_S = 2.0  # so long the watch has to bring what was committed
LONGEST_S = 20.0  # how long a request waits for the mirror; a store that answers is followed in milliseconds
AT_ONCE = 500  # entries taken over before others have a turn
NO_REQUIREMENTS = Requirements()
NO_REPORTS: Mapping[str, Reported] = {}

log = logging.getLogger("skerry.rest")

D = TypeVar("D", bound="Document")


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a stored unit without its text."""

    name: str
    mod_revision: int
    hash: str
    identity: str
    desired: DesiredState
    launch: int
    asked: Requirements
    description: str
    drop_ins: tuple[str, ...]
    files: tuple[str, ...]

    @property
    def is_global(self) -> bool:
        return self.asked.is_global


@dataclass(frozen=True, slots=True)
class Reported:
    """A node's report, and the revision at which it came."""

    report: UnitReport
    mod_revision: int


@dataclass(slots=True)
class Contents:
    """Everything by its key. `names` are those of all units in order, readable or not."""

    units: dict[str, Known] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    placements: dict[str, str] = field(default_factory=dict)  # node by unit
    placed: dict[str, set[str]] = field(default_factory=dict)  # units by node
    reports: dict[str, dict[str, Reported]] = field(default_factory=dict)  # by unit, by node
    reported: dict[str, set[str]] = field(default_factory=dict)  # units by node
    nodes: dict[str, NodeRecord] = field(default_factory=dict)
    presence: dict[str, PresenceRecord] = field(default_factory=dict)

    def node_ids(self) -> list[str]:
        """Every machine that somebody has told of, in order."""
        return sorted({*self.nodes, *self.presence, *self.placed, *self.reported})

    def reports_of(self, name: str) -> Mapping[str, Reported]:
        """The reports of one unit, by node."""
        return self.reports.get(name, NO_REPORTS)


class Mirror:
    """See the module. `run` goes on until it is cancelled; nobody is answered before it has begun."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.now = Contents()
        self.revision = 0
        self._store = store
        self._clock = clock
        self.patience_s = PATIENCE_S
        self._ready = False
        self._catching_up = asyncio.Lock()
        self._advanced: asyncio.Future[None] | None = None
        self._interests: dict[str, set[asyncio.Event]] = {}

    async def run(self) -> None:
        """Follow the store until cancelled; one that is away is tried again."""
        away = functools.partial(log.warning, "the store cannot be followed: %s")
        await keep_following(self._follow, self._clock, retry_s=RETRY_S, away=away)

    async def fresh(self) -> Contents:
        """The state as of now or later. Raises StoreError where the store cannot be read."""
        await self.reached((await self._store.list(NOTHING)).revision)
        return self.now

    async def reached(self, revision: int) -> Contents:
        """Return when the mirror knows this revision: a commit's own, to read what was written."""
        if self._knows(revision):
            return self.now
        try:
            async with asyncio.timeout(LONGEST_S):
                while not await self._follows_to(revision):
                    await self._catch_up(revision)
        except TimeoutError:
            raise StoreError(
                f"the store's changes do not arrive: it is at revision {revision}, we at {self.revision}",
                hint="the journal of skerryd.service tells why",
            ) from None
        return self.now

    def _knows(self, revision: int) -> bool:
        return self._ready and self.revision >= revision

    async def _follows_to(self, revision: int) -> bool:
        """Whether the watch brings us there in good time; the first listing has all the time it needs."""
        try:
            async with asyncio.timeout(self.patience_s if self._ready else None):
                while not self._knows(revision):
                    if self._advanced is None:
                        self._advanced = asyncio.get_running_loop().create_future()
                    await asyncio.shield(self._advanced)
        except TimeoutError:
            return False
        return True

    async def _catch_up(self, revision: int) -> None:
        """List anew: a revision at which nothing of ours changed is never heard of by watching."""
        async with self._catching_up:
            if not self._knows(revision):
                self._replace(*await self._listed())

    @contextlib.contextmanager
    def interest(self, keys: Iterable[str]) -> Iterator[asyncio.Event]:
        """An event that is set whenever one of these changes: names of units, ids of nodes."""
        wanted = set(keys)
        event = asyncio.Event()
        for key in wanted:
            self._interests.setdefault(key, set()).add(event)
        try:
            yield event
        finally:
            for key in wanted:
                self._interests[key].discard(event)
                if not self._interests[key]:
                    del self._interests[key]

    async def _follow(self) -> None:
        self._ready = False
        contents, revision = await self._listed()
        self.revision = 0  # a store that was restored begins again where it stood then
        self._replace(contents, revision)
        async with contextlib.aclosing(self._store.watch(PREFIX, revision)) as batches:
            async for batch in batches:
                if batch.revision > self.revision:  # what is older was in a listing that came after it
                    self._advance(batch.revision, self._apply(batch))

    def _replace(self, contents: Contents, revision: int) -> None:
        """Take a listing for what is now, unless more is known already."""
        if self._ready and revision <= self.revision:
            return
        changed = {*self.now.names, *contents.names, *self.now.node_ids(), *contents.node_ids()}
        self.now = contents
        self._advance(revision, changed)

    async def _listed(self) -> tuple[Contents, int]:
        """A listing of everything; what changes meanwhile is heard again, and brings it to one revision."""
        contents = Contents()
        revisions = []
        for prefix in _TAKERS:
            listing = await self._store.list(prefix)
            revisions.append(listing.revision)
            for number, entry in enumerate(listing.entries):
                _take(contents, entry.key, entry)
                if number % AT_ONCE == AT_ONCE - 1:
                    await asyncio.sleep(0)
        return contents, min(revisions)

    def _apply(self, batch: Batch) -> set[str]:
        """Take over what changed; the units and nodes that it concerns."""
        touched: set[str] = set()
        for event in batch.events:
            entry = event.entry
            touched.update(_take(self.now, entry.key, None if event.kind is EventKind.DELETE else entry))
        return touched

    def _advance(self, revision: int, touched: Iterable[str]) -> None:
        self.revision = revision
        self._ready = True
        if self._advanced is not None:
            self._advanced.set_result(None)
            self._advanced = None
        if self._interests:
            for key in touched:
                for event in self._interests.get(key, ()):
                    event.set()


def known(record: UnitRecord, mod_revision: int) -> Known:
    """What is to be known of a record."""
    asked, description = NO_REQUIREMENTS, ""
    try:
        unit = parse_unit(record.text, record.name)
        description = unit.last("Unit", "Description") or ""
        if "[X-" in record.text:
            asked = requirements(unit, parse_name(record.name))[0]
    except (UnitFileError, UnitNameError):
        pass
    return Known(
        name=record.name,
        mod_revision=mod_revision,
        hash=record.hash,
        identity=record.identity,
        desired=record.desired,
        launch=record.launch,
        asked=asked,
        description=description,
        drop_ins=tuple(d.name for d in record.drop_ins),
        files=tuple(f.name for f in record.files),
    )


def unit_or_node(key: str) -> tuple[str | None, str | None]:
    """The unit and the node that a key of the store is about, as far as it is about any."""
    for prefix in (REPORTS_PREFIX, PLACEMENTS_PREFIX):
        if key.startswith(prefix):
            node, _, name = key.removeprefix(prefix).partition("/")
            return name, node
    if key.startswith(UNITS_PREFIX):
        return key.removeprefix(UNITS_PREFIX), None
    for prefix in (NODES_PREFIX, PRESENCE_PREFIX):
        if key.startswith(prefix):
            return None, key.removeprefix(prefix)
    return None, None


def _take(contents: Contents, key: str, entry: Entry | None) -> tuple[str, ...]:
    """Take over an entry, or its end; the units and nodes that it concerns."""
    for prefix, taker in _TAKERS.items():
        if key.startswith(prefix):
            return taker(contents, key.removeprefix(prefix), entry)
    return ()


def _unit(contents: Contents, name: str, entry: Entry | None) -> tuple[str, ...]:
    was = name in contents.units or name in contents.unreadable
    contents.units.pop(name, None)
    contents.unreadable.pop(name, None)
    if entry is not None:
        try:
            contents.units[name] = known(UnitRecord.decode(entry.value), entry.mod_revision)
        except RecordError as error:
            contents.unreadable[name] = error.message
        if not was:
            bisect.insort(contents.names, name)
    elif was:
        del contents.names[bisect.bisect_left(contents.names, name)]
    return (name,)


def _placement(contents: Contents, rest: str, entry: Entry | None) -> tuple[str, ...]:
    node, _, name = rest.partition("/")
    if entry is not None:
        before = contents.placements.get(name)
        if before is not None and before != node:
            _drop(contents.placed, before, name)
        contents.placements[name] = node
        contents.placed.setdefault(node, set()).add(name)
    elif contents.placements.get(name) == node:
        del contents.placements[name]
        _drop(contents.placed, node, name)
    return name, node


def _report(contents: Contents, rest: str, entry: Entry | None) -> tuple[str, ...]:
    node, _, name = rest.partition("/")
    report = None
    if entry is not None:
        with contextlib.suppress(RecordError):
            report = UnitReport.decode(entry.value)
    if entry is not None and report is not None:
        contents.reports.setdefault(name, {})[node] = Reported(report, entry.mod_revision)
        contents.reported.setdefault(node, set()).add(name)
    elif name in contents.reports and contents.reports[name].pop(node, None) is not None:
        if not contents.reports[name]:
            del contents.reports[name]
        _drop(contents.reported, node, name)
    return name, node


def _node(contents: Contents, node: str, entry: Entry | None) -> tuple[str, ...]:
    return _record(contents.nodes, NodeRecord, node, entry)


def _presence(contents: Contents, node: str, entry: Entry | None) -> tuple[str, ...]:
    return _record(contents.presence, PresenceRecord, node, entry)


def _record(kept: dict[str, D], kind: type[D], node: str, entry: Entry | None) -> tuple[str, ...]:
    kept.pop(node, None)
    if entry is not None:
        with contextlib.suppress(RecordError):
            kept[node] = kind.decode(entry.value)
    return (node,)


def _drop(sets: dict[str, set[str]], key: str, item: str) -> None:
    """Take an item out of the set of a key, and the set with its last item."""
    found = sets.get(key)
    if found is not None:
        found.discard(item)
        if not found:
            del sets[key]


_TAKERS: dict[str, Callable[[Contents, str, Entry | None], tuple[str, ...]]] = {
    UNITS_PREFIX: _unit,
    PLACEMENTS_PREFIX: _placement,
    REPORTS_PREFIX: _report,
    NODES_PREFIX: _node,
    PRESENCE_PREFIX: _presence,
}
