"""A cluster of real nodes: three servers with real etcd, two agents, TLS between all; and what is done to it.

Each unit is its own witness, see cluster_story.py; fenced ones go on writing five times a second. Some are
containers. Each test leaves the cluster whole for the next. What the issue bounds in time is read from what
the witnesses wrote, so a slow machine only makes the test longer.
"""

from __future__ import annotations

import contextlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cluster_story import (
    BEAT,
    FAILOVER_S,
    START,
    TEXT,
    TTL_S,
    WITNESS,
    Cluster,
    add_node,
    never_twice,
    now,
)
from node_watch import leave
from skerry_lab.cluster import form, ready
from skerry_lab.errors import NodeError
from skerry_lab.journal import Allowed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from skerry_lab.lab import Lab
    from skerry_lab.node import NodeImage

pytestmark = pytest.mark.timeout(600)

SERVERS, AGENTS = ("s1", "s2", "s3"), ("a1", "a2")
SMALL = {"s3": 512 << 20, "a1": 64 << 20}
"""The size of /var/lib/skerry on these; etcd alone keeps two times 64 MiB in reserve."""

BOXES = tuple(f"box-{n}.container" for n in range(3))
PLAIN = (*(f"plain-{n}.service" for n in range(10)), *BOXES)
FENCED = ("fenced-1.service", "fenced-2.service", "fenced-box.container")
UNITS = (*PLAIN, *FENCED)
IMAGE = "docker.io/library/busybox"
BOX = f"""[Container]
Image={IMAGE}
Volume={WITNESS}:{WITNESS}
Volume=/proc/uptime:/uptime
StopTimeout=1
Exec=sh -c '{{}}'
"""
SKEWED, SKEW_S = "s2", 600
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
SKEW = f"""[Service]
Environment=LD_PRELOAD=/var/lib/{FAKETIME.name} FAKETIME=+{SKEW_S} NO_FAKE_STAT=1
Environment=FAKETIME_DONT_FAKE_MONOTONIC=1
"""
RESTARTED = ("systemctl", "show", "--value", "--property=NRestarts")


def on_an_agent(text: str) -> str:
    return text + "[X-Fleet]\nMachineMetadata=role=agent\n[X-Skerry]\nFence=yes\n"


def boxed(script: str, unit: str) -> str:
    return BOX.format(script.replace("/proc/uptime", "/uptime").replace("%n", unit))


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, lab: Lab, node_image: NodeImage) -> Iterator[Cluster]:
    made = Cluster({}, SERVERS, PLAIN)
    for name in (*SERVERS, *AGENTS):
        labels = {
            "role": "agent" if name in AGENTS else "server",
            "disk": "small" if name in SMALL else "big",
        }
        node = made.nodes[name] = add_node(lab, node_image, name, **labels)
        if name in SMALL:
            node.small_disk(SMALL[name])
        node.start()
    for node in made.nodes.values():
        node.wait_ready(timeout_s=180)
        node.run(["mkdir", WITNESS])  # Podman makes no directories for volumes
    with ThreadPoolExecutor() as threads:
        pulls = [
            threads.submit(node.run, ["podman", "pull", "--quiet", IMAGE], timeout_s=240)
            for node in made.nodes.values()
        ]
        for pull in pulls:
            pull.result()
    first = made.nodes["s1"]
    first.put("/root/u/before.service", TEXT.format(START))
    first.run(["skerry", "unit", "start", "/root/u/before.service"])
    form([made.nodes[name] for name in SERVERS], [made.nodes[name] for name in AGENTS])
    ready(first, 5, timeout_s=180)
    for unit in PLAIN:
        first.put(f"/root/u/{unit}", boxed(START, unit) if unit in BOXES else TEXT.format(START))
    for unit in FENCED:
        text = boxed(BEAT, unit) if unit.endswith(".container") else TEXT.format(BEAT)
        first.put(f"/root/u/{unit}", on_an_agent(text))
    first.run(["sh", "-c", "cd /root/u && skerry unit start plain-* box-* fenced-*"], timeout_s=180)
    yield made
    leave(request, *made.nodes.values())


def test_it_is_built_with_a_unit_running_on(cluster: Cluster) -> None:
    cluster.until(lambda: cluster.all_run(UNITS), 60)
    assert sum(map(len, cluster.seen("before.service").values())) == 1
    assert set(cluster.starts().values()) == {1}
    assert set(cluster.machines().values()) == {*SERVERS, *AGENTS}


def test_etcd_sees_its_own_files_and_no_other_key(cluster: Cluster) -> None:
    for name in SERVERS:
        pid = cluster.nodes[name].run(["systemctl", "show", "-P", "MainPID", "skerry-etcd.service"]).text
        seen = cluster.nodes[name].run(["ls", f"/proc/{pid.strip()}/root/var/lib/skerry"]).text
        assert seen.split() == ["etcd"]


@dataclass(frozen=True)
class Fault:
    """What was so as it was done, and what the cluster acknowledged since. `begun` is a moment of uptime."""

    cluster: Cluster
    begun: float
    machines: dict[str, str]
    said: dict[str, str] = field(default_factory=dict)

    def on(self, node: str) -> set[str]:
        return {unit for unit, where in self.machines.items() if where == node}

    def say(self, by: tuple[str, ...] = SERVERS) -> None:
        """Have a change acknowledged, within half a minute."""
        key, value = f"/told/{self.begun}/{len(self.said)}", str(now())
        self.cluster.until(lambda: set_key(self.cluster, key, value, by), 60)
        self.said[key] = value

    def moved_in_s(self, *units: str) -> float:
        """How long it took until the last of these ran anew, as they wrote it."""
        return max(self._first(unit) for unit in units) - self.begun

    def _first(self, unit: str) -> float:
        """When it was first seen where it did not run before."""
        seen = [
            moment
            for name, times in self.cluster.seen(unit).items()
            for moment in times
            if name != self.machines[unit] and moment > self.begun
        ]
        assert seen, f"{unit} runs nowhere else"
        return min(seen)


@contextlib.contextmanager
def fault(cluster: Cluster, *touched: str) -> Iterator[Fault]:
    """Afterwards all is whole: nothing acknowledged is lost, what ran on nodes that were not touched was not
    restarted, and nothing fenced ran twice."""
    machines, starts = cluster.machines(), cluster.starts()
    assert machines.keys() >= {*PLAIN, *FENCED}
    for unit in FENCED:  # what the servers say of these is so
        seen = cluster.seen(unit)
        assert max(seen, key=lambda node: seen[node][-1]) == machines[unit], {
            n: t[-1] for n, t in seen.items()
        }
    done = Fault(cluster, now(), machines)
    done.say()
    yield done
    done.say()
    ready(cluster.nodes["s1"], 5, timeout_s=180)
    cluster.until(lambda: cluster.all_run(UNITS), 180)
    after = cluster.starts()
    stay = {unit for unit in PLAIN if machines[unit] not in touched}
    assert {unit: after[unit] for unit in stay} == {unit: starts[unit] for unit in stay}
    for unit in FENCED:
        never_twice(cluster, unit)
    for key, value in done.said.items():
        assert cluster.ask("etcdctl", "get", key).strip() == value


def skews(cluster: Cluster, by: str) -> dict[str, float]:
    """By how much the clock of each machine which this one has heard is ahead of its own, where it leads."""
    said = cluster.ask("sh", "-c", "skerry cluster status --json || true", by=(by,))
    found: dict[str, float] = json.loads(said or "{}").get("skews", {})
    return found


def behind(cluster: Cluster, by: str) -> int:
    """How many machines' clocks are behind that of a server by as much as it is ahead."""
    return sum(-SKEW_S - 60 < skew < -SKEW_S + 60 for skew in skews(cluster, by).values())


def leader(cluster: Cluster, by: tuple[str, ...] = SERVERS) -> str:
    """The server that leads, once there is one."""
    return _found(cluster, by, lambda view: [one["hostname"] for one in view["servers"] if one["leads"]])


def store_leader(cluster: Cluster) -> str:
    """The server whose member leads etcd, once there is one."""
    names = {f"https://{cluster.nodes[name].address}:2380": name for name in SERVERS}
    return _found(
        cluster,
        SERVERS,
        lambda view: [names[one["address"]] for one in view["store"]["members"] if one["leader"]],
    )


def _found(cluster: Cluster, by: tuple[str, ...], find: Callable[[dict[str, Any]], list[str]]) -> str:
    found: list[str] = []

    def look() -> bool:
        with contextlib.suppress(AssertionError, NodeError, ValueError):
            said = cluster.ask("sh", "-c", "skerry cluster status --json || true", by=by)
            found[:] = find(json.loads(said))
        return bool(found)

    cluster.until(look, 60)
    return found[0]


def test_an_agent_loses_its_power(cluster: Cluster) -> None:
    lost = cluster.machines()["fenced-1.service"]
    with fault(cluster, lost) as done:
        cluster.nodes[lost].kill_power()
        cluster.until(lambda: cluster.all_run(UNITS, without=lost), 120)
        after = cluster.machines()
        assert {unit for unit in after if done.machines[unit] != after[unit]} == done.on(lost)
        took = done.moved_in_s(*done.on(lost))
        print(f"all ran again after {took:.1f} s")
        assert took < FAILOVER_S
        cluster.power_on(lost)


def test_a_node_that_is_cut_off_runs_nothing_fenced(cluster: Cluster) -> None:
    cut = cluster.machines()["fenced-2.service"]
    with fault(cluster, cut):
        cluster.nodes[cut].set_network(up=False)
        try:
            cluster.until(lambda: cluster.all_run(UNITS, without=cut), 120)
        finally:
            cluster.nodes[cut].set_network(up=True)


def test_a_daemon_that_stands_still_runs_nothing_fenced(
    cluster: Cluster, expected_errors: list[Allowed]
) -> None:
    """For a minute; systemd's watchdog ends it before."""
    why = "it stood still"
    expected_errors.append(Allowed("systemd", r"^skerryd\.service: (Watchdog|Failed)", why))
    held = cluster.machines()["fenced-1.service"]
    node = cluster.nodes[held]
    with fault(cluster, held) as done:
        pid = node.run(["systemctl", "show", "--value", "--property=MainPID", "skerryd.service"]).text.strip()
        node.run(["kill", "-STOP", pid])
        try:
            fenced = done.on(held) & set(FENCED)
            cluster.until(lambda: cluster.all_run(UNITS, without=held), 120)
            took = done.moved_in_s(*fenced)
            print(f"all ran again after {took:.1f} s")
            assert took < FAILOVER_S
            time.sleep(max(0.0, done.begun + 60 - now()))
        finally:
            node.try_run(["kill", "-CONT", pid])


def test_an_agents_disk_is_full(cluster: Cluster) -> None:
    with fault(cluster) as done:
        cluster.nodes["a1"].fill_disk()
        try:
            text = TEXT.format(START) + "[X-Fleet]\nMachineMetadata=role=agent\nMachineMetadata=disk=small\n"
            cluster.nodes["s1"].put("/root/u/late.service", text)
            cluster.ask("skerry", "unit", "start", "/root/u/late.service")
            cluster.until(lambda: cluster.machines().get("late.service") == "a1", 60)
            cluster.nodes["a1"].run(["systemctl", "restart", "skerryd.service"])
            done.say()
            cluster.ask("skerry", "unit", "destroy", "late.service")
            cluster.until(lambda: "late.service" not in cluster.machines(), 60)
        finally:
            cluster.nodes["a1"].free_disk(SMALL["a1"])
        assert sum(map(len, cluster.seen("late.service").values())) == 1


def test_a_servers_disk_is_full(cluster: Cluster, expected_errors: list[Allowed]) -> None:
    node = cluster.nodes["s3"]
    why = "the store's disk is full"
    expected_errors.append(Allowed("etcd", r"no space left|panic|fatal|goroutine", why))
    expected_errors.append(Allowed("systemd", r"^skerry-etcd\.service: (Failed|Main)", why))
    with fault(cluster) as done:
        node.fill_disk()
        try:
            value = "x" * 100_000
            for n in range(20):
                cluster.until(lambda n=n: set_key(cluster, f"/much/{n}", value, ("s1",)), 60)
            cluster.until(lambda: int(node.run([*RESTARTED, "skerry-etcd.service"]).text) > 0, 60)
            time.sleep(TTL_S + 5)
            done.say()
            assert cluster.machines() == done.machines
        finally:
            node.free_disk(SMALL["s3"])
        cluster.until(lambda: whole(cluster, ("s3",)), 120)


def test_a_clock_is_ten_minutes_ahead(cluster: Cluster) -> None:
    """That of skerryd on a server, which is made to lead; meanwhile the daemon of an agent is stopped.

    The nodes share the machine's clock, so another time is given to the one process that goes by it.
    """
    node = cluster.nodes[SKEWED]
    stopped = cluster.machines()["fenced-1.service"]
    with fault(cluster, stopped) as done:
        node.put(f"/var/lib/{FAKETIME.name}", FAKETIME.read_bytes(), mode=0o755)
        node.put("/run/systemd/system/skerryd.service.d/skew.conf", SKEW)
        node.run(["systemctl", "daemon-reload"])
        node.run(["systemctl", "restart", "skerryd.service"])
        try:
            for _ in range(10):
                if (leads := leader(cluster)) == SKEWED:
                    break
                cluster.nodes[leads].run(["systemctl", "restart", "skerryd.service"])
            ready(cluster.nodes["s1"], 5, timeout_s=180)
            assert leader(cluster) == SKEWED
            done.say((SKEWED,))
            cluster.until(lambda: behind(cluster, by=SKEWED) == 4, 60)  # it knows of each with its heartbeat
            cluster.nodes[stopped].run(["systemctl", "stop", "skerryd.socket", "skerryd.service"])
            cluster.until(lambda: cluster.all_run(UNITS, without=stopped), 120)
            cluster.nodes[stopped].run(["systemctl", "start", "skerryd.service"])
        finally:
            node.run(["rm", "/run/systemd/system/skerryd.service.d/skew.conf"])
            node.run(["systemctl", "daemon-reload"])
            node.run(["systemctl", "restart", "skerryd.service"])


def test_the_leader_loses_its_power(cluster: Cluster) -> None:
    lost = leader(cluster)
    others = tuple(name for name in SERVERS if name != lost)
    with fault(cluster, lost) as done:
        cluster.nodes[lost].kill_power()
        done.say(others)
        print(f"changes were taken again after {now() - done.begun:.1f} s")
        cluster.until(lambda: cluster.all_run(UNITS, without=lost, by=others), 180)
        took = done.moved_in_s(*done.on(lost))
        print(f"all ran again after {took:.1f} s")
        assert took < 2 * TTL_S  # 16 to 20 s: an election of etcd may be part of it
        cluster.power_on(lost)


def test_who_leads_etcd_is_cut_off_from_who_leads_the_cluster(cluster: Cluster) -> None:
    """The leader goes on through etcd's election: it gives nobody more time than those have whom it heard."""
    for _ in range(10):
        leads, cut = leader(cluster), store_leader(cluster)
        if leads != cut:
            break
        cluster.nodes[leads].run(["systemctl", "restart", "skerryd.service"])  # another server takes over
    assert leads != cut
    cluster.until(lambda: len(skews(cluster, leads)) == len(cluster.nodes), 60)  # it has heard all of them
    others = tuple(name for name in SERVERS if name != cut)
    with fault(cluster, cut) as done:
        cluster.nodes[cut].set_network(up=False)
        try:
            done.say(others)
            cluster.until(lambda: cluster.all_run(UNITS, without=cut, by=others), 180)
            took = done.moved_in_s(*done.on(cut))
            print(f"all ran again after {took:.1f} s")
            assert took < FAILOVER_S
            assert leader(cluster, others) == leads
        finally:
            cluster.nodes[cut].set_network(up=True)


def test_two_of_three_servers_are_lost_and_come_back(cluster: Cluster) -> None:
    with fault(cluster, "s2", "s3"):
        for name in ("s2", "s3"):
            cluster.nodes[name].kill_power()
        assert not set_key(cluster, "/kept", "no", ("s1",))
        time.sleep(TTL_S)
        cluster.power_on("s2", "s3")


def set_key(cluster: Cluster, key: str, value: str, by: tuple[str, ...]) -> bool:
    with contextlib.suppress(AssertionError, NodeError):
        cluster.ask("etcdctl", "set", key, value, by=by)
        return True
    return False


def whole(cluster: Cluster, by: tuple[str, ...]) -> bool:
    """Whether these have nothing to complain of."""
    with contextlib.suppress(AssertionError, NodeError):
        cluster.ask("skerry", "cluster", "status", by=by)
        return True
    return False
