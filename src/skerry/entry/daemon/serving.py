"""A server of a cluster: holds the state with the others, decides where it leads, and runs units, too.

    Unix socket ┐                    ┌─ etcd on this machine and the other servers (or still the file)
    TLS 7443 ───┴─ Guard ─ REST ─────┤      Leadership ─ Driver, Registry where it leads
       ↑ agents: stream, reports     └───── Feed ─ LocalSource ─ Agent ─ systemd
       └ servers: what they heard of nodes, passed on to the leader

Until the store answers for the first time the socket says why it does not, and the agent goes on with what it
was last told. Later losses are the store's own affair: what is asked meanwhile fails, what runs runs on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from skerry.entry.daemon.access import access_of_server
from skerry.entry.daemon.checks import explaining, minding_the_host
from skerry.entry.daemon.late import LateSource
from skerry.entry.daemon.machine import RETRY_S, sentence
from skerry.entry.daemon.server import make_server, serve
from skerry.entry.daemon.single import open_sqlite
from skerry.entry.daemon.standing import Standing
from skerry.entry.daemon.tls import PortError
from skerry.entry.daemon.verbs import ServerVerbs
from skerry.entry.rest.agents import Agents
from skerry.entry.rest.app import Cluster, create_app
from skerry.entry.rest.auth import Guard
from skerry.entry.rest.cluster import Surroundings, etcd_view, file_view
from skerry.entry.rest.desired import Desired
from skerry.entry.rest.here import Here
from skerry.entry.rest.host import Host
from skerry.entry.rest.keys import routes as key_routes
from skerry.entry.rest.pulse import Pulse
from skerry.entry.rest.servers import Servers
from skerry.fleet.access.members import Members
from skerry.fleet.agent.kept import Kept
from skerry.fleet.agent.local import LocalSource
from skerry.fleet.assign.feed import Feed
from skerry.fleet.assign.reports import Reports
from skerry.fleet.cluster.build import enlist, remove_server, set_aside
from skerry.fleet.cluster.care import Care
from skerry.fleet.cluster.errors import EtcdError
from skerry.fleet.cluster.etcd_admin import list_members
from skerry.fleet.cluster.etcd_server import EtcdServer
from skerry.fleet.cluster.membership import API_PORT, url_of
from skerry.fleet.keys.keyspace import Keyspace
from skerry.fleet.presence.forward import Forwarder
from skerry.fleet.presence.leader import Leadership
from skerry.fleet.presence.registry import Registry
from skerry.fleet.schedule.driver import Driver
from skerry.fleet.state.node import Role
from skerry.fleet.store.errors import StoreError
from skerry.fleet.store.etcd import EtcdStore
from skerry.fleet.store.gate import Gate
from skerry.fleet.trust.certificates import read_certificate
from skerry.fleet.trust.renewal import Renewal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from skerry.entry.daemon.machine import Machine
    from skerry.entry.rest.views import NodeView, StoreView
    from skerry.fleet.cluster.membership import Membership
    from skerry.fleet.trust.contexts import NodeTls

log = logging.getLogger("skerry.daemon")


async def play(machine: Machine, membership: Membership | None) -> None:
    """Be a server until cancelled."""
    assert membership is not None  # noqa: S101  the loop has seen it
    standing = Standing(machine.paths.state, membership)
    tls = machine.tls()
    reason: str | None = "the store of the cluster has not answered yet"
    host = Host(machine.node.id, lambda: reason, machine.paths.root)
    services = await machine.doors.services()
    etcd = EtcdServer(machine.paths.state, services, machine.clock)
    try:
        source = LateSource()
        machine.front.put(_degraded(machine, standing, host))
        async with asyncio.TaskGroup() as group:
            if machine.settings.agent:
                kept = Kept(machine.paths.state)
                work = machine.run_agent(source, Role.SERVER, membership.address, kept)
                group.create_task(work, name="agent")
            if membership.store:
                set_aside(machine.paths.state)
                if await etcd.bring_back():
                    log.warning("a restore was cut short: this server goes on with the store that it had")
            store, said = None, ""
            while store is None:
                try:
                    store = await _open(machine, membership, etcd)
                except (StoreError, EtcdError) as error:
                    reason = sentence(error)
                    if reason != said:
                        log.warning("%s; units keep running, trying again", reason)
                    said = reason
                    machine.turns.begun()
                    await machine.clock.sleep(RETRY_S)
            reason = None
            try:
                await _Serving(machine, standing, store, etcd, tls, host).run(source)
            finally:
                await store.close()
    finally:
        await services.close()


async def _open(machine: Machine, membership: Membership, etcd: EtcdServer) -> EtcdStore | Gate:
    """The store. Raises StoreError, EtcdError."""
    if membership.store:
        etcd.hand_over()  # a renewal may have been cut short before it did
        endpoints = (url_of(etcd.ports.local, etcd.ports.clients), *membership.store[1:])
        store = await EtcdStore.open(endpoints, name=machine.node.id, tls=etcd.tls, clock=machine.clock)
        try:
            await _still_in(store, machine)
        except BaseException:
            await store.close()
            raise
        return store
    opened, reason = await open_sqlite(machine)
    if opened is None:
        raise StoreError(reason or "the store cannot be opened")
    return Gate(opened)


async def _still_in(store: EtcdStore, machine: Machine) -> None:
    """Raises StoreError where the others answer, but not as to one of theirs."""
    node = machine.node.id
    serial = read_certificate(machine.pki.read_node().certificate_pem).serial
    revoked = await Members(store, machine.clock).revoked(node)
    known = {member.name for member in await list_members(store.client)}
    if node not in known or (revoked is not None and serial not in revoked.again):
        raise StoreError(
            "this machine was removed from the servers of its cluster",
            hint="`skerry cluster leave --force`; then it may join again",
        )


def _degraded(machine: Machine, standing: Standing, host: Host) -> Guard:
    verbs = ServerVerbs(machine, standing.now, None)
    return Guard(create_app(host, None, always=Here(verbs).routes()), machine.clock, None, None)


class _Serving:
    """Everything that stands on the open store."""

    def __init__(
        self,
        machine: Machine,
        standing: Standing,
        store: EtcdStore | Gate,
        etcd: EtcdServer,
        tls: NodeTls,
        host: Host,
    ) -> None:
        clock, node = machine.clock, machine.node
        self._machine = machine
        self._standing = standing
        self._store = store
        self._etcd = etcd
        self._tls = tls
        url = url_of(standing.now().address, API_PORT)
        self._forward = Forwarder(tls.client)
        self._leadership = Leadership(store, node.id, url, clock)
        self._presence = Registry(store, self._leadership, clock, self._forward)
        self._driver = Driver(store, self._leadership, clock)
        self._feed = Feed(store, clock)
        self._reports = Reports(store, self._feed.is_fenced)
        self._agents = Agents(self._feed, self._reports, self._presence)
        pki = machine.pki
        self._access = access_of_server(store, clock, pki, standing.now, self._enlisting())
        self._access.known.on_removed(self._feed.close)
        self._access.known.on_removed(self._step_down)
        check = minding_the_host(machine.doors.check, machine.paths.root)
        self._desired = Desired(store, node, check, clock)
        around = Surroundings(standing.now(), self._health, self._presence.skews_s)
        cluster = Cluster(
            self._desired,
            machine.doors.journal,
            self._routes(),
            around=around,
            removal=self._remove,
            explain=explaining(self._driver, store),
            limit=machine.settings.token_limit,
        )
        self._guard = self._access.guard(create_app(host, cluster))

    def _step_down(self, removed: str) -> None:
        if removed == self._machine.node.id:
            log.warning("this server was removed from the cluster by another one")
            self._machine.turns.again()

    async def run(self, source: LateSource) -> None:
        """Until cancelled."""
        machine, clock = self._machine, self._machine.clock
        joining = self._access.joining
        assert joining is not None  # noqa: S101  a server has it
        renewal = Renewal(machine.pki, clock, joining.renew_here, self._renewed)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._desired.mirror.run(), name="mirror of the store")
                group.create_task(self._leadership.run(), name="leadership")
                group.create_task(self._presence.run(), name="presence")
                group.create_task(self._driver.run(), name="placements")
                group.create_task(self._feed.run(), name="assignments")
                for name, loop in self._access.loops(self._guard).items():
                    group.create_task(loop, name=name)
                group.create_task(renewal.run(), name="certificates")
                group.create_task(self._listen(), name="API for other machines")
                if isinstance(self._store, EtcdStore):
                    group.create_task(self._standing.follow(self._store, clock), name="servers")
                    group.create_task(self._care(self._store).run(), name="care of the store")
                machine.front.put(self._guard)
                node = machine.node.id
                source.put(LocalSource(self._feed, self._reports, node, clock, self._presence))
                machine.turns.begun()
        finally:
            self._forward.close()

    def _renewed(self) -> None:
        self._tls.reload()
        if isinstance(self._store, EtcdStore):
            try:
                self._etcd.hand_over()
            except EtcdError as error:
                log.error("%s; the next start of skerryd does it", error.message)  # noqa: TRY400

    async def _listen(self) -> None:
        """Serve other machines; where the port is taken, try again."""
        said = ""
        while True:
            try:
                anywhere = "::" if ":" in self._standing.now().address else "0.0.0.0"  # noqa: S104
                sockets = [self._machine.doors.listen(anywhere)]
                break
            except PortError as error:
                if error.message != said:
                    log.error("%s; trying again", error.message)  # noqa: TRY400  a sentence is enough
                said = error.message
                await self._machine.clock.sleep(RETRY_S)
        server = make_server(self._guard, self._tls.server(), Pulse(self._guard, self._agents))
        task = asyncio.create_task(serve(server, sockets))
        try:
            await asyncio.shield(task)
        finally:
            server.should_exit = True
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _routes(self) -> list[BaseRoute]:
        standing = self._standing
        return [
            *Servers(lambda: standing.now().servers).routes(),
            *self._access.routes,
            *self._agents.routes(),
            *key_routes(Keyspace(self._store, self._machine.clock)),
            *Here(ServerVerbs(self._machine, standing.now, self._store)).routes(),
        ]

    def _enlisting(self) -> Callable[[str, str], Awaitable[dict[str, str]]] | None:
        """Makes room in etcd for a new server; None while the store is a file."""
        store = self._store
        if not isinstance(store, EtcdStore):
            return None

        async def more(node: str, address: str) -> dict[str, str]:
            initial = await enlist(store.client, self._etcd, node, address)
            self._standing.more()  # agents that join next are told of it
            return initial

        return more

    async def _remove(self, node: NodeView, request: Request) -> None:
        """A machine is taken out: its certificate, and the vote of a server."""
        await self._access.removal(node, request)
        if isinstance(self._store, EtcdStore):
            await remove_server(self._store.client, node.id)

    def _care(self, store: EtcdStore) -> Care:
        return Care(store, self._etcd, self._machine.paths.state, self._machine.node.id)

    async def _health(self) -> StoreView:
        if not isinstance(self._store, EtcdStore):
            return file_view(self._machine.paths.store)
        return etcd_view(await self._care(self._store).health())
