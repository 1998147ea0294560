"""What every role of the daemon is given: the machine itself, and the ways out of the process.

/etc/skerry           settings, join.toml          /run/skerry/api.sock   the API, for root
/var/lib/skerry       cluster.json, store.db or etcd/, pki/, snapshots/, assignments.json
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from skerry.entry.daemon.front import Front, Turns
from skerry.entry.daemon.tls import listen_tcp
from skerry.entry.rest.machine import primary_ip
from skerry.fleet.agent.agent import Agent
from skerry.fleet.presence.facts import boot_id, read_facts
from skerry.fleet.presence.heartbeat import Heartbeat
from skerry.host.units.check import check_unit
from skerry.host.units.journal import read_journal
from skerry.host.units.systemd import Systemd
from skerry.kit.clock import SystemClock
from skerry.kit.errors import SkerryError
from skerry.kit.files import sync_directory

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from skerry.entry.daemon.settings import Settings
    from skerry.entry.rest.desired import Check
    from skerry.entry.rest.machine import Node
    from skerry.entry.rest.units import Journal
    from skerry.fleet.agent.kept import Kept
    from skerry.fleet.agent.source import Source
    from skerry.fleet.state.node import Facts, Role
    from skerry.fleet.trust.contexts import NodeTls
    from skerry.fleet.trust.files import Pki
    from skerry.host.units.interface import ServiceManager
    from skerry.kit.clock import Clock

RETRY_S = 2.0
LEAVE_AGAIN_S = 0.5

log = logging.getLogger("skerry.daemon")


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the daemon finds and keeps things."""

    root: Path
    settings: Path
    state: Path
    socket: Path

    @classmethod
    def under(cls, root: Path) -> Self:
        """The usual places, below `root`, which is "/" on a machine."""
        return cls(root, root / "etc/skerry", root / "var/lib/skerry", root / "run/skerry/api.sock")

    @property
    def store(self) -> Path:
        return self.state / "store.db"

    @property
    def join_file(self) -> Path:
        return self.settings / "join.toml"

    @property
    def snapshots(self) -> Path:
        return self.state / "snapshots"


@dataclass(frozen=True, slots=True)
class Doors:
    """The ways out of the process; tests give their own."""

    services: Callable[[], Awaitable[ServiceManager]] = Systemd.connect
    check: Check = check_unit
    journal: Journal = read_journal
    clock: Clock = field(default_factory=SystemClock)
    listen: Callable[[str], socket.socket] = listen_tcp  # at an address, for other machines


@dataclass(frozen=True, slots=True)
class Machine:
    """See the module. `front` and `turns` outlive a role."""

    paths: Paths
    settings: Settings
    doors: Doors
    node: Node
    front: Front = field(default_factory=Front)
    turns: Turns = field(default_factory=Turns)
    agents: list[Agent] = field(default_factory=list)

    @property
    def clock(self) -> Clock:
        return self.doors.clock

    @property
    def pki(self) -> Pki:
        """This machine's certificates; imported when there may be some."""
        from skerry.fleet.trust.files import DIRECTORY, Pki

        return Pki(self.paths.root / DIRECTORY)

    def tls(self) -> NodeTls:
        """Contexts for TLS, made anew: a role keeps its own."""
        from skerry.fleet.trust.contexts import NodeTls

        return NodeTls(self.pki)

    def facts(self, role: Role, address: str = "") -> Facts:
        """This machine as it is now, for the servers. Reads files."""
        mine = address or primary_ip()
        addresses = (mine,) if mine else ()
        return read_facts(self.paths.root, metadata=self.node.metadata, role=role, addresses=addresses)

    def hello(self, role: Role, address: str = "") -> Heartbeat:
        """What a stream of assignments begins with."""
        return Heartbeat(boot_id(self.paths.root), self.clock.now(), self.facts(role, address))

    async def run_agent(
        self, source: Source, role: Role, address: str = "", kept: Kept | None = None
    ) -> None:
        """Run the agent; while systemd cannot be reached the API goes on, and this is tried again."""
        said = ""
        try:
            while True:
                try:
                    services = await self.doors.services()
                    agent = Agent(
                        source,
                        services,
                        self.paths.root,
                        self.clock,
                        self.node.id,
                        kept=kept,
                        boot=boot_id(self.paths.root),
                        facts=lambda: self.facts(role, address),
                    )
                    # Until there is another: where the bus goes first, as it may when the machine stops, the
                    # one that failed of it is still to say goodbye.
                    self.agents[:] = [agent]
                    try:
                        await agent.run()
                    finally:
                        await services.close()
                except* SkerryError as group:
                    reason = "; ".join(dict.fromkeys(str(error) for error in leaves(group)))
                    if reason != said:
                        log.warning("units stay as they are for now: %s; trying again", reason)
                    said = reason
                await self.clock.sleep(RETRY_S)
        finally:
            self.agents.clear()

    def end_join(self) -> None:
        """Of a member: a kill may have left the token, by which it would join again when it leaves."""
        try:
            self.pki.joined()
            if self.paths.join_file.exists():
                self.paths.join_file.unlink(missing_ok=True)
                sync_directory(self.paths.settings)
        except OSError as error:
            log.warning("%s is to go, and cannot be removed: %s", self.paths.join_file, error.strerror)

    async def leave(self, timeout_s: float) -> None:
        """The machine stops: its units may run elsewhere at once. Said again until a server has heard it."""
        said: Exception = TimeoutError("none answers in time")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                for agent in self.agents:
                    while True:
                        try:
                            await agent.leave()
                        except SkerryError as error:
                            said = error
                            await self.clock.sleep(LEAVE_AGAIN_S)
                        else:
                            break
                return
        log.warning("the servers do not know that this machine stops: %s", said)


def leaves(group: BaseExceptionGroup[SkerryError]) -> list[SkerryError]:
    """The errors of a group that may hold groups."""
    found: list[SkerryError] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def sentence(error: SkerryError) -> str:
    """An error with its hint, for a place that has room for one text."""
    return error.message if error.hint is None else f"{error.message} ({error.hint})"
