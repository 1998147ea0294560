"""What this machine knows of its cluster, kept up to date: servers come and go after it has joined.

server   etcd's list of members ─→ endpoints of the store, URLs of the servers ─┐
agent    GET /v1/cluster/servers of a server ───────────────────────────────────┴─→ cluster.json
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec

from skerry.entry.rest.servers import SERVERS_PATH, ServerList
from skerry.fleet.cluster.errors import MembershipError
from skerry.fleet.cluster.membership import API_PORT, host_of, read_membership, url_of, write_membership
from skerry.kit.errors import SkerryError
from skerry.kit.reconcile import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from skerry.fleet.cluster.membership import Membership
    from skerry.fleet.store.etcd import EtcdStore
    from skerry.kit.clock import Clock
    from skerry.kit.wire import Wire

EVERY_S = 30.0
AGENT_EVERY_S = 300.0
AGENT_AGAIN_S = 60.0
"""After news: the server that was asked may not have heard all of it itself."""

log = logging.getLogger("skerry.daemon")


class Standing:
    """`now` is what cluster.json says."""

    def __init__(self, state: Path, membership: Membership) -> None:
        self._state = state
        self._membership = membership
        self._more = asyncio.Event()

    def more(self) -> None:
        """A server was let in a moment ago: `follow` is to look."""
        self._more.set()

    def now(self) -> Membership:
        return self._membership

    def learn(self, servers: Iterable[str]) -> bool:
        """Keep these from now on; whether that is news."""
        try:
            known = read_membership(self._state) or self._membership
        except MembershipError as error:  # what runs goes by what it knows; the next start tells
            log.warning("the servers of the cluster are not kept on disk: %s", error.message)
            known = self._membership
        fresh = msgspec.structs.replace(known, servers=tuple(servers))
        self._membership = fresh
        if fresh == known:
            return False
        # Not in a thread, which goes on when its task ends: cluster.json would come back after a leave.
        try:
            write_membership(self._state, fresh)
        except OSError as error:  # the next time finds that it is news still
            log.warning("the servers of the cluster cannot be kept on disk: %s", error.strerror)
        log.info("the servers of the cluster are now %s", ", ".join(fresh.servers))
        return True

    async def follow(self, store: EtcdStore, clock: Clock) -> None:
        """On a server: ask etcd who its members are, now and then; until cancelled."""
        from skerry.fleet.cluster.etcd_admin import list_members

        while True:
            self._more.clear()
            try:
                members = await list_members(store.client)
            except SkerryError as error:
                log.debug("who the servers are cannot be asked: %s", error.message)
            else:
                mine = self._membership
                others = sorted(
                    url_of(host_of(url), API_PORT)
                    for member in members
                    if member.name != mine.node
                    # One that was let in and has not begun yet says only where it will speak to the others.
                    for url in member.client_urls or member.peer_urls
                )
                self.learn(dict.fromkeys([url_of(mine.address, API_PORT), *others]))
            await wait_for(self._more, EVERY_S, clock)

    async def ask(
        self, wire: Callable[[], Wire], clock: Clock, news: Callable[[Sequence[str]], None]
    ) -> None:
        """On an agent: ask a server who they are; until cancelled."""
        while True:
            asked = wire()
            pause_s = AGENT_EVERY_S
            try:
                answer = await asked.request("GET", SERVERS_PATH, b"", timeout_s=10.0)
                servers = msgspec.json.decode(answer.checked().body, type=ServerList).servers
                if servers and self.learn(servers):
                    pause_s = AGENT_AGAIN_S
                    news(servers)
            except (SkerryError, msgspec.DecodeError) as error:
                log.debug("who the servers are cannot be asked: %s", error)
            finally:
                asked.close()
            await clock.sleep(pause_s)
