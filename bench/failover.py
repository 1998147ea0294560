"""How soon a unit runs elsewhere when its machine is lost, beside Docker Swarm; and how soon one starts.

    python3 bench/failover.py [RUNS]            20 losses of each kind

One server and two agents, containers of the image's tree; and one manager and two workers of Swarm, a
dockerd each in namespaces of the same network. (The leader decides alone who is lost, so more servers would
not change it.) Both keep one container on one of the two, and both have its image there. In turns, each loses
that machine: by its power (its cable is out and every process gone), or by an orderly shutdown. The container
itself writes down when it starts, by the clock of this machine, into files that are read from outside; the
loss falls anywhere between two heartbeats. Settings are the defaults of both. Starts are measured on one
machine by itself and in the cluster, where the request goes to the server and the unit to an agent; systemd
says when it runs. As root; half an hour.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from harness import report
from programs.swarm import missing
from programs.swarm_nodes import SwarmCluster

from skerry.image.compose.build import Store, build
from skerry_lab.cluster import form, ready
from skerry_lab.images import build_images
from skerry_lab.lab import Lab
from skerry_lab.node import NodeImage, NodeSpec
from skerry_lab.nspawn import NspawnNode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from skerry_lab.oci import Image

RUNS = 20
STARTS = 20
LONGEST_S = 120
HEARTBEAT_S = 5.0  # of both
GOAL_S = 20
AGENTS = ("a1", "a2")
BUSYBOX = "library/busybox:latest"
PROGRAM = Path(__file__).resolve().parent / "programs" / "start_latency.py"
WITNESS = """trap 'exit 0' TERM
read -r now rest </proc/uptime
echo "$now" >>/witness/starts
sleep 100000 &
wait $!
"""
UNIT = f"""[Container]
Image=docker.io/{BUSYBOX}
Volume=/var/lib/witness:/witness
Network=host
Exec=sh /witness/run

[X-Fleet]
MachineMetadata=role=agent
"""


class Side(Protocol):
    """A cluster that keeps one container running on one of its machines."""

    def witness(self) -> Mapping[str, Path]:
        """The file in which the container writes its starts, by machine."""

    def lose(self, name: str, *, power: bool) -> None: ...

    def heal(self) -> None:
        """Switch on what is off, and wait until all machines are there."""


class SkerrySide:
    def __init__(self, lab: Lab, image: NodeImage) -> None:
        self.server = _node(lab, "s1", "server", image)
        self.agents = {name: _node(lab, name, "agent", image) for name in AGENTS}
        for node in (self.server, *self.agents.values()):
            node.wait_ready(timeout_s=LONGEST_S)

    def form(self) -> None:
        form([self.server], list(self.agents.values()))
        ready(self.server, 3)

    def serve(self) -> None:
        for node in self.agents.values():
            node.put("/var/lib/witness/run", WITNESS)
            node.run(["podman", "pull", "-q", f"docker.io/{BUSYBOX}"])
        self.server.put("/root/witness.container", UNIT)
        self.server.run(["skerry", "unit", "start", "/root/witness.container"])
        next_start(self, 0)

    def witness(self) -> dict[str, Path]:
        return {name: node.directory / "var/lib/witness/starts" for name, node in self.agents.items()}

    def lose(self, name: str, *, power: bool) -> None:
        node = self.agents[name]
        if not power:
            node.stop(timeout_s=LONGEST_S)
            return
        node.set_network(up=False)
        node.kill_power()

    def heal(self) -> None:
        for node in self.agents.values():
            if not node.running():
                node.set_network(up=True)
                node.start()
                node.wait_ready(timeout_s=LONGEST_S)
        ready(self.server, 3, timeout_s=LONGEST_S)


class SwarmSide:
    def __init__(self, lab: Lab, folder: Path, image: Image) -> None:
        self.cluster = SwarmCluster(lab.state, folder, image, len(AGENTS))
        self.workers = {node.name: node for node in self.cluster.workers}
        for node in self.workers.values():
            (node.witness / "run").write_text(WITNESS)
        self.cluster.serve("witness", ["sh", "/witness/run"])
        next_start(self, 0)

    def witness(self) -> dict[str, Path]:
        return {name: node.witness / "starts" for name, node in self.workers.items()}

    def lose(self, name: str, *, power: bool) -> None:
        if power:
            self.workers[name].kill_power()
        else:
            self.workers[name].stop()

    def heal(self) -> None:
        for node in self.workers.values():
            if not node.running():
                node.start()
        self.cluster.wait_ready()


def _node(lab: Lab, name: str, role: str, image: NodeImage) -> NspawnNode:
    settings = {"/etc/skerry/skerryd.toml.d/lab.toml": f'[metadata]\nrole = "{role}"\n'}
    node = lab.add(NodeSpec(name, files=settings), "nspawn", image)
    assert isinstance(node, NspawnNode)
    node.start()
    return node


def starts(side: Side) -> list[tuple[float, str]]:
    """When and where the container was started, oldest first."""
    found = []
    for name, path in side.witness().items():
        if path.exists():
            found += [(float(line), name) for line in path.read_text().split("\n")[:-1]]
    return sorted(found)


def next_start(side: Side, count: int) -> tuple[float, str]:
    """The start that follows the first `count`. Raises TimeoutError."""
    end = time.monotonic() + LONGEST_S
    while len(there := starts(side)) <= count:
        if time.monotonic() > end:
            raise TimeoutError(f"the container did not start again in {LONGEST_S} s: {there}")
        time.sleep(0.1)
    return there[count]


def failed_over(side: Side, *, power: bool) -> float:
    """Seconds from the loss of the container's machine until it runs on another."""
    before = starts(side)
    _, lost = before[-1]
    time.sleep(random.uniform(0, HEARTBEAT_S))  # noqa: S311
    begun = time.clock_gettime(time.CLOCK_BOOTTIME)
    side.lose(lost, power=power)
    at, where = next_start(side, len(before))
    assert where != lost
    return at - begun


def bench_failover(sides: Mapping[str, Side], runs: int) -> None:
    """Both sides are healed between losses, and one is while nothing is asked of the other."""
    kinds = {"failover_power": True, "failover_shutdown": False}
    taken: dict[str, dict[str, list[float]]] = {kind: {name: [] for name in sides} for kind in kinds}
    for number in range(1, runs + 1):
        for kind, power in kinds.items():
            for name, side in sides.items():
                taken[kind][name].append(failed_over(side, power=power))
                side.heal()
        said = (f"{name} {took[-1]:.1f}" for kind in kinds for name, took in taken[kind].items())
        print(f"  run {number} of {runs}, s, lost power, then shut down: {', '.join(said)}", flush=True)
    report("failover_power", "s", taken["failover_power"], goal=GOAL_S)
    report("failover_shutdown", "s", taken["failover_shutdown"])
    for name, side in sides.items():
        more = len(starts(side)) - 1 - len(kinds) * runs
        print(f"  starts of the container that no loss explains, {name}: {more}")


def bench_starts(name: str, asked: NspawnNode, runs_on: Sequence[NspawnNode], *role: str) -> None:
    """`asked` is the machine on which everything is typed in, and on which the peers start theirs."""
    argv = ["/usr/bin/python3", "-I", "-", str(STARTS), *role]
    done = asked.run(argv, stdin=PROGRAM.read_bytes(), timeout_s=600)
    began: dict[str, float] = {}
    for node in {asked, *runs_on}:
        show = ["systemctl", "show", "--property=Id,ActiveEnterTimestampMonotonic", "bench-*.service"]
        for block in node.run(show).text.split("\n\n"):
            said = dict(line.split("=", 1) for line in block.splitlines())
            began[said["Id"]] = int(said["ActiveEnterTimestampMonotonic"]) / 1e6
    running: dict[str, list[float]] = {}
    told: dict[str, list[float]] = {}
    for what, rows in json.loads(done.text).items():
        running[what] = [(began[unit] - at) * 1000 for unit, at, _ in rows]
        told[what] = [(known - at) * 1000 for _, at, known in rows]
    # What is lost below is to be one container, and nothing that has to move with it.
    asked.run(["skerry", "unit", "destroy", "bench-*"], timeout_s=LONGEST_S)
    asked.run(["systemctl", "stop", "bench-*"])
    report(f"start_{name}", "ms until it runs", running)
    report(f"start_{name}_told", "ms until the caller knows", told)


def main() -> None:
    if os.geteuid() != 0 or shutil.which("systemd-nspawn") is None:
        print("failover: left out; it needs root, and the package systemd-container")
        return
    runs = int(sys.argv[1]) if sys.argv[1:] else RUNS
    made = build()
    image = NodeImage(None, Store().path(made.label, "tree.tar"))
    print(f"failover: load {os.getloadavg()[0]:.1f} when it begins, on {os.cpu_count()} processors")
    # Swarm's sockets want a short path, and a disk under them that is not memory.
    with (
        tempfile.TemporaryDirectory(prefix="swarm-", dir="/var/tmp") as folder,
        Lab.create(f"bench-failover-{os.getpid()}") as lab,
    ):
        skerry = SkerrySide(lab, image)
        bench_starts("single", skerry.server, [skerry.server])
        skerry.form()
        bench_starts("cluster", skerry.server, list(skerry.agents.values()), "agent")
        skerry.serve()
        sides: dict[str, Side] = {"Skerry": skerry}
        if missing():
            print(f"failover: without the peer, Docker Swarm, for want of {', '.join(missing())}")
        else:
            (busybox,) = (one for one in build_images() if one.name == BUSYBOX)
            try:
                sides["Docker Swarm"] = SwarmSide(lab, Path(folder), busybox)
            except (RuntimeError, TimeoutError) as error:
                print(f"failover: without the peer, Docker Swarm, which does not run here: {error}")
        bench_failover(sides, runs)


if __name__ == "__main__":
    main()
