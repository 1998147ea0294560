"""A witness outside of the machines: units tell it that they run, it writes down when it hears so.

Each of its units sends a line several times a second as a datagram over the user network, which is not the
one that machines meet on: it is heard from a machine that is cut off from the others, too.

    ran UNIT MACHINE INVOCATION        INVOCATION is systemd's name for one start of a unit
    ack NAME NUMBER                    acknowledged.py: the cluster has taken this change
"""

from __future__ import annotations

import itertools
import socket
import threading
import time
from dataclasses import dataclass

HERE_FROM_INSIDE = "10.0.2.2"
ALIVE_S = 3.0


@dataclass(frozen=True)
class Run:
    """One start of a unit, as seen from here; moments are of this machine's monotonic clock."""

    unit: str
    machine: str
    first: float
    last: float


class Witness:
    """See the module."""

    def __init__(self, port: int = 0) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", port))
        self._runs: dict[str, Run] = {}
        self._acks: dict[str, list[tuple[float, int]]] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        port: int = self._socket.getsockname()[1]
        return port

    def text(self, *, every_s: float) -> str:
        """A [Service] section of a unit that does nothing but tell."""
        loop = f'while :; do echo "ran %n %H $$INVOCATION_ID" >&3; read -t {every_s:g} -u 4; done'
        return f"[Service]\nExecStart=/bin/bash -c 'exec 3>/dev/udp/{self._there} 4<> <(:); {loop}'\n"

    @property
    def hook(self) -> str:
        """A line of [Service], for units that do something else."""
        told = f'echo "ran %n %H $$INVOCATION_ID" >/dev/udp/{self._there}'
        return f"ExecStartPost=/bin/bash -c '{told}'\n"

    @property
    def _there(self) -> str:
        return f"{HERE_FROM_INSIDE}/{self.port}"

    def runs(self, unit: str) -> list[Run]:
        """Every start of a unit, in order."""
        with self._lock:
            return sorted((run for run in self._runs.values() if run.unit == unit), key=lambda run: run.first)

    def alive(self, unit: str) -> set[str]:
        """The machines on which it runs now."""
        since = time.monotonic() - ALIVE_S
        return {run.machine for run in self.runs(unit) if run.last > since}

    def never_twice(self, unit: str) -> None:
        """Fail where two starts of it were alive at the same time."""
        for before, after in itertools.pairwise(self.runs(unit)):
            assert before.last < after.first, f"{unit} ran twice at a time: {before}, {after}"

    def acknowledged(self) -> dict[str, list[tuple[float, int]]]:
        """When which changes were acknowledged, by who made them."""
        with self._lock:
            return {name: list(acks) for name, acks in self._acks.items()}

    def forget_acknowledged(self) -> None:
        with self._lock:
            self._acks.clear()

    def close(self) -> None:
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                data = self._socket.recv(500)
            except OSError:
                return
            self._take(data.decode().split(), time.monotonic())

    def _take(self, words: list[str], at: float) -> None:
        with self._lock:
            match words:
                case ["ran", unit, machine, invocation]:
                    known = self._runs.get(invocation)
                    first = at if known is None else known.first
                    self._runs[invocation] = Run(unit, machine, first, at)
                case ["ack", name, number]:
                    self._acks.setdefault(name, []).append((at, int(number)))
