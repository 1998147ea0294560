"""A cluster of real nodes: three servers with real etcd, two agents, TLS between all; and what is done to it.

Each unit is its own witness, see cluster_story.py; fenced ones go on writing five times a second. Each test
leaves the cluster whole for the next.
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING

import pytest

from cluster_story import BEAT, FAILOVER_S, START, TEXT, TTL_S, Cluster, add_node, never_twice, now, watch_all
from skerry_lab.cluster import form, ready
from skerry_lab.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from skerry_lab.journal import Allowed
    from skerry_lab.lab import Lab
    from skerry_lab.node import NodeImage

pytestmark = pytest.mark.timeout(300)

SERVERS, AGENTS = ("s1", "s2", "s3"), ("a1", "a2")
PLAIN = tuple(f"plain-{n}.service" for n in range(10))
FENCED = ("fenced-1.service", "fenced-2.service")


def on_an_agent(text: str) -> str:
    return text + "[X-Fleet]\nMachineMetadata=role=agent\n[X-Skerry]\nFence=yes\n"


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, lab: Lab, node_image: NodeImage) -> Iterator[Cluster]:
    made = Cluster({}, SERVERS, PLAIN)
    for name in (*SERVERS, *AGENTS):
        made.nodes[name] = add_node(lab, node_image, name, role="agent" if name in AGENTS else "server")
        made.nodes[name].start()
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
    """A test adds to this list the errors that it provokes."""
    with watch_all(request, cluster, logs_directory) as allowed:
        yield allowed


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
