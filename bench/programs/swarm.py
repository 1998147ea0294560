"""A Docker Swarm of one machine, in a network namespace of its own, for the time of a block.

Nothing is run: the services ask for an image that is nowhere. What is measured is how long Swarm takes to
give so many waiting tasks the machine that a label lets them on.
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
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROGRAMS = ("dockerd", "containerd", "unshare")
LONGEST_S = 120
POLL_S = 0.05


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
        connection = _Local(self._path)
        with contextlib.closing(connection):
            connection.request(
                method,
                path,
                None if body is None else json.dumps(body),
                {"Content-Type": "application/json"},
            )
            answer = connection.getresponse()
            text = answer.read()
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {text.decode()}")
            return json.loads(text) if text else None

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


@contextlib.contextmanager
def swarm(folder: Path) -> Iterator[Swarm]:
    """`folder` must have a short path: a socket stands in it."""
    path = folder / "s"
    daemon = [
        *(
            "dockerd",
            "--data-root",
            folder / "data",
            "--exec-root",
            folder / "exec",
            "--pidfile",
            folder / "pid",
        ),
        *("--host", f"unix://{path}", "--iptables=false", "--bridge=none", "--storage-driver=vfs"),
    ]
    script = 'ip link set lo up; exec "$@"'
    argv = ["unshare", "--mount", "--net", "sh", "-c", script, "sh", *map(str, daemon)]
    with (folder / "log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as process:
        try:
            peer = Swarm(path)
            end = time.monotonic() + 60
            while True:
                try:
                    peer.ask("GET", "/version")
                    break
                except OSError:
                    if time.monotonic() > end or process.poll() is not None:
                        raise RuntimeError((folder / "log").read_text()[-500:]) from None
                    time.sleep(0.2)
            peer.ask("POST", "/swarm/init", {"ListenAddr": "127.0.0.1", "AdvertiseAddr": "127.0.0.1"})
            yield peer
        finally:
            process.terminate()
            process.wait(timeout=60)
