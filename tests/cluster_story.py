"""What stories about clusters of nspawn nodes share: a cluster that is asked, and witnesses of what it runs.

Every unit is its own witness: it writes into its node's /var when it starts, by /proc/uptime, which is one
clock for all nodes here. The files are read from outside, also of a node that is cut off or has no power.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from node_watch import watch
from skerry_lab.errors import NodeError
from skerry_lab.node import NodeSpec
from skerry_lab.nspawn import NspawnNode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from skerry_lab.journal import Allowed
    from skerry_lab.lab import Lab
    from skerry_lab.node import NodeImage

WITNESS = "/var/lib/witness"
START = f"mkdir -p {WITNESS}; read now rest </proc/uptime; echo $$now >>{WITNESS}/%n; exec sleep infinity"
BEAT = (
    f"mkdir -p {WITNESS}; while read -r now rest </proc/uptime; do echo $$now >>{WITNESS}/%n; sleep 0.2; done"
)
TEXT = "[Service]\nExecStart=/bin/sh -c '{}'\n"
FAILOVER_S = 20.0
TTL_S = 15.0


@dataclass(frozen=True)
class Cluster:
    """`servers` are asked, in this order; of `plain` units the starts are counted."""

    nodes: dict[str, NspawnNode]
    servers: tuple[str, ...]
    plain: tuple[str, ...] = ()

    def ask(self, *argv: str, by: tuple[str, ...] = ()) -> str:
        """Run a command on the first of these servers that has power and does it."""
        said = ""
        for name in by or self.servers:
            if self.nodes[name].running():
                done = self.nodes[name].try_run(argv, timeout_s=60)
                if done.status == 0:
                    return done.text
                said += done.error_text
        raise AssertionError(f"{argv}: {said}")

    def machines(self, by: tuple[str, ...] = ()) -> dict[str, str]:
        """The node of each unit that runs, by unit; of those that two nodes have said they run, none.

        One that comes back has, for a moment, not told yet that it runs them no longer.
        """
        ids = {
            n["id"]: n["hostname"] for n in json.loads(self.ask("skerry", "node", "list", "--json", by=by))
        }
        units = json.loads(self.ask("skerry", "unit", "list", "--json", by=by))
        running = [u for u in units if u["active"] == "active"]
        often = Counter(u["name"] for u in running)
        return {u["name"]: ids.get(u["machine"], "") for u in running if often[u["name"]] == 1}

    def seen(self, unit: str) -> dict[str, list[float]]:
        """What the witness wrote, by node."""
        found = {}
        for name, node in self.nodes.items():
            path = node.directory / "var" / "lib" / "witness" / unit
            if path.exists():
                found[name] = [float(line) for line in path.read_text().split("\n")[:-1]]
        return found

    def starts(self) -> dict[str, int]:
        """How often each plain unit was started, on all nodes together."""
        return {unit: self.count(unit) for unit in self.plain}

    def count(self, unit: str) -> int:
        """How many lines its witness wrote, on all nodes together."""
        return sum(map(len, self.seen(unit).values()))

    def all_run(self, units: Iterable[str], *, without: str = "", by: tuple[str, ...] = ()) -> bool:
        """Whether these units run, as one of these servers says, and nothing on the node `without`."""
        with contextlib.suppress(AssertionError, NodeError, ValueError):
            machines = self.machines(by)
            return set(units) <= machines.keys() and without not in machines.values()
        return False

    def until(self, what: Callable[[], bool], timeout_s: float) -> float:
        """Seconds until it is so."""
        begun = time.monotonic()
        while not what():
            if time.monotonic() - begun > timeout_s:
                raise AssertionError(f"not so after {timeout_s} s: {self.machines()}")
            time.sleep(0.2)
        return time.monotonic() - begun

    def power_on(self, *names: str) -> None:
        for name in names:
            self.nodes[name].start()
        for name in names:
            self.nodes[name].wait_ready(timeout_s=60)


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@contextlib.contextmanager
def watch_all(request: pytest.FixtureRequest, cluster: Cluster, directory: Path) -> Iterator[list[Allowed]]:
    """Watches the journals of all nodes that have power; what is allowed is so on each."""
    allowed: list[Allowed] = []
    with contextlib.ExitStack() as stack:
        watching = [
            stack.enter_context(watch(request, node, directory))
            for node in cluster.nodes.values()
            if node.running()
        ]
        yield allowed
        for expected in watching:
            expected += allowed


def add_node(lab: Lab, image: NodeImage, name: str, document: str = "", **metadata: str) -> NspawnNode:
    """A node that is not started yet; `document` is its cloud-config. Skips where there can be none."""
    if os.geteuid() != 0 or shutil.which("systemd-nspawn") is None:
        pytest.skip("nspawn nodes need root, and the package systemd-container")
    lines = "".join(f'{key} = "{value}"\n' for key, value in metadata.items())
    settings = {"/etc/skerry/skerryd.toml.d/lab.toml": f"[metadata]\n{lines}"} if lines else {}
    node = lab.add(NodeSpec(name, document, files=settings), "nspawn", image)
    assert isinstance(node, NspawnNode)
    return node


def never_twice(cluster: Cluster, unit: str) -> None:
    """No two nodes ran it at the same time."""
    times = sorted((run[0], run[-1], name) for name, run in runs(cluster.seen(unit)))
    for (_, end, before), (start, _, after) in itertools.pairwise(times):
        assert end < start, f"{unit} ran on {before} until {end} and on {after} from {start}"


def runs(seen: dict[str, list[float]]) -> list[tuple[str, list[float]]]:
    """The stretches without a gap of three seconds."""
    found: list[tuple[str, list[float]]] = []
    for name, times in seen.items():
        run: list[float] = []
        for moment in times:
            if run and moment - run[-1] > 3:
                found.append((name, run))
                run = []
            run.append(moment)
        if run:
            found.append((name, run))
    return found
