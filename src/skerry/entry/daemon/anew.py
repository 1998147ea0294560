"""One server begins anew, and its store holds nothing of the servers that were beside it.

    members/, nodes/, presence/, reports/ of another server ─→ gone, and revoked/<id> instead
    leader, led, revoked/<this server>                      ─→ gone
    tokens/join/, where it is restored from a file          ─→ gone

Their certificates are good for a cluster that is no more: each has to join again. Placements on them stay:
the scheduler knows how long nobody may run what was fenced there. Which tokens to join with were used up or
revoked since is not known, and new ones are cheap.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from skerry.entry.daemon.build import etcd_here, written_down
from skerry.fleet.access.records import (
    JOIN_PREFIX,
    MEMBERS_PREFIX,
    MemberRecord,
    RevokedRecord,
    member_key,
    revoked_key,
)
from skerry.fleet.cluster.build import rescue, restore
from skerry.fleet.cluster.membership import API_PORT, host_of
from skerry.fleet.cluster.transfer import Picture
from skerry.fleet.presence.leader import LEADER_KEY, LED_KEY
from skerry.fleet.state.document import RecordError
from skerry.fleet.state.node import PRESENCE_PREFIX, PresenceRecord, Role, node_key, presence_key
from skerry.fleet.state.unit import REPORTS_PREFIX
from skerry.fleet.store.errors import StoreError
from skerry.fleet.store.etcd import EtcdStore
from skerry.fleet.store.interface import Entry

if TYPE_CHECKING:
    from pathlib import Path

    from skerry.entry.daemon.machine import Machine
    from skerry.fleet.cluster.membership import Membership

CONNECT_S = 3.0

log = logging.getLogger("skerry.daemon")


async def running_others(membership: Membership) -> list[str]:
    """The addresses of other servers on which skerryd runs, as far as they can be reached.

    They are a cluster of their own once this server has begun anew, maybe with a majority: what is fenced
    would run in both.
    """

    async def runs(address: str, port: int) -> bool:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                _, writer = await asyncio.open_connection(address, port)
            writer.close()
            return True
        return False

    known = {(host_of(url), urlsplit(url).port or API_PORT) for url in membership.servers}
    others = sorted(place for place in known if place[0] != membership.address)
    answers = await asyncio.gather(*(runs(*place) for place in others))
    return [address for (address, _), answer in zip(others, answers, strict=True) if answer]


async def begin_anew(machine: Machine, membership: Membership, file: Path | None) -> None:
    """Between two roles: from a snapshot, or from what this server holds. Raises SkerryError."""

    def alone(picture: Picture) -> Picture:
        return without_others(picture, machine.node.id, machine.clock.now())

    async with etcd_here(machine) as server:
        state = machine.paths.state
        if file is None:
            restored = await rescue(state, server, membership, adapt=alone)
        else:
            restored = await restore(
                state, file, server, membership, adapt=lambda picture: without_joins(alone(picture))
            )
        what = "from what this server held" if file is None else "from a snapshot"
        try:
            store = await EtcdStore.open(
                restored.store, name=machine.node.id, tls=server.tls, clock=machine.clock
            )
            try:
                await written_down(machine, store, "restore", what)
            finally:
                await store.close()
        except StoreError as error:
            log.warning("the audit log does not have this: restored %s: %s", what, error.message)


def without_others(picture: Picture, node: str, at: float) -> Picture:
    """The picture for `node` as its only server; the others are removed as of `at`. Pure."""
    others = {server for entry in picture.entries if (server := _server(entry)) and server != node}
    gone = {LEADER_KEY, LED_KEY, revoked_key(node)}
    for other in others:
        gone |= {member_key(other), node_key(other), presence_key(other), revoked_key(other)}
    reports = tuple(f"{REPORTS_PREFIX}{other}/" for other in others)
    kept = [e for e in picture.entries if e.key not in gone and not e.key.startswith(reports)]
    kept += [
        Entry(
            revoked_key(other),
            RevokedRecord(other, at, "restore").encode(),
            picture.revision,
            picture.revision,
            1,
        )
        for other in others
    ]
    return Picture(picture.revision, tuple(sorted(kept, key=lambda entry: entry.key)), picture.leases)


def without_joins(picture: Picture) -> Picture:
    """The picture without tokens to join with. Pure."""
    kept = tuple(entry for entry in picture.entries if not entry.key.startswith(JOIN_PREFIX))
    return Picture(picture.revision, kept, picture.leases)


def _server(entry: Entry) -> str:
    """The id of the server that a record is of, "" for all else."""
    try:
        if entry.key.startswith(MEMBERS_PREFIX):
            member = MemberRecord.decode(entry.value)
            return member.node if member.role is Role.SERVER else ""
        if entry.key.startswith(PRESENCE_PREFIX):
            known = PresenceRecord.decode(entry.value)
            return entry.key.removeprefix(PRESENCE_PREFIX) if known.facts.role is Role.SERVER else ""
    except RecordError:
        return ""
    return ""
