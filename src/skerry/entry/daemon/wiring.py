"""What `skerryd` does from start to end: it plays the role that cluster.json names, and changes it on order.

    no cluster.json   single.py    the store in a file, scheduler, agent      what every machine is at first
    role "server"     serving.py   etcd with the other servers, TLS, agent
    role "agent"      agent.py     no store: one stream from any server

Each of them is drawn in its own module, and put together there and nowhere else. The Unix socket outlives
them (front.py), and so do units. A role that fails ends the daemon, and systemd starts it again.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import signal
import time
from typing import TYPE_CHECKING

from skerry.entry.daemon.machine import Doors, Machine, Paths
from skerry.entry.daemon.server import listen, make_server, serve
from skerry.entry.daemon.settings import Settings, read_settings
from skerry.entry.rest.machine import Node, machine_id
from skerry.fleet.cluster.membership import read_membership
from skerry.host.units.shutdown import machine_stops
from skerry.kit.errors import ProblemsError
from skerry.kit.notify import listen_fds, notify, watchdog_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from skerry.fleet.cluster.membership import Membership
    from skerry.kit.clock import Clock

GOODBYE_S = 8.0
COLLECT = (10_000, 20, 20)
"""When the collector of cycles looks. What thousands of agents bring stays, and by its own rule it took two
fifths of the processor while they joined; so a megabyte or two of garbage more lies about."""

_MODULES = {"single": "single", "server": "serving", "agent": "agent"}

log = logging.getLogger("skerry.daemon")


async def run(
    paths: Paths,
    settings: Settings,
    doors: Doors | None = None,
    *,
    on_settings: Callable[[Settings], None] = lambda _: None,
) -> None:
    """Run until SIGTERM or SIGINT. Raises ListenError, MembershipError; what else fails the API says."""
    doors = doors or Doors()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, _reload, paths, on_settings)
    node = Node(machine_id(paths.root / "etc/machine-id"), settings.metadata)
    machine = Machine(paths, settings, doors, node)
    read_membership(paths.state)  # fails before anything begins
    sockets = listen_fds() or [listen(paths.socket)]
    server = make_server(machine.front)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_watchdog(doors.clock)),
            group.create_task(_play(machine), name="role"),
        ]
        serving = group.create_task(serve(server, sockets))
        await stop.wait()
        notify("STOPPING=1")
        if await asyncio.to_thread(machine_stops):
            await machine.leave(GOODBYE_S)
        server.should_exit = True
        for task in tasks:
            task.cancel()
        await serving
    log.info("stopped; units keep running")


async def _play(machine: Machine) -> None:
    """One role after the other, for ever."""
    while True:
        membership = read_membership(machine.paths.state)
        if membership is not None:
            machine.end_join()
        role = "single" if membership is None else membership.role.value
        play = importlib.import_module(f"skerry.entry.daemon.{_MODULES[role]}").play
        playing = asyncio.create_task(play(machine, membership), name=role)
        wanted = asyncio.create_task(machine.turns.wanted.wait())
        told = asyncio.create_task(_tell(machine, membership))
        try:
            await asyncio.wait((playing, wanted), return_when=asyncio.FIRST_COMPLETED)
        finally:
            machine.front.take()
            for task in (playing, wanted, told):
                task.cancel()
            # Not awaited: its cancellation could not be told from our own, which would be lost.
            await asyncio.wait((playing,))
        if not playing.cancelled():
            playing.result()  # what it failed of ends the daemon
        await machine.turns.between()


async def _tell(machine: Machine, membership: Membership | None) -> None:
    """Say that the role has begun, to systemd and in the journal."""
    await machine.front.there()
    gc.collect()
    gc.freeze()  # what is there now stays: the collector need not look at it again
    gc.set_threshold(*COLLECT)
    what = "alone" if membership is None else f"{membership.role} of {membership.name}"
    notify(f"READY=1\nSTATUS=serving, {what}")
    log.info("serving on %s, %s", machine.paths.socket, what)


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
