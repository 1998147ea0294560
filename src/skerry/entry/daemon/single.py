"""A machine alone: server and agent in one, with the store in a file. What every machine is at first.

    Unix socket ── REST ── Gate ── SqliteStore
                            ├───── Driver ─ placements
                            └───── Feed ── Agent ── systemd
    join.toml ───→ first_join ──→ the role of a member          Gate: init holds it while the store moves

A store that cannot be opened does not end the daemon: the API says why, on every path, the file is left
as it is, and units keep running as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from functools import partial
from typing import TYPE_CHECKING

from skerry.entry.daemon.access import access_alone
from skerry.entry.daemon.checks import explaining, minding_the_host
from skerry.entry.daemon.front import Patient
from skerry.entry.daemon.machine import sentence
from skerry.entry.rest.app import Cluster, create_app
from skerry.entry.rest.auth import Guard
from skerry.entry.rest.cluster import Surroundings, file_view
from skerry.entry.rest.desired import Desired
from skerry.entry.rest.here import Here
from skerry.entry.rest.host import Host
from skerry.entry.rest.keys import routes as key_routes
from skerry.fleet.agent.kept import Kept
from skerry.fleet.agent.local import LocalSource
from skerry.fleet.assign.feed import Feed
from skerry.fleet.assign.reports import Reports
from skerry.fleet.keys.keyspace import Keyspace
from skerry.fleet.presence.leader import Alone
from skerry.fleet.presence.registry import Registry
from skerry.fleet.schedule.driver import Driver
from skerry.fleet.state.node import Role
from skerry.fleet.store.errors import StoreError
from skerry.fleet.store.gate import Gate
from skerry.fleet.store.sqlite import SqliteStore
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from skerry.entry.daemon.machine import Machine
    from skerry.entry.rest.here import HereOrder, HereView
    from skerry.entry.rest.views import StoreView
    from skerry.fleet.cluster.membership import Membership

log = logging.getLogger("skerry.daemon")


async def open_sqlite(machine: Machine) -> tuple[SqliteStore | None, str | None]:
    """The store, or the reason why there is none."""
    path = machine.paths.store
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return await SqliteStore.open(path, clock=machine.clock), None
    except StoreError as error:
        reason = sentence(error)
    except OSError as error:
        reason = f"the store {path} cannot be opened: {error.strerror}"
    log.error("%s; units keep running, and cannot be changed until this is mended", reason)
    return None, reason


async def play(machine: Machine, _: Membership | None) -> None:
    """Be a machine alone until cancelled."""
    node, clock = machine.node, machine.clock
    Kept(machine.paths.state).forget()  # of a cluster that it was in: nobody tells it what to run any more
    async with contextlib.AsyncExitStack() as stack:
        opened, reason = await open_sqlite(machine)
        host = Host(node.id, lambda: reason, machine.paths.root)
        if opened is None:
            machine.front.put(Guard(create_app(host, None), clock, None, None))
            machine.turns.begun()
            await asyncio.Event().wait()
            return
        store = Gate(opened)
        stack.push_async_callback(store.close)
        leading = Alone(store, node.id, clock)
        driver = Driver(store, leading, clock)
        presence = Registry(store, leading, clock, None)
        feed = Feed(store, clock, fencing=False)
        check = minding_the_host(machine.doors.check, machine.paths.root)
        desired = Desired(store, node, check, clock)
        source = LocalSource(feed, Reports(store), node.id, clock, presence)
        access = access_alone(store, clock)
        more = [*key_routes(Keyspace(store, clock)), *access.routes, *Here(_Verbs(machine, store)).routes()]
        why, limit = explaining(driver, store), machine.settings.token_limit
        cluster = Cluster(
            desired,
            machine.doors.journal,
            more,
            around=Surroundings(store=partial(_store_file, machine)),
            explain=why,
            limit=limit,
        )
        guard = access.guard(create_app(host, cluster))
        machine.front.put(guard)
        async with asyncio.TaskGroup() as group:
            for name, loop in access.loops(guard).items():
                group.create_task(loop, name=name)
            group.create_task(desired.mirror.run(), name="mirror of the store")
            group.create_task(leading.run(), name="leadership")
            group.create_task(presence.run(), name="presence")
            group.create_task(driver.run(), name="placements")
            group.create_task(feed.run(), name="assignments")
            group.create_task(machine.run_agent(source, Role.SERVER), name="agent")
            if machine.paths.join_file.exists():
                group.create_task(_join_at_first(machine), name="join")
            machine.turns.begun()


async def _store_file(machine: Machine) -> StoreView:
    return file_view(machine.paths.store)


class _Verbs:
    """What makes and joins clusters is imported when it is asked for: most machines alone stay so."""

    def __init__(self, machine: Machine, store: Gate) -> None:
        self._machine = machine
        self._store = store

    async def do(self, verb: str, asked: HereOrder) -> HereView:
        from skerry.entry.daemon.verbs import SingleVerbs

        return await SingleVerbs(self._machine, self._store).do(verb, asked)


async def _join_at_first(machine: Machine) -> None:
    """What join.toml asks for; where it cannot be, the machine stays a single one, and says why."""
    from skerry.entry.daemon.build import enlisting, own_address
    from skerry.entry.daemon.first_join import first_join

    clock = Patient(machine.clock, machine.turns)
    try:
        async with clock.alone():
            membership = await first_join(
                machine.paths.settings,
                machine.paths.state,
                machine.pki,
                machine.node.id,
                clock,
                enlisting(machine),
                own_address=own_address,
                names=(socket.gethostname(),),
            )
            if membership is not None:
                await machine.turns.change()
    except (SkerryError, OSError) as error:
        log.error("this machine has not joined its cluster: %s", error)  # noqa: TRY400  a sentence is enough
