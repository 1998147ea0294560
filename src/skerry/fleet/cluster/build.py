"""A cluster's servers come and go. Each verb may be repeated after it was cut short.

    migrate   empty member ─ copy ─ foundation ─→ cluster.json names etcd ─→ store.db set aside
    enlist    (a server that is there) room for a learner, and what to tell it
    enlisted  (the new one) settings, start, vote ─→ what its cluster.json is to say
    part      vote given back ─→ the others are told ─→ member ended ─→ cluster.json gone
    restore   old member aside ─→ snapshot into a new etcd of one ─→ cluster.json names it ─→ old one gone
    rescue    what this member holds, without the others ─→ snapshot ─→ as restore

What counts is one rename each time: before it the machine is what it was.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec

from skerry.fleet.cluster.errors import ClusterError, EtcdError, LastServerError
from skerry.fleet.cluster.etcd_admin import add_learner, list_members, promote, remove_member
from skerry.fleet.cluster.membership import (
    API_PORT,
    Membership,
    url_of,
    write_membership,
)
from skerry.fleet.cluster.snapshot import read_snapshot, write_picture
from skerry.fleet.cluster.transfer import Picture, put_picture, survivors_picture, transfer
from skerry.fleet.state.node import Role
from skerry.fleet.store.etcd_foundation import found
from skerry.kit.files import sync_directory
from skerry.kit.progress import Phase, Progress, silent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from skerry.fleet.cluster.etcd_server import EtcdServer
    from skerry.fleet.store.etcd_client import EtcdClient
    from skerry.fleet.store.interface import Store
    from skerry.kit.progress import Reporter

SQLITE_FILE = "store.db"
LOST_REVISIONS = 1_000_000
"""How far the revisions of a restored store lie beyond its snapshot: more than were made since."""


def first_membership(cluster: str, name: str, node: str, address: str) -> Membership:
    """What `init` writes: a cluster of one server, whose store is still the file it had."""
    return Membership(cluster, name, node, Role.SERVER, address, (url_of(address, API_PORT),))


async def migrate(
    state: Path,
    source: Store,
    server: EtcdServer,
    membership: Membership,
    freeze: Callable[[], Awaitable[None]],
    *,
    report: Reporter = silent,
) -> Membership:
    """Move the store of the only server into an etcd of one member; what cluster.json says now.

    `freeze` makes that nobody changes the source any more; from its return on the store is to be opened at
    what is returned. Cut short anywhere before, the old store goes on to be the store, and the next try
    begins anew. Raises EtcdError, StoreError.
    """
    if membership.store:
        raise ClusterError("this cluster has its store in etcd already")
    await server.end()
    await _start_alone(server, membership, report)
    client = server.client()
    try:
        await transfer(source, client, freeze, report=report)
    finally:
        client.close()
    moved = _in_etcd(membership, server)
    write_membership(state, moved)
    return moved


def set_aside(state: Path) -> None:
    """Rename the file of the old store, once its process has closed it; no error where it was done."""
    for end in ("", "-wal", "-shm"):
        old = state / (SQLITE_FILE + end)
        if old.exists():
            old.rename(state / (SQLITE_FILE + ".migrated" + end))
    sync_directory(state)


async def enlist(client: EtcdClient, server: EtcdServer, node: str, address: str) -> dict[str, str]:
    """Make room in etcd for the server `node` at `address`; what it is to be told, see `enlisted`.

    Raises EtcdError, UnavailableError.
    """
    peer_url = url_of(address, server.ports.peers)
    for member in await list_members(client):
        if member.name == node and peer_url not in member.peer_urls:
            raise EtcdError(
                f"the server {node} is a member of the store at {', '.join(member.peer_urls)}",
                hint=f"has it a new address? `skerry cluster member remove {node}` first",
            )
    await add_learner(client, peer_url)
    members = await list_members(client)
    others = {member.name: url for member in members if member.name for url in member.peer_urls}
    clients = [url for member in members if member.name != node for url in member.client_urls]
    return {
        "members": ",".join(f"{name}={url}" for name, url in sorted((others | {node: peer_url}).items())),
        "clients": ",".join(clients),
    }


async def enlisted(
    server: EtcdServer,
    membership: Membership,
    told: Mapping[str, str],
    *,
    report: Reporter = silent,
) -> Membership:
    """Start this machine's member and give it its vote; what its cluster.json is to say.

    `membership` is without its store yet, `told` what `enlist` gave; the store's certificates are in place.
    Called again after a failure it goes on where it was. Raises EtcdError, UnavailableError.
    """
    members = dict(pair.split("=", 1) for pair in told["members"].split(","))
    others = [url for url in told["clients"].split(",") if url]
    node = membership.node
    report(Progress("join the store", Phase.STARTED, note="start etcd"))
    server.set_up(server.config(node, membership.cluster, membership.address, members=members))
    await server.start_learner()
    client = server.client(*others)
    try:
        peer_url = members[node]
        own = next((m for m in await list_members(client) if peer_url in m.peer_urls), None)
        if own is None:
            raise EtcdError(
                f"the other servers know nothing of a member at {peer_url}",
                hint="it was removed meanwhile; leave and join again with a new token",
            )
        report(Progress("join the store", Phase.ADVANCED, note="receive what the others hold"))
        await promote(client, own.id, server.clock)
    finally:
        client.close()
    await server.start()
    report(Progress("join the store", Phase.DONE, note="a member with a vote"))
    local = server.config(node, membership.cluster, membership.address).client_url
    return msgspec.structs.replace(membership, store=tuple(dict.fromkeys((local, *others))))


async def part(server: EtcdServer, membership: Membership, *, report: Reporter = silent) -> tuple[str, ...]:
    """Give back the vote of this server, which runs on; where the store answers from now on.

    Called again after a failure it goes on. Raises ClusterError for the last server, EtcdError,
    UnavailableError.
    """
    # Not the member here alone: it does not answer any more where this was cut short, or is removed.
    client = server.client(*membership.store)
    try:
        members = await list_members(client)
        own = [member for member in members if member.name == membership.node]
        others = tuple(url for member in members if member not in own for url in member.client_urls)
        if own and not others:
            raise LastServerError(
                "this is the last server: with it the cluster would end",
                hint="take a snapshot and reset the machine, if that is what you want",
            )
        report(Progress("leave the store", Phase.STARTED))
        for member in own:
            await remove_member(client, member.id)
    finally:
        client.close()
    report(Progress("leave the store", Phase.DONE))
    return others


async def remove_server(client: EtcdClient, node: str) -> None:
    """Take the vote of a server that is lost; no error where it has none. Raises EtcdError."""
    for member in await list_members(client):
        if member.name == node or (not member.name and node in member.peer_urls):
            await remove_member(client, member.id)


async def restore(
    state: Path,
    snapshot: Path,
    server: EtcdServer,
    membership: Membership,
    *,
    adapt: Callable[[Picture], Picture] = lambda picture: picture,
    report: Reporter = silent,
) -> Membership:
    """Begin anew with this server alone and what a snapshot holds; what cluster.json says now.

    The other servers have to leave and join again; `adapt` takes out of the picture what is known of them.
    Nobody may be using the store. What fails, or is cut short, leaves the member as it was: see
    EtcdServer.bring_back. Raises SnapshotError before anything is touched, EtcdError, StoreError.
    """
    picture = read_snapshot(snapshot).picture
    return await _restore(state, adapt(picture), server, membership, report)


async def rescue(
    state: Path,
    server: EtcdServer,
    membership: Membership,
    *,
    adapt: Callable[[Picture], Picture] = lambda picture: picture,
    report: Reporter = silent,
) -> Membership:
    """Begin anew with this server alone and what its own member holds, where the majority is lost for good.

    A snapshot of that is written beside it first. As `restore`.
    """
    client = server.client(leaderless=True)
    try:
        picture = await survivors_picture(client)
    finally:
        client.close()
    kept = state / "snapshots" / f"skerry-{picture.revision}.snapshot"
    write_picture(picture, kept, membership.cluster, server.clock)
    report(Progress("keep what is here", Phase.DONE, note=str(kept)))
    return await _restore(state, adapt(picture), server, membership, report)


async def _restore(
    state: Path, picture: Picture, server: EtcdServer, membership: Membership, report: Reporter
) -> Membership:
    await server.put_aside()
    try:
        await _start_alone(server, membership, report)
        client = server.client()
        try:
            base = await put_picture(client, picture, beyond=LOST_REVISIONS, report=report)
            await found(client, base)
        finally:
            client.close()
    except BaseException:
        await server.bring_back()
        raise
    restored = _in_etcd(
        msgspec.structs.replace(membership, servers=(url_of(membership.address, API_PORT),)), server
    )
    write_membership(state, restored)
    await server.drop_aside()
    report(Progress("restore", Phase.DONE, note=f"{len(picture.entries)} entries"))
    return restored


async def _start_alone(server: EtcdServer, membership: Membership, report: Reporter) -> None:
    """An etcd of this machine alone, which holds nothing."""
    report(Progress("start etcd", Phase.STARTED))
    # A token of its own: etcd makes ids of it, and members of before that still run take this one for theirs.
    token = f"{membership.cluster}.{secrets.token_hex(4)}"
    server.set_up(server.config(membership.node, token, membership.address))
    await server.start()
    report(Progress("start etcd", Phase.DONE))


def _in_etcd(membership: Membership, server: EtcdServer) -> Membership:
    config = server.config(membership.node, membership.cluster, membership.address)
    return msgspec.structs.replace(membership, store=(config.client_url,))
