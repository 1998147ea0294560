"""Machines of a Docker Swarm in a lab's network: each a dockerd in namespaces of its own.

A machine without power is one whose cable is out and of which every process is gone; its images and what it
knows of the Swarm stay in its folder. Control groups are the lab's to remove.
"""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from programs.swarm import LONGEST_S, POLL_S, Swarm, machine

from skerry_lab.network import plug, set_cable
from skerry_lab.nspawn import HIERARCHIES
from skerry_lab.process import Process, children, descendants

if TYPE_CHECKING:
    from skerry_lab.oci import Image
    from skerry_lab.state import LabState

FIRST = 100  # places in the lab's network that its own nodes do not reach
CONTROLLERS = Path("/sys/fs/cgroup")
SHUTDOWN_S = 60


def archive(image: Image) -> bytes:
    """An image as `docker load` takes it: one config, so that its id is the same on all machines."""
    config, *layers = image.blobs
    names = {blob.digest: f"{blob.digest.removeprefix('sha256:')}.blob" for blob in image.blobs}
    manifest = [{"Config": names[config.digest], "Layers": [names[layer.digest] for layer in layers]}]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        files = {names[blob.digest]: blob.data for blob in image.blobs}
        for name, data in {**files, "manifest.json": json.dumps(manifest).encode()}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class SwarmNode:
    """See the module. `folder` must have a short path."""

    def __init__(self, state: LabState, folder: Path, name: str, number: int) -> None:
        self.name = name
        self.folder = folder / name
        self.witness = self.folder / "witness"
        self.witness.mkdir(parents=True)
        self.cable = plug(state, FIRST + number)
        self.api = Swarm(self.folder / "s")
        self._number = FIRST + number
        self._state = state
        self._group = f"skerry-{state.mark[:8]}-{name}"
        self._process: Process | None = None
        for base in {*HIERARCHIES, *CONTROLLERS.glob("*")}:
            if (base / "cgroup.procs").exists():
                state.directory_outside(base / self._group, make=False)

    def start(self) -> None:
        """Switch it on, and wait until its daemon answers."""
        set_cable(self._state, self._number, up=True)
        # Without this its containers would be in control groups that are nobody's.
        more = [f"--cgroup-parent=/{self._group}", "--exec-opt=native.cgroupdriver=cgroupfs"]
        argv = ["nsenter", f"--net={self.cable.path}", "--", *machine(self.folder, name=self.name, more=more)]
        log = self.folder / "log"
        process = self._process = self._state.spawn(argv, what=f"swarm {self.name}", log=log)
        self.api.wait_up(process.alive, log)

    def running(self) -> bool:
        return self._process is not None and self._process.alive()

    def kill_power(self) -> None:
        """Nobody hears any more of it, not even that its connections end."""
        set_cable(self._state, self._number, up=False)
        if self._process is not None:
            for process in list(descendants(self._process)):
                process.kill()

    def stop(self) -> None:
        """As a machine that shuts down: the daemon ends its containers and itself; then the power goes."""
        if self._process is not None:
            (daemon,) = children(self._process.pid)
            os.kill(daemon, signal.SIGTERM)
            self._process.wait(SHUTDOWN_S)
        self.kill_power()


class SwarmCluster:
    """A manager and its workers, in namespaces of a lab whose network is there."""

    def __init__(self, state: LabState, folder: Path, image: Image, workers: int) -> None:
        self.manager = SwarmNode(state, folder, "manager", 0)
        self.workers = [SwarmNode(state, folder, f"worker{n}", n) for n in range(1, workers + 1)]
        self.image = image.blobs[0].digest
        loaded = archive(image)
        for node in (self.manager, *self.workers):
            node.start()
            node.api.load(loaded)
        ask = self.manager.api.ask
        ask(
            "POST", "/swarm/init", {"ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": self.manager.cable.address}
        )
        token = ask("GET", "/swarm")["JoinTokens"]["Worker"]
        for node in self.workers:
            join = {
                "ListenAddr": "0.0.0.0:2377",
                "AdvertiseAddr": node.cable.address,
                "RemoteAddrs": [f"{self.manager.cable.address}:2377"],
                "JoinToken": token,
            }
            node.api.ask("POST", "/swarm/join", join)
        self.wait_ready()

    def serve(self, name: str, command: list[str]) -> None:
        """One task of a service on some worker, with the machine's witness folder as /witness."""
        folder = self.manager.folder.parent
        mount = {"Type": "bind", "Source": f"{folder}/{{{{.Node.Hostname}}}}/witness", "Target": "/witness"}
        task = {
            "ContainerSpec": {"Image": self.image, "Command": command, "Mounts": [mount]},
            "Placement": {"Constraints": ["node.role==worker"]},
            "Networks": [{"Target": "host"}],
        }
        service = {"Name": name, "TaskTemplate": task, "Mode": {"Replicated": {"Replicas": 1}}}
        self.manager.api.ask("POST", "/services/create", service)

    def wait_ready(self) -> None:
        """Wait until the manager has every machine as ready. Raises TimeoutError."""
        end = time.monotonic() + LONGEST_S
        while True:
            nodes = self.manager.api.ask("GET", "/nodes")
            if [n["Status"]["State"] for n in nodes] == ["ready"] * (len(self.workers) + 1):
                return
            if time.monotonic() > end:
                raise TimeoutError(f"the Swarm was not whole in {LONGEST_S} s: {nodes}")
            time.sleep(POLL_S)
