"""Real etcd members on loopback, to be started, stopped, killed and held still as a test wants it."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fakes.clock import WallClock
from fakes.etcd import READY, free_ports
from skerry.fleet.store.errors import UnavailableError
from skerry.fleet.store.etcd_client import EtcdClient

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

READY_S = 60.0
PROGRAM = os.environ.get("SKERRY_TEST_ETCD", "etcd")
"""Another etcd than the machine's, for instance that of the image's suite."""


@dataclass
class Member:
    """One etcd and its directory. Options are those of Skerry's own members, but for the times."""

    name: str
    directory: Path
    clients: str
    peers: str
    cluster: str = ""
    state: str = "new"
    options: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = None
    _log: Path = field(init=False)

    def __post_init__(self) -> None:
        self._log = self.directory / f"{self.name}.log"

    @property
    def data(self) -> Path:
        return self.directory / self.name

    def start(self) -> None:
        """Start it and return; see `until_ready`."""
        argv = [
            PROGRAM,
            f"--name={self.name}",
            f"--data-dir={self.data}",
            f"--listen-client-urls={self.clients}",
            f"--advertise-client-urls={self.clients}",
            f"--listen-peer-urls={self.peers}",
            f"--initial-advertise-peer-urls={self.peers}",
            f"--initial-cluster={self.cluster or f'{self.name}={self.peers}'}",
            f"--initial-cluster-state={self.state}",
            "--max-txn-ops=16384",
            "--max-request-bytes=8388608",
            *self.options,
        ]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, env={"PATH": os.environ["PATH"]})

    def until_ready(self) -> None:
        """Wait until it serves clients: it says so, and has no other signal without systemd."""
        end = time.monotonic() + READY_S
        while READY not in (said := self._log.read_text()):
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"etcd did not come up:\n{said[-3000:]}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=0.05)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def hold(self) -> None:
        """It stops where it is, and keeps its connections."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def release(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def etcd_members(directory: Path, count: int, *options: str) -> Iterator[list[Member]]:
    """A cluster of `count`, all up; gone when the block ends."""
    ports = free_ports(2 * count)
    members = [
        Member(f"m{n}", directory, f"http://127.0.0.1:{a}", f"http://127.0.0.1:{b}", options=options)
        for n, (a, b) in enumerate(zip(ports[::2], ports[1::2], strict=True))
    ]
    try:
        for member in members:
            member.cluster = ",".join(f"{other.name}={other.peers}" for other in members)
            member.start()
        for member in members:
            member.until_ready()
        yield members
    finally:
        for member in members:
            member.kill()


class _Status(msgspec.Struct):
    leader: int = 0
    header: dict[str, str] = {}


async def etcd_leader(members: list[Member]) -> Member:
    """The member that leads, once one does."""
    while True:
        for member in members:
            if member.process is None:
                continue
            client = EtcdClient([member.clients], clock=WallClock(), patience_s=0.1, attempt_s=1)
            try:
                status = await client.ask("/v3/maintenance/status", {}, _Status)
                if status.leader and int(status.header["member_id"]) == status.leader:
                    return member
            except UnavailableError:
                continue
            finally:
                client.close()
        await asyncio.sleep(0.1)


@functools.cache
def shared_etcd() -> str:
    """The client URL of an etcd that lives as long as the test run; see `stores.emptied`."""
    directory = Path(tempfile.mkdtemp(prefix="etcd-"))
    (port, peer) = free_ports(2)
    member = Member(
        "shared", directory, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}", options=SHORT_TIMES
    )
    member.start()

    def end() -> None:
        member.kill()
        shutil.rmtree(directory)

    atexit.register(end)
    member.until_ready()
    return member.clients


SHORT_TIMES = ("--heartbeat-interval=20", "--election-timeout=200")
"""Leases may then be as short as a second."""
