"""Docker Swarm: what speaks to a daemon, and the daemon in namespaces of its own.

`machine` is the command of one: a process tree that is gone with its first process, a /run as empty as after
a boot. `swarm` is a Swarm of one machine for the time of a block, which runs nothing: the services ask for an
image that is nowhere, and what is measured is how long it takes to give so many waiting tasks the machine
that a label lets them on.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

PROGRAMS = ("dockerd", "containerd", "runc", "unshare")
LONGEST_S = 120
POLL_S = 0.05
INSIDE = """mount -t proc proc /proc
mount -t tmpfs tmpfs /run
ip link set lo up
hostname "$1"
shift
exec "$@"
"""


def missing() -> list[str]:
    """The programs that a Swarm needs and that are not here."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


class _Local(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=LONGEST_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


class Swarm:
    """Speaks the API of the daemon."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def ask(self, method: str, path: str, body: object = None) -> Any:
        text = self._send(
            method, path, b"" if body is None else json.dumps(body).encode(), "application/json"
        )
        return json.loads(text) if text else None

    def load(self, archive: bytes) -> None:
        """Take in images, as `docker save` writes them."""
        self._send("POST", "/images/load?quiet=1", archive, "application/x-tar")

    def wait_up(self, alive: Callable[[], bool], log: Path) -> None:
        """Wait until the daemon answers. Raises RuntimeError with its last words where it ends before."""
        end = time.monotonic() + 60
        while True:
            try:
                self.ask("GET", "/version")
            except OSError:
                if time.monotonic() > end or not alive():
                    raise RuntimeError(f"dockerd does not come up: {log.read_text()[-500:]}") from None
                time.sleep(0.2)
            else:
                return

    def _send(self, method: str, path: str, body: bytes, kind: str) -> bytes:
        connection = _Local(self._path)
        with contextlib.closing(connection):
            connection.request(method, path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {text.decode()}")
            return text

    def placed(self, units: int) -> float:
        """Seconds from the label to the last of so many tasks that has its machine. Once for a Swarm: it goes
        on trying to fetch the image, and has no time for more."""
        name = "waiting"
        service = {
            "Name": name,
            "TaskTemplate": {
                "ContainerSpec": {"Image": "registry.invalid/none:1"},
                "Placement": {"Constraints": ["node.labels.open==yes"]},
                "RestartPolicy": {"Condition": "none"},
            },
            "Mode": {"Replicated": {"Replicas": units}},
        }
        self.ask("POST", "/services/create", service)
        self._wait(name, lambda tasks: len(tasks) >= units)
        (node,) = self.ask("GET", "/nodes")
        spec = {**node["Spec"], "Labels": {"open": "yes"}}
        begun = time.perf_counter()
        self.ask("POST", f"/nodes/{node['ID']}/update?version={node['Version']['Index']}", spec)
        self._wait(name, lambda tasks: sum(bool(task.get("NodeID")) for task in tasks) >= units)
        return time.perf_counter() - begun

    def _wait(self, name: str, enough: Callable[[list[dict[str, object]]], bool]) -> None:
        tasks = f"/tasks?filters={quote(json.dumps({'service': [name]}))}"
        end = time.monotonic() + LONGEST_S
        while not enough(self.ask("GET", tasks)):
            if time.monotonic() > end:
                raise TimeoutError(f"Swarm did not get {name} done in {LONGEST_S} s")
            time.sleep(POLL_S)


def machine(folder: Path, *, name: str = "swarm", more: Sequence[str] = ()) -> list[str]:
    """The command of a machine that runs dockerd, in the network namespace that it is started in.

    `folder` must have a short path: the daemon's socket stands in it as "s".
    """
    daemon = ["dockerd", "--data-root", folder / "data", "--host", f"unix://{folder / 's'}"]
    daemon += ["--iptables=false", "--bridge=none", "--storage-driver=vfs", *more]
    unshare = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"]
    return [*unshare, "sh", "-c", INSIDE, "sh", name, *map(str, daemon)]


@contextlib.contextmanager
def swarm(folder: Path) -> Iterator[Swarm]:
    """A Swarm of one machine in a network of its own; see `machine` for the folder."""
    argv = ["unshare", "--net", *machine(folder)]
    with (folder / "log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as process:
        try:
            peer = Swarm(folder / "s")
            peer.wait_up(lambda: process.poll() is None, folder / "log")
            peer.ask("POST", "/swarm/init", {"ListenAddr": "127.0.0.1", "AdvertiseAddr": "127.0.0.1"})
            yield peer
        finally:
            process.kill()
            process.wait(timeout=60)
