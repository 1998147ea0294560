"""Turns a machine into a member of a cluster, or back: what init, join and leave do on the machine itself.

Each may be cut short at any moment and be asked for again: cluster.json is written last and removed first.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import socket
from typing import TYPE_CHECKING

from skerry.entry.rest.machine import primary_ip
from skerry.fleet.access.audit import Audit
from skerry.fleet.access.caller import CallerKind
from skerry.fleet.access.members import Members
from skerry.fleet.access.records import AuditRecord, MemberRecord
from skerry.fleet.agent.kept import Kept
from skerry.fleet.cluster.build import SQLITE_FILE, first_membership, set_aside
from skerry.fleet.cluster.build import enlisted as enlisted_in_etcd
from skerry.fleet.cluster.build import migrate as migrate_to_etcd
from skerry.fleet.cluster.errors import ClusterError
from skerry.fleet.cluster.etcd_server import EtcdServer
from skerry.fleet.cluster.membership import Membership, forget_membership, read_membership, write_membership
from skerry.fleet.state.node import Role, node_key, presence_key
from skerry.fleet.state.unit import REPORTS_PREFIX
from skerry.fleet.store.etcd import EtcdStore
from skerry.fleet.store.interface import Delete, DeletePrefix
from skerry.fleet.trust import identity
from skerry.fleet.trust.founding import found
from skerry.fleet.trust.joining import join
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from skerry.entry.daemon.first_join import Enlisted
    from skerry.entry.daemon.machine import Machine
    from skerry.fleet.store.gate import Gate
    from skerry.fleet.store.interface import Store
    from skerry.fleet.trust.joining import Joined


@contextlib.asynccontextmanager
async def etcd_here(machine: Machine) -> AsyncIterator[EtcdServer]:
    """The member of etcd that this machine runs, or is to run."""
    services = await machine.doors.services()
    try:
        yield EtcdServer(machine.paths.state, services, machine.clock)
    finally:
        await services.close()


def own_address(asked: str) -> str:
    """Where others reach this machine. Raises ClusterError."""
    address = asked or primary_ip()
    if not address:
        raise ClusterError(
            "this machine has no address that others could reach", hint="say which: --address 10.0.0.1"
        )
    return address


async def init(machine: Machine, store: Gate, name: str, address: str, *, etcd: bool) -> Membership:
    """Make a machine alone the first server of a cluster; its units run on, and nothing stored is lost.

    On return cluster.json says so, and the role is to be changed. Raises SkerryError.
    """
    address = own_address(address)
    hosts = (address, socket.gethostname())
    now = machine.clock.now()
    name = name or "skerry"
    node = machine.node.id
    facts, key = await asyncio.to_thread(found, machine.pki, name, node, now=now, hosts=hosts)
    member = MemberRecord(node, identity.Role.SERVER, facts.serial, key, now, facts.expires, address)
    await Members(store, machine.clock).write(member)
    await written_down(machine, store, "init", name)
    membership = first_membership(secrets.token_hex(16), name, node, address)
    if not etcd:
        write_membership(machine.paths.state, membership)
        return membership
    return await migrate(machine, store, membership)


async def migrate(machine: Machine, store: Gate, membership: Membership) -> Membership:
    """Move the store into an etcd of one member. As `init`."""
    if read_membership(machine.paths.state) is not None:
        await written_down(machine, store, "migrate", membership.name)
    async with etcd_here(machine) as server:
        try:
            moved = await migrate_to_etcd(machine.paths.state, store, server, membership, store.hold)
        except BaseException:
            if read_membership(machine.paths.state) in (None, membership):
                store.release()
                # systemd would try for ever what may never be, as with an address that is not this machine's.
                with contextlib.suppress(SkerryError):
                    await server.end()
            raise
    store.shut()
    return moved


async def join_cluster(
    machine: Machine,
    token: str,
    servers: Sequence[str],
    role: identity.Role | None,
    address: str,
) -> Membership:
    """Make a machine alone a member; on return cluster.json says so, and the role is to be changed."""
    address = own_address(address)
    joined = await asyncio.to_thread(
        join,
        machine.pki,
        token,
        servers,
        machine.node.id,
        now=machine.clock.now(),
        address=address,
        names=(socket.gethostname(),),
        role=role,
    )
    if joined.role is identity.Role.SERVER:
        membership = await enlisting(machine)(joined, address)
    else:
        membership = Membership(
            joined.cluster, joined.name, machine.node.id, Role.AGENT, address, joined.servers
        )
    write_membership(machine.paths.state, membership)
    machine.pki.joined()
    return membership


def enlisting(machine: Machine) -> Enlisted:
    """What a new server does before it is one: starts its member of etcd."""

    async def enlisted(joined: Joined, address: str) -> Membership:
        if joined.store is None:
            raise ClusterError("the cluster told this server nothing of its store")
        membership = Membership(
            joined.cluster, joined.name, machine.node.id, Role.SERVER, address, joined.servers
        )
        async with etcd_here(machine) as server:
            return await enlisted_in_etcd(server, membership, joined.store.etcd)

    return enlisted


async def forget(machine: Machine) -> None:
    """Between two roles: this machine is alone from now on, with an empty store; what it ran goes.

    Nothing stays that holds keys or tokens of the cluster. cluster.json goes last but for the certificates,
    with which `cluster leave` may be asked for once more.
    """
    state = machine.paths.state
    set_aside(state)
    for old in state.glob(SQLITE_FILE + ".migrated*"):
        old.unlink(missing_ok=True)
    await asyncio.to_thread(shutil.rmtree, machine.paths.snapshots, ignore_errors=True)
    Kept(state).forget()
    forget_membership(state)
    await asyncio.to_thread(shutil.rmtree, machine.pki.directory, ignore_errors=True)


async def written_down(machine: Machine, store: Store, verb: str, detail: str) -> None:
    """Into the audit log: the role that was asked ends with what it was asked, and its own log with it."""
    what = f"POST /v1/host/cluster/{verb}"
    record = AuditRecord(machine.clock.now(), CallerKind.ROOT, "root", "", what, 200, detail)
    await Audit(store, machine.clock).append(record)


async def tell_others(machine: Machine, server: EtcdServer, others: Sequence[str]) -> None:
    """Of a server that has given back its vote: the rest of the cluster knows it no longer."""
    node = machine.node.id
    store = await EtcdStore.open(others, name=node, tls=server.tls, clock=machine.clock)
    try:
        await written_down(machine, store, "leave", node)
        await Members(store, machine.clock).remove(node, by="root")
        reports = DeletePrefix(f"{REPORTS_PREFIX}{node}/")
        await store.transact([], [Delete(node_key(node)), Delete(presence_key(node)), reports])
    finally:
        await store.close()
