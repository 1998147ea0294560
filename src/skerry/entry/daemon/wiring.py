"""The only place that puts the parts together: store, scheduler, feed, agent, API.

    SqliteStore ── REST ── Unix socket
         ├──────── Driver ─ placements
         └──────── Feed ── Agent ── systemd

A store that cannot be opened does not end the daemon: the API says why, on every path, the file is left
as it is, and units keep running as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Self

from skerry.entry.daemon.access import access_alone
from skerry.entry.daemon.server import listen, make_server, serve
from skerry.entry.daemon.settings import Settings, read_settings
from skerry.entry.rest.app import Cluster, create_app
from skerry.entry.rest.auth import Guard
from skerry.entry.rest.cluster import Surroundings, file_view
from skerry.entry.rest.desired import Check, Desired
from skerry.entry.rest.host import Host
from skerry.entry.rest.keys import routes as key_routes
from skerry.entry.rest.machine import Node, machine_id, primary_ip
from skerry.fleet.agent.agent import Agent
from skerry.fleet.agent.local import LocalSource
from skerry.fleet.assign.feed import Feed
from skerry.fleet.assign.reports import Reports
from skerry.fleet.keys.keyspace import Keyspace
from skerry.fleet.presence.facts import boot_id, read_facts
from skerry.fleet.presence.leader import Alone
from skerry.fleet.presence.registry import Registry
from skerry.fleet.schedule.driver import Driver
from skerry.fleet.state.node import Role
from skerry.fleet.state.placement import PlacementRecord, placement_key
from skerry.fleet.store.errors import StoreError
from skerry.fleet.store.sqlite import SqliteStore
from skerry.host.units.check import check_unit
from skerry.host.units.journal import read_journal
from skerry.host.units.placed import PlacedUnits
from skerry.host.units.systemd import Systemd
from skerry.kit.clock import SystemClock
from skerry.kit.errors import ProblemsError, SkerryError
from skerry.kit.notify import listen_fds, notify, watchdog_s

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from pathlib import Path

    from skerry.entry.rest.units import Explain, Journal
    from skerry.entry.rest.views import StoreView
    from skerry.fleet.agent.source import Source
    from skerry.fleet.schedule.explain import Explanation
    from skerry.fleet.state.node import Facts
    from skerry.fleet.store.interface import Store
    from skerry.host.units.interface import ServiceManager
    from skerry.kit.clock import Clock
    from skerry.kit.errors import Problem

RETRY_S = 2.0

log = logging.getLogger("skerry.daemon")


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the daemon finds and keeps things."""

    root: Path
    settings: Path
    store: Path
    socket: Path

    @classmethod
    def under(cls, root: Path) -> Self:
        """The usual places, below `root`, which is "/" on a machine."""
        return cls(root, root / "etc/skerry", root / "var/lib/skerry/store.db", root / "run/skerry/api.sock")


@dataclass(frozen=True, slots=True)
class Doors:
    """The ways out of the process; tests give their own."""

    services: Callable[[], Awaitable[ServiceManager]] = Systemd.connect
    check: Check = check_unit
    journal: Journal = read_journal
    clock: Clock = field(default_factory=SystemClock)


async def run(
    paths: Paths,
    settings: Settings,
    doors: Doors | None = None,
    *,
    on_settings: Callable[[Settings], None] = lambda _: None,
) -> None:
    """Run until SIGTERM or SIGINT. Raises ListenError; what else fails is logged, and said by the API."""
    doors = doors or Doors()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, _reload, paths, on_settings)
    node = Node(machine_id(paths.root / "etc/machine-id"), settings.metadata)
    sockets = listen_fds() or [listen(paths.socket)]
    async with contextlib.AsyncExitStack() as stack:
        store, reason = await _open_store(paths.store, doors.clock)
        host = Host(node.id, lambda: reason, paths.root)
        cluster, desired, access = None, None, None
        if store is not None:
            stack.push_async_callback(store.close)
            check = _minding_the_host(doors.check, PlacedUnits(paths.root))
            desired = Desired(store, node, check, doors.clock)
            access = access_alone(store, doors.clock)
            more = [*key_routes(Keyspace(store, doors.clock)), *access.routes]
            leading = Alone(store, node.id, doors.clock)
            driver = Driver(store, leading, doors.clock)
            limit, why = settings.token_limit, _explaining(driver, store)
            around = Surroundings(store=partial(_store_file, paths.store))
            cluster = Cluster(desired, doors.journal, more, around=around, explain=why, limit=limit)
        app = create_app(host, cluster)
        guard = Guard(app, doors.clock, None, None) if access is None else access.guard(app)
        server = make_server(guard)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_watchdog(doors.clock))]
            if access is not None:
                tasks += [group.create_task(w, name=name) for name, w in access.loops(guard).items()]
            if desired is not None:
                tasks.append(group.create_task(desired.mirror.run(), name="mirror of the store"))
            if store is not None:
                presence = Registry(store, leading, doors.clock, None)
                feed = Feed(store, doors.clock, fencing=False)
                source = LocalSource(feed, Reports(store), node.id, doors.clock, presence)
                tasks += [
                    group.create_task(leading.run(), name="leadership"),
                    group.create_task(presence.run(), name="presence"),
                    group.create_task(driver.run(), name="placements"),
                    group.create_task(feed.run(), name="assignments"),
                    group.create_task(_agent(source, doors, paths.root, node), name="agent"),
                ]
            serving = group.create_task(serve(server, sockets))
            gc.collect()
            gc.freeze()  # what is there now stays: the collector need not look at it again
            notify("READY=1\nSTATUS=" + (reason or "serving"))
            log.info("serving on %s%s", paths.socket, f", degraded: {reason}" if reason else "")
            await stop.wait()
            notify("STOPPING=1")
            server.should_exit = True
            for task in tasks:
                task.cancel()
            await serving
    log.info("stopped; units keep running")


async def _store_file(path: Path) -> StoreView:
    """How the store of a machine alone is."""
    return file_view(path)


def _explaining(driver: Driver, store: Store) -> Explain:
    """Says why a unit is where it is, by what the scheduler knows."""

    async def why(unit: str) -> Explanation | None:
        from skerry.fleet.schedule.explain import explain

        scheduler = driver.scheduler
        known = None if scheduler is None else scheduler.units.get(unit)
        if scheduler is None or known is None or not known.known:
            return None
        entry = None if known.ground is None else await store.get(placement_key(known.ground.id, unit))
        decided = "" if entry is None else PlacementRecord.decode(entry.value).why
        return explain(scheduler, unit, decided=decided)

    return why


def _minding_the_host(check: Check, placed: PlacedUnits) -> Check:
    """The check, and that a unit has no name of the host's own: told at once, not when it is placed."""

    def both(
        name: str,
        text: str,
        companions: Mapping[str, str] | None = None,
        *,
        file: str | None = None,
        drop_ins: Iterable[tuple[str, str]] = (),
    ) -> list[Problem]:
        beside = list(drop_ins)
        problems = check(name, text, companions, file=file, drop_ins=beside)
        clash = placed.clash(name, text, beside)
        return problems if clash is None else [clash, *problems]

    return both


async def _open_store(path: Path, clock: Clock) -> tuple[SqliteStore | None, str | None]:
    """The store, or the reason why there is none."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return await SqliteStore.open(path, clock=clock), None
    except StoreError as error:
        reason = error.message if error.hint is None else f"{error.message} ({error.hint})"
    except OSError as error:
        reason = f"the store {path} cannot be opened: {error.strerror}"
    log.error("%s; units keep running, and cannot be changed until this is mended", reason)
    return None, reason


async def _agent(source: Source, doors: Doors, root: Path, node: Node) -> None:
    """Run the agent; while systemd cannot be reached the API goes on, and this is tried again."""

    def facts() -> Facts:
        address = primary_ip()
        addresses = (address,) if address else ()
        return read_facts(root, metadata=node.metadata, role=Role.SERVER, addresses=addresses)

    said = ""
    while True:
        try:
            services = await doors.services()
            agent = Agent(source, services, root, doors.clock, node.id, boot=boot_id(root), facts=facts)
            try:
                await agent.run()
            finally:
                await services.close()
        except* SkerryError as group:
            reason = "; ".join(dict.fromkeys(str(error) for error in _leaves(group)))
            if reason != said:
                log.warning("units stay as they are for now: %s; trying again", reason)
            said = reason
        await doors.clock.sleep(RETRY_S)


def _leaves(group: BaseExceptionGroup[SkerryError]) -> list[SkerryError]:
    """The errors of a group that may hold groups."""
    found: list[SkerryError] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


async def _watchdog(clock: Clock) -> None:
    """Tell systemd that the event loop turns."""
    period_s = watchdog_s()
    while period_s is not None:
        notify("WATCHDOG=1")
        await clock.sleep(period_s / 3)


def _reload(paths: Paths, on_settings: Callable[[Settings], None]) -> None:
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
    try:
        on_settings(read_settings(paths.settings))
    except ProblemsError as error:
        log.warning("the settings stay as they were: %s", error.message)
    else:
        log.info("settings read again; labels and token_limit hold from the next start")
    notify("READY=1")
