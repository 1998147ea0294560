"""Tells every node that follows what it is to hold, from one mirror of the store.

    store ─ one listing, then one watch ─→ Mirror ─→ Share of each node that follows ─→ its stream

For a follower nothing is queued but the names that changed since it was last told: one that is slow gets
them as they stand when it comes to listen, and a new Full where they are many. The store's loss changes
nothing that is known: streams go on, and when it is back everything is listed again.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING

from skerry.fleet.assign.assignment import Beat
from skerry.fleet.assign.mirror import PREFIXES, Concerned, Mirror
from skerry.fleet.assign.share import Share
from skerry.fleet.presence.heartbeat import DEFAULT_TTL_S
from skerry.fleet.store.follow import keep_following
from skerry.fleet.store.interface import EventKind
from skerry.kit.reconcile import wait_for

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from skerry.fleet.assign.assignment import Message
    from skerry.fleet.store.interface import Store
    from skerry.kit.clock import Clock

PREFIX = "/skerry/v1/"
RETRY_S = 2.0
BEAT_S = 30.0
MOST_CHANGES = 500
"""A follower that missed more than this is told everything anew."""

log = logging.getLogger(__name__)


class _Follower:
    def __init__(self) -> None:
        self.names: set[str] = set()
        self.wake = asyncio.Event()
        self.closed = False


class Feed:
    """See the module. `fencing`: whether units of this store may run elsewhere one day."""

    def __init__(
        self, store: Store, clock: Clock, *, fencing: bool = True, ttl_s: float = DEFAULT_TTL_S
    ) -> None:
        self._store = store
        self._clock = clock
        self._fencing = fencing
        self._ttl_s = ttl_s
        self._mirror = Mirror()
        self._shares: dict[str, Share] = {}
        self._followers: dict[str, set[_Follower]] = {}
        self._ready = asyncio.Event()
        self.revision = 0

    async def run(self) -> None:
        """Keep up with the store until cancelled, or until it is closed."""
        away = functools.partial(log.warning, "the store cannot be read, assignments stay as they are: %s")
        await keep_following(self._keep_up, self._clock, retry_s=RETRY_S, away=away)

    async def _keep_up(self) -> None:
        listed = await self._list()
        async with aclosing(self._store.watch(PREFIX, self.revision)) as batches:
            async for batch in batches:
                for event in batch.events:
                    key = event.entry.key
                    if key.startswith(PREFIXES) and batch.revision > listed[_prefix(key)]:
                        value = event.entry.value if event.kind is EventKind.PUT else None
                        self._concern(self._mirror.take(key, value))
                self.revision = batch.revision

    async def follow(self, node: str) -> AsyncGenerator[Message, None]:
        """A Full, then what changes, until closed. Waits for the first listing."""
        await self._ready.wait()
        follower = _Follower()
        share = self._add(node, follower)
        try:
            yield share.full(self.revision)
            while True:
                if not await wait_for(follower.wake, BEAT_S, self._clock):
                    yield Beat(self._ttl_s, self.revision)
                    continue
                if follower.closed:
                    return
                names, follower.names = follower.names, set()
                follower.wake.clear()
                if len(names) > MOST_CHANGES:
                    yield share.full(self.revision)
                elif names:
                    yield share.change(names, self.revision)
                else:
                    yield Beat(self._ttl_s, self.revision)
        finally:
            self._remove(node, follower)

    @property
    def ready(self) -> bool:
        """Whether the store has been read: before that nobody can be told anything."""
        return self._ready.is_set()

    @property
    def following(self) -> int:
        """How many nodes listen to this server."""
        return len(self._followers)

    def is_fenced(self, name: str) -> bool:
        """Whether a unit must be dead on one node before it may run on another."""
        unit = self._mirror.units.get(name)
        return self._fencing and unit is not None and unit.fence

    def close(self, node: str) -> None:
        """End the streams of a node, one that was removed from the cluster."""
        for follower in self._followers.get(node, ()):
            follower.closed = True
            follower.wake.set()

    def _add(self, node: str, follower: _Follower) -> Share:
        self._followers.setdefault(node, set()).add(follower)
        if node not in self._shares:
            self._mirror.watch(node)
            self._shares[node] = Share(self._mirror, node, fencing=self._fencing)
        return self._shares[node]

    def _remove(self, node: str, follower: _Follower) -> None:
        followers = self._followers.get(node, set())
        followers.discard(follower)
        if not followers and node in self._shares:
            del self._followers[node]
            del self._shares[node]
            self._mirror.unwatch(node)

    async def _list(self) -> dict[str, int]:
        """Take in the four listings; each holds as of a revision of its own, which the events must pass."""
        listed: dict[str, int] = {}
        concerned: list[Concerned] = []
        for prefix in PREFIXES:
            listing = await self._store.list(prefix)
            listed[prefix] = listing.revision
            there = {entry.key: entry.value for entry in listing.entries}
            concerned.extend(self._mirror.replace(prefix, there))
        self.revision = min(listed.values())
        for one in concerned:
            self._concern(one)
        self._ready.set()
        return listed

    def _concern(self, concerned: Concerned) -> None:
        nodes: Iterable[str] = self._shares if concerned.nodes is None else concerned.nodes
        for node in nodes:
            share = self._shares.get(node)
            if share is None:
                continue
            changed = share.touch(concerned.names)
            if changed or not concerned.names:
                for follower in self._followers[node]:
                    follower.names |= changed
                    follower.wake.set()


def _prefix(key: str) -> str:
    return next(prefix for prefix in PREFIXES if key.startswith(prefix))
