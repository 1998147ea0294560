"""A desired state written as the API and the scheduler write it, and nodes that listen to a feed."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

from fakes.clock import settle
from skerry.fleet.assign.assignment import Change, Full
from skerry.fleet.state.node import Facts, Liveness, NodeRecord, PresenceRecord, node_key, presence_key
from skerry.fleet.state.placement import PlacementRecord, placement_key
from skerry.fleet.state.unit import DesiredState, UnitRecord, unit_key
from skerry.fleet.store.interface import Delete, Put
from skerry.host.units.unit_file import parse_unit, unit_hash

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from skerry.fleet.assign.assignment import Message
    from skerry.fleet.assign.feed import Feed
    from skerry.fleet.store.interface import Store

SLEEPER = "[Service]\nExecStart=/bin/sleep 100\n"


async def want(
    store: Store, name: str, text: str = SLEEPER, desired: DesiredState = DesiredState.LAUNCHED
) -> None:
    """Submit or change a unit."""
    record = UnitRecord(name, text, unit_hash(parse_unit(text, name))).wanting(desired)
    await store.transact([], [Put(unit_key(name), record.encode())])


async def destroy(store: Store, name: str) -> None:
    await store.transact([], [Delete(unit_key(name))])


async def place(store: Store, name: str, node: str) -> None:
    await store.transact([], [Put(placement_key(node, name), PlacementRecord(name, node).encode())])


async def displace(store: Store, name: str, node: str) -> None:
    await store.transact([], [Delete(placement_key(node, name))])


async def label(store: Store, node: str, labels: Mapping[str, str]) -> None:
    """What people say of a node."""
    await store.transact([], [Put(node_key(node), NodeRecord(dict(labels)).encode())])


async def present(store: Store, node: str, labels: Mapping[str, str] | None = None) -> None:
    """What the leader says of a node."""
    record = PresenceRecord(Facts(metadata=dict(labels or {})), Liveness.READY, 0.0)
    await store.transact([], [Put(presence_key(node), record.encode())])


class Listener:
    """Follows a feed as an agent would: what it was told, and what it holds by that."""

    def __init__(self) -> None:
        self.told: list[Message] = []
        self.holds: dict[str, DesiredState] = {}
        self.fenced: set[str] = set()
        self.unreadable: set[str] = set()
        self.paused = asyncio.Event()
        self.paused.set()

    def hear(self, message: Message) -> None:
        self.told.append(message)
        if isinstance(message, Full):
            self.holds, self.unreadable = {}, set()
            put, gone = message.assignments, ()
        elif isinstance(message, Change):
            put, gone = message.set, message.gone
        else:
            return
        for name in (*gone, *message.unreadable):
            self.holds.pop(name, None)
            self.unreadable.discard(name)
        for one in put:
            self.holds[one.record.name] = one.record.desired
            self.fenced.add(one.record.name) if one.fence else self.fenced.discard(one.record.name)
            self.unreadable.discard(one.record.name)
        self.unreadable |= message.unreadable.keys()


@asynccontextmanager
async def listening(feed: Feed, *nodes: str) -> AsyncIterator[list[Listener]]:
    """Run a feed and follow it as some nodes."""
    listeners = [Listener() for _ in nodes]

    async def listen(node: str, listener: Listener) -> None:
        async with aclosing(feed.follow(node)) as messages:
            async for message in messages:
                listener.hear(message)
                await listener.paused.wait()

    tasks = [asyncio.ensure_future(feed.run())]
    tasks += [asyncio.ensure_future(listen(n, li)) for n, li in zip(nodes, listeners, strict=True)]
    await settle()
    try:
        yield listeners
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(e is None or isinstance(e, asyncio.CancelledError) for e in ended), ended
