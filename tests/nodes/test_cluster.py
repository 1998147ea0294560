"""A cluster of real nodes: three servers with real etcd, two agents, TLS between all; and what is done to it.

Every unit is its own witness: it writes into its node's /var when it starts, by /proc/uptime, which is one
clock for all nodes here; fenced ones go on writing five times a second. The files are read from outside,
also of a node that is cut off or has no power. Each test leaves the cluster whole for the next.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from node_watch import watch
from skerry_lab.cluster import form, ready
from skerry_lab.errors import NodeError
from skerry_lab.node import NodeSpec
from skerry_lab.nspawn import NspawnNode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from skerry_lab.journal import Allowed
    from skerry_lab.lab import Lab
    from skerry_lab.node import NodeImage

pytestmark = pytest.mark.timeout(300)

SERVERS, AGENTS = ("s1", "s2", "s3"), ("a1", "a2")
PLAIN = tuple(f"plain-{n}.service" for n in range(10))
FENCED = ("fenced-1.service", "fenced-2.service")
WITNESS = "/var/lib/witness"
START = f"mkdir -p {WITNESS}; read now rest </proc/uptime; echo $$now >>{WITNESS}/%n; exec sleep infinity"
BEAT = (
    f"mkdir -p {WITNESS}; while read -r now rest </proc/uptime; do echo $$now >>{WITNESS}/%n; sleep 0.2; done"
)
TEXT = "[Service]\nExecStart=/bin/sh -c '{}'\n"
FAILOVER_S = 20.0
TTL_S = 15.0


def on_an_agent(text: str) -> str:
    return text + "[X-Fleet]\nMachineMetadata=role=agent\n[X-Skerry]\nFence=yes\n"


@dataclass(frozen=True)
class Cluster:
    nodes: dict[str, NspawnNode]

    def ask(self, *argv: str, by: tuple[str, ...] = SERVERS) -> str:
        """Run a command on the first of these servers that has power and does it."""
        said = ""
        for name in by:
            if self.nodes[name].running():
                done = self.nodes[name].try_run(argv, timeout_s=60)
                if done.status == 0:
                    return done.text
                said += done.error_text
        raise AssertionError(f"{argv}: {said}")

    def machines(self, by: tuple[str, ...] = SERVERS) -> dict[str, str]:
        """The node of each unit that runs, by unit."""
        ids = {
            n["id"]: n["hostname"] for n in json.loads(self.ask("skerry", "node", "list", "--json", by=by))
        }
        units = json.loads(self.ask("skerry", "unit", "list", "--json", by=by))
        return {u["name"]: ids.get(u["machine"], "") for u in units if u["active"] == "active"}

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
        return {unit: sum(map(len, self.seen(unit).values())) for unit in PLAIN}

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


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, lab: Lab, node_image: NodeImage) -> Iterator[Cluster]:
    if os.geteuid() != 0 or shutil.which("systemd-nspawn") is None:
        pytest.skip("nspawn nodes need root, and the package systemd-container")
    made = Cluster({})
    for name in (*SERVERS, *AGENTS):
        role = "agent" if name in AGENTS else "server"
        settings = {"/etc/skerry/skerryd.toml.d/lab.toml": f'[metadata]\nrole = "{role}"\n'}
        node = lab.add(NodeSpec(name, files=settings), "nspawn", node_image)
        assert isinstance(node, NspawnNode)
        node.start()
        made.nodes[name] = node
    for node in made.nodes.values():
        node.wait_ready(timeout_s=90)
    first = made.nodes["s1"]
    first.put("/root/u/before.service", TEXT.format(START))
    first.run(["skerry", "unit", "start", "/root/u/before.service"])
    form([made.nodes[name] for name in SERVERS], [made.nodes[name] for name in AGENTS])
    ready(first, 5)
    for unit in PLAIN:
        first.put(f"/root/u/{unit}", TEXT.format(START))
    for unit in FENCED:
        first.put(f"/root/u/{unit}", on_an_agent(TEXT.format(BEAT)))
    first.run(["sh", "-c", "cd /root/u && skerry unit start plain-*.service fenced-*.service"])
    time.sleep(2 * TTL_S)  # so long a new leader declares nobody lost
    yield made
    if not request.config.getoption("--sit"):
        for node in made.nodes.values():
            node.kill_power()


@pytest.fixture(autouse=True)
def expected_errors(
    request: pytest.FixtureRequest, cluster: Cluster, logs_directory: Path
) -> Iterator[list[Allowed]]:
    """Watches the journals of all nodes that have power at the end."""
    allowed: list[Allowed] = []
    with contextlib.ExitStack() as stack:
        watching = [
            stack.enter_context(watch(request, node, logs_directory))
            for node in cluster.nodes.values()
            if node.running()
        ]
        yield allowed
        for expected in watching:
            expected += allowed


def never_twice(cluster: Cluster, unit: str) -> None:
    """No two nodes ran it at the same time."""
    runs = sorted((times[0], times[-1], name) for name, times in _runs(cluster.seen(unit)))
    for (_, end, before), (start, _, after) in itertools.pairwise(runs):
        assert end < start, f"{unit} ran on {before} until {end} and on {after} from {start}"


def _runs(seen: dict[str, list[float]]) -> list[tuple[str, list[float]]]:
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


def all_run(cluster: Cluster, without: str = "", by: tuple[str, ...] = SERVERS) -> bool:
    with contextlib.suppress(AssertionError, NodeError, ValueError):
        machines = cluster.machines(by)
        return {*PLAIN, *FENCED} <= machines.keys() and without not in machines.values()
    return False


def test_it_is_built_with_a_unit_running_on(cluster: Cluster) -> None:
    cluster.until(lambda: all_run(cluster), 60)
    assert sum(map(len, cluster.seen("before.service").values())) == 1
    assert set(cluster.starts().values()) == {1}
    assert set(cluster.machines().values()) == {*SERVERS, *AGENTS}


def test_an_agent_loses_its_power(cluster: Cluster) -> None:
    before, starts = cluster.machines(), cluster.starts()
    lost = before["fenced-1.service"]
    moved = {unit for unit, node in before.items() if node == lost}
    cluster.nodes[lost].kill_power()
    took = cluster.until(lambda: all_run(cluster, without=lost), 60)
    after = cluster.machines()
    assert {unit for unit in before if before[unit] != after[unit]} == moved
    assert {u for u, n in cluster.starts().items() if n != starts[u]} == moved & set(PLAIN)
    never_twice(cluster, "fenced-1.service")
    assert took < FAILOVER_S
    cluster.power_on(lost)
    ready(cluster.nodes["s1"], 5)


def test_a_node_that_is_cut_off_runs_nothing_fenced(cluster: Cluster) -> None:
    before = cluster.machines()
    cut = before["fenced-2.service"]
    cluster.nodes[cut].set_network(up=False)
    try:
        cluster.until(lambda: all_run(cluster, without=cut), 60)
        never_twice(cluster, "fenced-2.service")
    finally:
        cluster.nodes[cut].set_network(up=True)
    ready(cluster.nodes["s1"], 5)
    for unit in FENCED:
        never_twice(cluster, unit)


def test_a_daemon_that_stands_still_runs_nothing_fenced(cluster: Cluster) -> None:
    held = cluster.machines()["fenced-1.service"]
    node = cluster.nodes[held]
    node.run(["systemctl", "kill", "--signal=STOP", "--kill-whom=main", "skerryd.service"])
    try:
        cluster.until(lambda: cluster.machines().get("fenced-1.service", held) != held, 60)
    finally:
        node.try_run(["systemctl", "kill", "--signal=CONT", "--kill-whom=main", "skerryd.service"])
    ready(cluster.nodes["s1"], 5)
    for unit in FENCED:
        never_twice(cluster, unit)


def test_the_leader_loses_its_power(cluster: Cluster) -> None:
    view = json.loads(cluster.ask("skerry", "cluster", "status", "--json"))
    leader = next(s["hostname"] for s in view["servers"] if s["leads"])
    others = tuple(name for name in SERVERS if name != leader)
    before, starts = cluster.machines(), cluster.starts()
    stay = {unit for unit, node in before.items() if node != leader and unit in PLAIN}
    cluster.ask("etcdctl", "set", "/told", "before")
    cluster.nodes[leader].kill_power()
    begun = now()
    cluster.until(lambda: _set(cluster, "/told", "after", others), 30)
    print(f"changes were taken again after {now() - begun:.1f} s")
    assert cluster.ask("etcdctl", "get", "/told", by=others).strip() == "after"
    took = cluster.until(lambda: all_run(cluster, without=leader, by=others), 90)
    print(f"all ran again after {took:.1f} s")
    assert {u: cluster.starts()[u] for u in stay} == {u: starts[u] for u in stay}
    cluster.power_on(leader)
    ready(cluster.nodes[others[0]], 5)


def test_two_of_three_servers_are_lost_and_come_back(cluster: Cluster) -> None:
    before, starts = cluster.machines(), cluster.starts()
    stay = {unit for unit, node in before.items() if node in (*AGENTS, "s1") and unit in PLAIN}
    cluster.ask("etcdctl", "set", "/kept", "yes")
    for name in ("s2", "s3"):
        cluster.nodes[name].kill_power()
    assert not _set(cluster, "/kept", "no", ("s1",))
    assert {u: cluster.starts()[u] for u in stay} == {u: starts[u] for u in stay}
    cluster.power_on("s2", "s3")
    ready(cluster.nodes["s1"], 5, timeout_s=90)
    cluster.until(lambda: all_run(cluster), 60)
    assert {u: cluster.starts()[u] for u in stay} == {u: starts[u] for u in stay}
    assert cluster.ask("etcdctl", "get", "/told").strip() == "after"
    for unit in FENCED:
        never_twice(cluster, unit)


def _set(cluster: Cluster, key: str, value: str, by: tuple[str, ...]) -> bool:
    with contextlib.suppress(AssertionError, NodeError):
        cluster.ask("etcdctl", "set", key, value, by=by)
        return True
    return False
