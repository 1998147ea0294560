"""Machines of a cluster on loopback: each a state directory, certificates, and a real etcd as its unit."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fakes.clock import WallClock
from fakes.etcd import free_ports
from fakes.etcd_cluster import PROGRAM
from skerry.fleet.cluster.build import enlist, enlisted, first_membership
from skerry.fleet.cluster.etcd_config import Ports
from skerry.fleet.cluster.etcd_server import UNIT, EtcdServer
from skerry.fleet.cluster.membership import Membership, write_membership
from skerry.fleet.store.etcd import EtcdStore
from skerry.fleet.trust.certificates import Authority, Credential, make_request, new_key, read_request
from skerry.fleet.trust.files import Pki
from skerry.fleet.trust.identity import Identity, Role
from skerry.host.units.interface import UnitState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from skerry.host.units.interface import Changes


@dataclass
class EtcdUnit:
    """The part of a ServiceManager that a member of etcd needs: one unit, which is a real process."""

    settings: Path
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    async def start(self, name: str) -> None:
        assert name == UNIT
        if self.process is not None and self.process.poll() is None:
            return
        if not self.settings.exists():
            return  # the unit's condition
        self.starts += 1
        with (self.settings.parent / "log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220  it lives on
                [PROGRAM, "--config-file", str(self.settings)],
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"]},
            )

    async def stop(self, name: str) -> None:
        assert name == UNIT
        self.kill()

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    async def reset_failed(self, name: str) -> None: ...

    async def reload(self) -> None: ...

    async def enable(self, name: str) -> None: ...

    async def disable(self, name: str) -> None: ...

    async def state(self, name: str) -> UnitState:
        running = self.process is not None and self.process.poll() is None
        return UnitState(
            name, "loaded", "active" if running else "inactive", "running" if running else "dead"
        )

    def changes(self, names: frozenset[str]) -> Changes:
        raise NotImplementedError

    async def close(self) -> None: ...


@dataclass
class Machine:
    """One server; `number` is its place on loopback: 127.0.1.<number>."""

    state: Path
    number: int
    ports: tuple[int, int]
    authority: Authority
    clock: WallClock = field(default_factory=WallClock)

    def __post_init__(self) -> None:
        self.state.mkdir()
        self.address = f"127.0.1.{self.number}"
        self.node = f"{self.number:032x}"
        self.unit = EtcdUnit(self.state / "etcd" / "etcd.yaml")
        ports = Ports(self.ports[0], self.ports[1], local=self.address)
        self.server = EtcdServer(self.state, self.unit, self.clock, ports=ports)
        pki = Pki(self.state / "pki")
        identity = Identity(self.node, Role.SERVER)
        key = new_key()
        request = read_request(make_request(key, identity))
        hosts = (self.address, "127.0.0.1", "localhost")
        certificate = self.authority.issue_store(request, identity, self.clock.now(), hosts=hosts)
        pki.write_store_authority(self.authority)
        pki.write_store(Credential(key, certificate))

    def first(self) -> Membership:
        """The first server of a cluster, as `init` leaves it."""
        membership = first_membership("c1", "home", self.node, self.address)
        write_membership(self.state, membership)
        return membership

    async def join(self, there: Machine) -> Membership:
        """Become a server beside another."""
        client = there.server.client()
        try:
            told = await enlist(client, there.server, self.node, self.address)
        finally:
            client.close()
        before = first_membership("c1", "home", self.node, self.address)
        membership = await enlisted(self.server, before, told)
        write_membership(self.state, membership)
        return membership

    @contextlib.asynccontextmanager
    async def store(self, membership: Membership) -> AsyncIterator[EtcdStore]:
        """The store as this machine's daemon would open it."""
        store = await EtcdStore.open(membership.store, name=self.node, tls=self.server.tls, clock=self.clock)
        try:
            yield store
        finally:
            await store.close()

    def settings(self) -> dict[str, object]:
        value: dict[str, object] = json.loads(self.unit.settings.read_text())
        return value


@contextlib.contextmanager
def machines(directory: Path, count: int) -> Iterator[list[Machine]]:
    """So many machines with certificates of one authority; their etcd is gone when the block ends."""
    ports = free_ports(2)
    authority = Authority.create("store of home", WallClock().now())
    made = [Machine(directory / f"s{n}", n + 1, (ports[0], ports[1]), authority) for n in range(count)]
    try:
        yield made
    finally:
        for machine in made:
            machine.unit.kill()
