"""What people do to the machines of a cluster, and what an agent does alone.

A server, which keeps its store in a file, and two agents. Units are witnesses of their starts, see
cluster_story.py.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from cluster_story import START, TEXT, Cluster, add_node
from node_watch import leave
from skerry_lab.cluster import form, ready

if TYPE_CHECKING:
    from collections.abc import Iterator

    from skerry_lab.lab import Lab
    from skerry_lab.node import NodeImage

pytestmark = pytest.mark.timeout(300)

SERVER, AGENTS = "c1", ("c2", "c3")
SPREAD = tuple(f"spread-{n}.service" for n in range(6))
FENCED = "fenced.service"
UNITS = (*SPREAD, FENCED)
ACCEPT_NEW = "Host *\n  StrictHostKeyChecking accept-new\n"


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, lab: Lab, node_image: NodeImage) -> Iterator[Cluster]:
    made = Cluster({}, (SERVER,), SPREAD)
    for name in (SERVER, *AGENTS):
        made.nodes[name] = add_node(lab, node_image, name, role="agent" if name in AGENTS else "server")
        made.nodes[name].start()
    for node in made.nodes.values():
        node.wait_ready(timeout_s=180)
    first = made.nodes[SERVER]
    form([first], [made.nodes[name] for name in AGENTS])
    ready(first, 3, timeout_s=60)
    for unit in SPREAD:
        first.put(f"/root/u/{unit}", TEXT.format(START))
    fenced = "[X-Fleet]\nMachineMetadata=role=agent\n[X-Skerry]\nFence=yes\n"
    first.put(f"/root/u/{FENCED}", TEXT.format(START) + fenced)
    first.run(["sh", "-c", "skerry unit start /root/u/*"], timeout_s=120)
    yield made
    leave(request, *made.nodes.values())


def node(cluster: Cluster, *argv: str) -> str:
    return cluster.nodes[SERVER].run(["skerry", "node", *argv], timeout_s=120).text


def test_a_command_runs_on_machines_by_ssh(cluster: Cluster) -> None:
    first = cluster.nodes[SERVER]
    first.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/.ssh/id_ed25519"])
    first.put("/root/.ssh/config", ACCEPT_NEW)
    key = first.read("/root/.ssh/id_ed25519.pub")
    for name in AGENTS:
        cluster.nodes[name].put("/root/.ssh/authorized_keys", key)
    said = node(cluster, "exec", *AGENTS, "--", "sh", "-c", "uname -n; echo 'two  words'")
    assert sorted(said.splitlines()) == sorted(f"{n}  {text}" for n in AGENTS for text in (n, "two  words"))
    assert node(cluster, "ssh", "c2", "--", "uname", "-n").strip() == "c2"
    identity = cluster.nodes["c2"].read("/etc/machine-id").strip()
    first.run(["ssh-keygen", "-F", f"skerry-{identity}"])  # known by its id: addresses change hands
    failed = first.try_run(
        ["skerry", "node", "exec", "--label", "role=agent", "--", "test", "-e", "/root/.ssh/config"]
    )
    assert (failed.status, failed.error_text.count("ended with status 1")) == (1, 2)


def test_nothing_new_goes_to_a_machine_that_is_cordoned(cluster: Cluster) -> None:
    starts = cluster.starts()
    node(cluster, "cordon", "c2")
    first = cluster.nodes[SERVER]
    first.put("/root/here.service", TEXT.format(START) + "[X-Fleet]\nMachineMetadata=place=here\n")
    node(cluster, "label", "c2", "place=here")
    first.run(["skerry", "unit", "start", "--no-block", "/root/here.service"])
    said = json.loads(first.run(["skerry", "unit", "explain", "here.service", "--json"]).text)
    assert "cordon" in json.dumps(said)
    assert "here.service" not in cluster.machines()
    node(cluster, "uncordon", "c2")
    cluster.until(lambda: cluster.machines().get("here.service") == "c2", 60)
    assert cluster.starts() == starts
    first.run(["skerry", "unit", "destroy", "here.service"])


def test_a_drain_moves_what_is_there_and_nothing_else(cluster: Cluster) -> None:
    before, starts = cluster.machines(), cluster.starts()
    moving = {unit for unit in SPREAD if before[unit] == "c3"}
    assert moving
    node(cluster, "drain", "c3")
    assert "c3" not in cluster.machines().values()  # the command returns when the machine is empty
    cluster.until(lambda: cluster.all_run(UNITS, without="c3"), 60)
    assert cluster.starts() == {unit: starts[unit] + (unit in moving) for unit in SPREAD}
    node(cluster, "uncordon", "c3")


def test_an_agent_without_servers_runs_on_after_a_restart_and_a_reboot(cluster: Cluster) -> None:
    """What is fenced may run elsewhere by then, and stays down until a server says otherwise."""
    agent = cluster.nodes["c2"]
    there = [unit for unit in SPREAD if cluster.machines()[unit] == "c2"]
    assert there
    starts, fenced = cluster.starts(), cluster.count(FENCED)
    cluster.nodes[SERVER].kill_power()
    agent.run(["systemctl", "restart", "skerryd.service"])
    assert agent.run(["systemctl", "is-active", *there]).text.split() == ["active"] * len(there)
    assert cluster.starts() == starts
    agent.kill_power()
    cluster.power_on("c2")
    expected = {unit: starts[unit] + (unit in there) for unit in SPREAD}
    cluster.until(lambda: cluster.starts() == expected, 120)
    assert agent.run(["systemctl", "is-active", *there]).text.split() == ["active"] * len(there)
    assert cluster.count(FENCED) == fenced
    cluster.power_on(SERVER)
    ready(cluster.nodes[SERVER], 3, timeout_s=120)
    cluster.until(lambda: cluster.all_run(UNITS), 120)
    on_server = {unit for unit in SPREAD if unit not in there and cluster.machines()[unit] == SERVER}
    assert cluster.starts() == {unit: expected[unit] + (unit in on_server) for unit in SPREAD}
    assert cluster.count(FENCED) <= fenced + 1
