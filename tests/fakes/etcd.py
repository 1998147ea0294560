"""A real etcd for comparison, from Debian's etcd-server, on loopback and in a directory of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READY = "ready to serve client requests"


@contextlib.contextmanager
def real_etcd(directory: Path, *, v2: bool = True) -> Iterator[str]:
    """Run etcd and give its client URL; it is gone when the block ends."""
    clients, peers = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    argv = [
        "etcd",
        f"--data-dir={directory / 'etcd'}",
        f"--enable-v2={str(v2).lower()}",
        "--max-txn-ops=16384",
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
    ]
    environment = {"PATH": os.environ["PATH"]}
    log = directory / "etcd.log"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(argv, stdout=stderr, stderr=stderr, env=environment) as process,
        log.open() as said,
    ):
        try:
            _until_ready(process, said, log)
            yield clients
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def _until_ready(process: subprocess.Popen[bytes], said: Iterator[str], log: Path) -> None:
    """Wait for the line that says so; etcd has no other signal without systemd."""
    while process.poll() is None:
        for line in said:
            if READY in line:
                return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.05)
    raise RuntimeError(f"etcd ended with status {process.returncode}:\n{log.read_text()}")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [taken.getsockname()[1] for taken in sockets]
