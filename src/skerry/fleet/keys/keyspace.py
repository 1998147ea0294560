"""The key space at work on a store: look, decide (change.py), do if nothing has moved meanwhile, else again.

Nothing is held between requests, so any number of these may work on one store.
"""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.fleet.keys.change import Change, Kind, Scene, Step, decide, found, lease_above, target
from skerry.fleet.keys.errors import Code, KeysError
from skerry.fleet.keys.history import concerns, happenings
from skerry.fleet.keys.nodes import (
    LAST,
    NODES,
    ROOT,
    Action,
    Event,
    Node,
    Shown,
    above,
    cleaned,
    read_node,
    shown_tree,
    store_key,
)
from skerry.fleet.store.errors import CompactedError, LeaseNotFoundError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from skerry.fleet.store.interface import Entry, Store
    from skerry.kit.clock import Clock

TRIES = 500
"""How often a change is decided anew; each time somebody else's change of the same place went ahead."""

SHORTEST_LEASE_S = 0.01
LONGEST_TTL_S = 2**63 // 10**9
"""Above this etcd's own arithmetic overflows, and it keeps the key for ever; so do we."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Events as they come, and where the store stood when the watch began. Close `events` to end it."""

    index: int
    events: AsyncGenerator[Event, None]


class Keyspace:
    """The requests of etcd v2's key API, as values."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def now(self) -> float:
        """The time by which `expires` is meant, in Unix seconds."""
        return self._clock.now()

    async def index(self) -> int:
        """Where the store stands."""
        return (await self._store.list(LAST)).revision

    async def get(self, path: str, *, recursive: bool = False) -> Event:
        """The node at `path` with its entries. Raises KeysError."""
        path = cleaned(path)
        scene = await self._look(path, path, last=None)
        node = Node(ROOT, None, 0, 0) if path == ROOT else found(scene, path)
        return Event(Action.GET, shown_tree(node, scene.below, recursive=recursive), None, scene.index)

    async def change(self, change: Change) -> Event:
        """Carry a change out, whole or not at all. Raises KeysError."""
        change = dataclasses.replace(change, path=cleaned(change.path))
        lasts = change.ttl_s is not None and change.ttl_s <= LONGEST_TTL_S
        own_lease = 0
        used = False
        try:
            for _ in range(TRIES):
                scene = await self._scene(change)
                expires = self._clock.now() + (change.ttl_s or 0) if lasts else None
                decide(change, scene, expires=expires, lease=own_lease)
                if lasts and not own_lease:
                    own_lease = await self._grant(change.ttl_s or 0, scene)
                step = decide(change, scene, expires=expires, lease=own_lease)
                try:
                    revision = await self._do(step)
                except LeaseNotFoundError:
                    own_lease = 0
                    continue
                if revision is not None:
                    used = True
                    await self._release(step)
                    return _event(change, step, revision)
        finally:
            if own_lease and not used:
                await self._revoke(own_lease)
        raise KeysError(Code.INTERNAL, f"{change.path} changes too fast", await self.index())

    async def watch(self, path: str, *, recursive: bool = False, since: int | None = None) -> Watch:
        """Follow what happens at `path` (and below) from index `since` on, or from now.

        Raises KeysError, 401 where the history does not reach back so far.
        """
        index = await self.index()
        after = index if since is None else since - 1
        if after < index:
            # Each revision has its batch, so this comes at once, or is refused at once.
            async with contextlib.aclosing(self._store.watch("", after)) as batches:
                try:
                    await anext(batches)
                except CompactedError as error:
                    raise _cleared(error, after, index) from error
        return Watch(index, self._events(cleaned(path), after, recursive=recursive))

    async def _events(self, path: str, after: int, *, recursive: bool) -> AsyncGenerator[Event, None]:
        try:
            async with contextlib.aclosing(self._store.watch(NODES, after)) as batches:
                async for batch in batches:
                    for happening in happenings(batch):
                        if concerns(happening, path, recursive=recursive):
                            yield happening.event
        except CompactedError as error:
            raise _cleared(error, after, await self.index()) from error

    async def _scene(self, change: Change) -> Scene:
        last = await self._store.get(LAST) if _minds_others(change) else None
        index = await self.index() if change.in_order else 0
        scene = await self._look(change.path, target(change, index), last=last)
        return dataclasses.replace(scene, index=index) if change.in_order else scene

    async def _look(self, listed: str, path: str, *, last: Entry | None) -> Scene:
        # Not one snapshot: what a change is decided upon is compared again when it is done.
        around: list[Node | None] = []
        for name in above(path):
            entry = await self._store.get(store_key(name))
            around.append(None if entry is None else read_node(entry))
        listing = await self._store.list(store_key(path))
        nodes = [read_node(entry) for entry in listing.entries]
        node = next((node for node in nodes if node.path == path), None)
        below = tuple(node for node in nodes if node.path != path)
        return Scene(listing.revision, last, tuple(around), node, below)

    async def _grant(self, ttl_s: int, scene: Scene) -> int:
        shortest: float = ttl_s
        around = lease_above(scene)
        if around:
            # What lies in a directory ends before the directory.
            with contextlib.suppress(LeaseNotFoundError):
                shortest = min(shortest, await self._store.time_to_live_s(around) - SHORTEST_LEASE_S)
        return (await self._store.grant(max(shortest, SHORTEST_LEASE_S))).id

    async def _do(self, step: Step) -> int | None:
        """The revision of the step, None where something had moved. Raises LeaseNotFoundError."""
        result = await self._store.transact(step.compares, step.operations)
        return result.revision if result.succeeded else None

    async def _release(self, step: Step) -> None:
        """End the lease that the changed node had for itself: all that was under it has been moved."""
        if step.previous is not None and step.previous.own_lease:
            await self._revoke(step.previous.own_lease)

    async def _revoke(self, lease: int) -> None:
        with contextlib.suppress(LeaseNotFoundError):
            await self._store.revoke(lease)


def _event(change: Change, step: Step, revision: int) -> Event:
    node = dataclasses.replace(step.node, created=step.node.created or revision, modified=revision)
    return Event(change.kind.value, Shown(node), step.previous, revision)


def _minds_others(change: Change) -> bool:
    """Whether the step may depend on changes elsewhere: the entries of a directory, the order of names."""
    return change.in_order or change.kind in (Kind.UPDATE, Kind.DELETE)


def _cleared(error: CompactedError, after: int, index: int) -> KeysError:
    cause = f"the requested history has been cleared [{error.compacted_revision + 1}/{after + 1}]"
    return KeysError(Code.INDEX_CLEARED, cause, index)
