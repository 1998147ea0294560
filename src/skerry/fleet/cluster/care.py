"""What a server does for its store as long as it runs: knows its members, takes snapshots, gives room back.

each 10 s      the members, as etcd lists them: asked from now on, and kept in cluster.json
               a store that was full takes changes again, once enough was removed
each hour      a member whose file is more than half empty gives that back, one server after the other
each 6 hours   a snapshot, if anything changed: /var/lib/skerry/snapshots, the newest seven (snapshot.py)
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from skerry.fleet.cluster.etcd_admin import (
    defragment,
    disarm,
    forget_history,
    health,
    is_armed,
    list_members,
)
from skerry.fleet.cluster.membership import read_membership, write_membership
from skerry.fleet.cluster.snapshot import KEEP, keep_snapshots
from skerry.kit.reconcile import reconcile

if TYPE_CHECKING:
    from pathlib import Path

    from skerry.fleet.cluster.etcd_admin import StoreHealth
    from skerry.fleet.cluster.etcd_server import EtcdServer
    from skerry.fleet.store.etcd import EtcdStore

MEMBERS_EVERY_S = 10.0
"""Soon: a server that shuts down says goodbye through the others, its own member stops beside it."""
FULL_EVERY_S = 60.0
ROOM_EVERY_S = 3600.0
WORTH_BYTES = 64 * 1024 * 1024
"""Less than this is not worth standing still for."""

ROOM_AGAIN = 0.9
"""Of the quota: a full store that holds more than this would be full again at once."""

SNAPSHOTS = "snapshots"


class Care:
    """Of one server; `node` is its id, `state` /var/lib/skerry."""

    def __init__(
        self, store: EtcdStore, server: EtcdServer, state: Path, node: str, *, keep: int = KEEP
    ) -> None:
        self._store = store
        self._server = server
        self._state = state
        self._node = node
        self._keep = keep
        self._tried = -1  # at which revision a full store was last seen to hold too much

    async def run(self) -> None:
        """For ever; within a task group."""
        clock = self._server.clock
        membership = read_membership(self._state)
        cluster = "" if membership is None else membership.cluster
        async with asyncio.TaskGroup() as group:
            never = asyncio.Event()
            group.create_task(reconcile(self.follow_members, never, every_s=MEMBERS_EVERY_S, clock=clock))
            group.create_task(reconcile(self.make_room, never, every_s=ROOM_EVERY_S, clock=clock))
            group.create_task(reconcile(self.open_again, never, every_s=FULL_EVERY_S, clock=clock))
            group.create_task(
                keep_snapshots(self._store, self._state / SNAPSHOTS, cluster, clock, keep=self._keep)
            )

    async def health(self) -> StoreHealth:
        """How the store is now; see etcd_admin.health."""
        return await health(self._store.client, self._server.quota_bytes, self._server.tls)

    async def follow_members(self) -> str | None:
        """Ask the members that there are, and keep who they are for the next start. Raises StoreError."""
        members = await list_members(self._store.client)
        urls = [url for m in members if m.name != self._node and not m.learner for url in m.client_urls]
        own = [url for m in members if m.name == self._node for url in m.client_urls]
        if not own:
            return None  # removed meanwhile: who removed it decides what comes next
        here = (*own, *sorted(urls))
        membership = read_membership(self._state)
        if membership is None or membership.store == here:
            return None
        self._store.client.use(here)
        write_membership(self._state, msgspec.structs.replace(membership, store=here))
        return f"The store has {len(here)} members now: {', '.join(here)}"

    async def make_room(self) -> str | None:
        """Defragment the member here where that is worth it and the others are well. Raises StoreError."""
        look = await self.health()
        own = next((member for member in look.members if member.name == self._node), None)
        if own is None or own.size_bytes - own.used_bytes < max(own.size_bytes / 2, WORTH_BYTES):
            return None
        if not all(member.healthy for member in look.members):
            return None
        client = self._server.client()
        try:
            await defragment(client)
        finally:
            client.close()
        return "The store's member here gave back what it did not use"

    async def open_again(self) -> str | None:
        """Let a store that is full take changes again, if what was removed made room on all members.

        Its history goes: whoever follows has to list again. Raises StoreError.
        """
        client = self._server.client()
        try:
            if not await is_armed(client):
                return None
            revision = await forget_history(client)  # what was removed is in it
            if revision == self._tried:
                return None  # nothing was removed since
            await defragment(client)
            self._tried = revision
            enough = ROOM_AGAIN * self._server.quota_bytes
            if any(member.size_bytes > enough for member in (await self.health()).members):
                return None  # others have yet to do the same, or it would be full again at once
            await disarm(client)
        finally:
            client.close()
        return "There is room in the store again"
