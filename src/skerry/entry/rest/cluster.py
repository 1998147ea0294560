"""/v1/cluster: how the cluster is, on one page: servers, leader, quorum, store, machines, clocks, versions.

Put together when it is asked for, from the mirror and from what the composition root gives of the store's own
health. It answers where the store has no quorum, too: from what was heard last, and says so.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from starlette.routing import Route

from skerry.entry.rest.codec import respond
from skerry.entry.rest.openapi import described
from skerry.entry.rest.views import ClusterView, ServerView, StoreMember, StoreView
from skerry.fleet.presence.leader import LEADER_KEY, LeaderRecord
from skerry.fleet.state.document import RecordError
from skerry.fleet.state.node import Liveness, Role
from skerry.fleet.store.errors import StoreError
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response

    from skerry.entry.rest.desired import Desired
    from skerry.entry.rest.shown import Shown
    from skerry.fleet.cluster.etcd_admin import StoreHealth
    from skerry.fleet.cluster.membership import Membership

MOST_SKEW_S = 2.0


async def _unknown_store() -> StoreView | None:
    return None


def _no_skews() -> Mapping[str, float]:
    return {}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What only the daemon knows: its membership (None: a single machine), the store's health, clocks."""

    membership: Membership | None = None
    store: Callable[[], Awaitable[StoreView | None]] = _unknown_store
    skews: Callable[[], Mapping[str, float]] = _no_skews


def etcd_view(health: StoreHealth) -> StoreView:
    """The servers' etcd as the page shows it."""
    members = tuple(msgspec.convert(member, StoreMember, from_attributes=True) for member in health.members)
    alarms = health.alarms if health.quorum else ("etcd has no quorum", *health.alarms)
    return StoreView("etcd", health.size_bytes, health.quota_bytes, members, alarms)


def file_view(path: Path) -> StoreView:
    """The store of a single machine, which is one file and its journal."""
    size = 0
    for part in (path, path.with_name(path.name + "-wal")):
        with contextlib.suppress(OSError):
            size += part.stat().st_size
    return StoreView("sqlite", size)


class ClusterStatus:
    """The handler."""

    def __init__(self, desired: Desired, around: Surroundings) -> None:
        self._desired = desired
        self._around = around

    def routes(self) -> list[Route]:
        return [Route("/v1/cluster", self.get, methods=["GET"])]

    @described(gives=ClusterView)
    async def get(self, request: Request) -> Response:
        """How the cluster is: servers, leader, quorum, store, machines, clocks, versions."""
        quorum, leader = True, ""
        problems: list[str] = []
        try:
            shown = await self._desired.fresh()
            leader = await self._leader()
        except StoreError as error:
            quorum, shown = False, self._desired.shown()
            problems.append(f"the store does not answer, the rest is as last heard: {error.message}")
        store = None
        try:
            store = await self._around.store()
        except SkerryError as error:
            problems.append(f"how the store is cannot be told: {error.message}")
        problems += _problems(shown, store, leader if quorum else None, self._around.skews())
        member = self._around.membership
        view = ClusterView(
            id=member.cluster if member else "",
            name=member.name if member else "",
            node=shown.local.id,
            revision=self._desired.mirror.revision,
            leader=leader,
            servers=_servers(shown, leader),
            quorum=quorum,
            store=store,
            nodes=_by_liveness(shown),
            versions=dict(Counter(shown.facts(node).skerry_version or "?" for node in shown.node_ids())),
            skews=dict(self._around.skews()),
            units=dict(Counter(known.desired.value for known in shown.now.units.values())),
            healthy=not problems,
            problems=tuple(problems),
        )
        return respond(view)

    async def _leader(self) -> str:
        """The machine whose scheduler decides, "" while there is none."""
        entry = await self._desired.store.get(LEADER_KEY)
        try:
            return "" if entry is None else LeaderRecord.decode(entry.value).node
        except RecordError:
            return ""


def _servers(shown: Shown, leader: str) -> tuple[ServerView, ...]:
    views = [shown.node(node) for node in shown.node_ids() if shown.facts(node).role is Role.SERVER]
    return tuple(
        ServerView(v.id, v.hostname, v.address, v.liveness, v.skerry_version, v.id == leader) for v in views
    )


def _by_liveness(shown: Shown) -> dict[str, int]:
    counts = Counter(shown.node(node).liveness for node in shown.node_ids())
    return {liveness.value: counts[liveness] for liveness in Liveness}


def _problems(
    shown: Shown, store: StoreView | None, leader: str | None, skews: Mapping[str, float]
) -> list[str]:
    """What an operator should look at, a sentence each; `leader` is None where nobody could say."""
    found: list[str] = []
    if leader == "":
        found.append("no server leads: units are not placed, and nobody is declared lost")
    lost = [node for node in shown.node_ids() if shown.node(node).liveness is Liveness.LOST]
    if lost:
        names = ", ".join(shown.facts(node).hostname or node[:8] for node in lost[:5])
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        found.append(f"not heard of: {names}{more}")
    if store is not None:
        found += store.alarms
        found += [f"the store's member {m.name}: {m.problem}" for m in store.members if m.problem]
    for node, skew in sorted(skews.items()):
        if abs(skew) > MOST_SKEW_S:
            name = shown.facts(node).hostname or node[:8]
            way = "ahead of" if skew > 0 else "behind"
            found.append(f"the clock of {name} is {abs(skew):.0f} s {way} the leader's")
    if shown.now.unreadable:
        found.append(f"{len(shown.now.unreadable)} units were written by a newer version and cannot be read")
    return found
