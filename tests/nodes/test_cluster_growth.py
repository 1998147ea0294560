"""How a cluster of real nodes comes to be, grows, shrinks and begins anew: one story on four nodes, in order.

g1 founds it with its store in a file; g2 joins as an agent from its cloud-config; the store moves into etcd;
g3 joins as a server from its cloud-config and g4 by command. Machines shut down in order, leave, are removed;
the store is restored from a snapshot, from what one server holds, and on another machine. Units are witnesses
of their starts.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from cluster_story import FAILOVER_S, START, TEXT, Cluster, add_node, now
from node_watch import leave
from skerry_lab.cluster import API_PORT, ready

if TYPE_CHECKING:
    from collections.abc import Iterator

    from skerry_lab.lab import Lab
    from skerry_lab.node import NodeImage
    from skerry_lab.nspawn import NspawnNode

pytestmark = pytest.mark.timeout(300)

PINNED = tuple(f"on-{name}.service" for name in ("g1", "g2", "g3", "g4"))
STATE = "/var/lib/skerry"
ASK = f"""
import ssl, sys, urllib.error, urllib.request
context = ssl.create_default_context(cafile="{STATE}/pki/ca.crt")
context.load_cert_chain("{STATE}/pki/node.pem")
try:
    print(urllib.request.urlopen(sys.argv[1], context=context, timeout=20).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, lab: Lab, node_image: NodeImage) -> Iterator[Cluster]:
    """One machine alone, with units."""
    made = Cluster({}, ("g1",), PINNED)
    first = made.nodes["g1"] = add_node(lab, node_image, "g1", place="g1")
    first.start()
    first.wait_ready(timeout_s=180)
    for unit in PINNED:
        name = unit.removeprefix("on-").removesuffix(".service")
        first.put(f"/root/u/{unit}", TEXT.format(START) + f"[X-Fleet]\nMachineMetadata=place={name}\n")
    yield made
    leave(request, *made.nodes.values())


@pytest.fixture(scope="module")
def grown(cluster: Cluster) -> Grown:
    return Grown(cluster)


class Grown:
    """The verbs of `skerry cluster`, as they are typed."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._starts: dict[str, int] = {}

    def __getitem__(self, name: str) -> NspawnNode:
        return self.cluster.nodes[name]

    def token(self, role: str, *, by: str = "g1") -> str:
        made = self[by].run(["skerry", "cluster", "token", "create", "--role", role])
        return made.text.splitlines()[0]

    def do(self, name: str, *argv: str, stdin: str = "") -> str:
        begun = now()
        done = self[name].run(["skerry", "cluster", *argv], timeout_s=120, stdin=stdin.encode()).text
        print(f"{name}: cluster {' '.join(argv)} took {now() - begun:.1f} s")
        return done

    def refused(self, name: str, *argv: str, stdin: str = "") -> str:
        done = self[name].try_run(["skerry", "cluster", *argv], timeout_s=120, stdin=stdin.encode())
        assert done.status != 0, f"{argv} was done: {done.text}"
        return done.error_text

    def join(self, name: str, role: str, *, by: str = "g1") -> None:
        url = f"https://{self[by].cable.address}:{API_PORT}"
        address = self[name].cable.address
        token = self.token(role, by=by) + "\n"
        self.do(name, "join", "--server", url, "--address", address, stdin=token)

    def document(self, role: str) -> str:
        """The cloud-config of a machine that is to join."""
        address = self["g1"].cable.address
        return (
            "#cloud-config\nskerry:\n  cluster:\n"
            f"    token: {self.token(role)}\n    servers: [{address}]\n    role: {role}\n"
        )

    def status(self, by: str = "g1") -> dict[str, object]:
        view: dict[str, object] = json.loads(self[by].try_run(["skerry", "cluster", "status", "--json"]).text)
        return view

    def servers(self, by: str = "g1") -> set[str]:
        found = self.status(by)["servers"]
        assert isinstance(found, list)
        return {server["hostname"] for server in found}

    def votes(self, by: str = "g1") -> int:
        store = self.status(by)["store"]
        assert isinstance(store, dict)
        return sum(not member["learner"] for member in store["members"])

    def machine_id(self, name: str) -> str:
        return self[name].read("/etc/machine-id").strip()

    def runs(self, *names: str) -> bool:
        """Whether what is pinned to these nodes runs there, and nothing was started twice."""
        machines = self.cluster.machines(by=("g1",))
        return all(machines.get(f"on-{name}.service") == name for name in names)

    def started_once(self, *names: str) -> None:
        starts = self.cluster.starts()
        assert {n: starts[f"on-{n}.service"] for n in names} == dict.fromkeys(names, 1)

    def mark(self) -> None:
        """From here on starts are counted anew."""
        self._starts = self.cluster.starts()

    def not_started_since(self, *names: str) -> None:
        starts = self.cluster.starts()
        units = [f"on-{name}.service" for name in names]
        assert {unit: starts[unit] for unit in units} == {unit: self._starts[unit] for unit in units}

    def answer(self, name: str, *, of: str) -> str:
        """The status that a server gives to a node that shows its certificate."""
        url = f"https://{self[of].cable.address}:{API_PORT}/v1/cluster/servers"
        return self[name].run(["python3", "-c", ASK, url], timeout_s=30).text.strip()


def test_init_with_the_store_in_a_file(grown: Grown) -> None:
    first = grown["g1"]
    first.run(["sh", "-c", "cd /root/u && skerry unit start --no-block on-*.service"])
    grown.cluster.until(lambda: "on-g1.service" in grown.cluster.machines(), 120)
    grown.cluster.ask("etcdctl", "set", "/kept", "from the file")
    grown.do("g1", "init", "--file", "--name", "grown", "--address", first.cable.address)
    assert grown.servers() == {"g1"}
    store = grown.status()["store"]
    assert isinstance(store, dict)
    assert store["kind"] == "sqlite"
    assert "only server" in grown.refused("g1", "leave")


def test_an_agent_joins_by_its_cloud_config(grown: Grown, lab: Lab, node_image: NodeImage) -> None:
    node = add_node(lab, node_image, "g2", grown.document("agent"), place="g2")
    grown.cluster.nodes["g2"] = node
    node.start()
    node.wait_ready(timeout_s=180)
    ready(grown["g1"], 2, timeout_s=120)
    grown.cluster.until(lambda: grown.runs("g1", "g2"), 120)
    assert node.try_run(["test", "-e", "/etc/skerry/join.toml"]).status == 1


def test_the_store_moves_into_etcd_with_units_running_on(grown: Grown) -> None:
    grown.do("g1", "migrate")
    ready(grown["g1"], 2, timeout_s=120)
    store = grown.status()["store"]
    assert isinstance(store, dict)
    assert store["kind"] == "etcd"
    assert grown.cluster.ask("etcdctl", "get", "/kept").strip() == "from the file"
    grown.cluster.until(lambda: grown.runs("g1", "g2"), 120)
    grown.started_once("g1", "g2")


def test_servers_join_by_cloud_config_and_by_command(grown: Grown, lab: Lab, node_image: NodeImage) -> None:
    third = add_node(lab, node_image, "g3", grown.document("server"), place="g3")
    fourth = add_node(lab, node_image, "g4", place="g4")
    for node in (third, fourth):
        grown.cluster.nodes[node.name] = node
        node.start()
    for node in (third, fourth):
        node.wait_ready(timeout_s=180)
    ready(grown["g1"], 3, timeout_s=120)
    grown.join("g4", "server")
    ready(grown["g1"], 4, timeout_s=120)
    assert grown.servers() == {"g1", "g3", "g4"}
    assert grown.votes() == 3
    assert third.try_run(["test", "-e", "/etc/skerry/join.toml"]).status == 1
    grown.cluster.until(lambda: grown.runs("g1", "g2", "g3", "g4"), 120)
    grown.started_once("g1", "g2", "g3", "g4")
    assert third.run(["etcdctl", "get", "/kept"]).text.strip() == "from the file"


def test_who_shuts_down_says_goodbye(grown: Grown) -> None:
    """An agent, a server, and the one that leads."""
    first = grown["g1"]
    view = grown.status()
    leader = next(s["hostname"] for s in view["servers"] if s["leads"])  # type: ignore[attr-defined]
    units = {name: f"from-{name}.service" for name in ("g2", "g4", leader)}
    for name, unit in units.items():
        first.put(f"/root/u/{unit}", TEXT.format(START) + f"[X-Skerry]\nPrefer=place={name}\n")
        first.run(["skerry", "unit", "start", f"/root/u/{unit}"])
    grown.cluster.until(
        lambda: all(grown.cluster.machines().get(unit) == name for name, unit in units.items()), 120
    )
    # Its own member of the store stops beside it: it says goodbye through the others, once it knows them.
    kept = grown[leader]
    grown.cluster.until(lambda: len(json.loads(kept.read(f"{STATE}/cluster.json"))["store"]) == 3, 120)
    for name, unit in units.items():
        begun = now()
        grown[name].stop()
        grown.cluster.until(lambda: any(who != name for who in grown.cluster.seen(unit)), 60)  # noqa: B023
        seen = grown.cluster.seen(unit)
        moved = min(times[0] for who, times in seen.items() if who != name) - begun
        print(f"{unit} moved {moved:.1f} s after {name} was told to shut down")
        # Nearly always in half a second. One time in some, systemd does not say that the machine stops, and
        # nobody says goodbye: a fault of ours that is not found yet.
        assert moved < FAILOVER_S
        grown.cluster.power_on(name)
        ready(grown["g3"], 4, timeout_s=120)
    grown.cluster.until(lambda: grown.runs("g1", "g2", "g3", "g4"), 120)
    grown.started_once("g3")
    first.run(["skerry", "unit", "destroy", *units.values()])
    grown.mark()


def test_an_agent_leaves_and_comes_again(grown: Grown) -> None:
    assert "drain" in grown.refused("g2", "leave")
    grown["g1"].run(["skerry", "node", "drain", "g2"])
    grown.do("g2", "leave")
    nothing_left(grown["g2"])
    ready(grown["g1"], 3, timeout_s=120)
    grown.join("g2", "agent")
    ready(grown["g1"], 4, timeout_s=120)
    grown.cluster.until(lambda: grown.runs("g1", "g2", "g3", "g4"), 120)
    grown.not_started_since("g1", "g3", "g4")


def test_a_server_leaves_and_comes_again(grown: Grown) -> None:
    assert "drain" in grown.refused("g4", "leave")
    grown["g1"].run(["skerry", "node", "drain", "g4"])
    grown.do("g4", "leave")
    nothing_left(grown["g4"])
    assert grown.votes() == 2
    assert grown.servers() == {"g1", "g3"}
    grown.join("g4", "server", by="g3")
    ready(grown["g1"], 4, timeout_s=120)
    assert grown.votes() == 3
    grown.cluster.until(lambda: grown.runs("g1", "g2", "g3", "g4"), 120)
    grown.not_started_since("g1", "g3")


def nothing_left(node: NspawnNode) -> None:
    """Of the cluster that a machine has left: no key, nothing stored, no unit."""
    found = node.run(["sh", "-c", f"cd {STATE} && ls -d * */*"]).text.split()
    left = {"cluster.json", "pki", "etcd/data", "etcd/etcd.yaml", "snapshots", "store.db.migrated"}
    assert not left & set(found), found
    assert json.loads(node.run(["skerry", "unit", "list", "--json"]).text) == []
    assert node.try_run(["systemctl", "is-active", f"on-{node.name}.service"]).text.strip() != "active"


def test_removed_machines_are_refused_at_once(grown: Grown) -> None:
    for name in ("g2", "g4"):
        assert grown.answer(name, of="g1") == "200"
        grown["g1"].run(["skerry", "node", "remove", "--force", name])
        assert grown.answer(name, of="g1") == "401"
        grown.cluster.until(lambda: grown.answer(name, of="g3") == "401", 15)  # noqa: B023
    assert grown.votes() == 2
    assert grown.servers() == {"g1", "g3"}
    grown.cluster.until(lambda: "was removed" in grown.refused("g4", "status"), 120)
    for name, role in (("g2", "agent"), ("g4", "server")):
        running = grown[name].try_run(["systemctl", "is-active", f"on-{name}.service"])
        assert running.text.strip() == "active"
        grown.do(name, "leave", "--force")
        nothing_left(grown[name])
        grown.join(name, role)
    ready(grown["g1"], 4, timeout_s=120)
    grown.cluster.until(lambda: grown.runs("g1", "g2", "g3", "g4"), 120)
    grown.not_started_since("g1", "g3")


def test_the_vote_of_a_lost_server_is_taken(grown: Grown) -> None:
    lost = grown.machine_id("g4")
    grown["g4"].kill_power()
    assert lost in grown.do("g3", "member", "list")
    grown.do("g3", "member", "remove", lost)
    assert lost not in grown.do("g3", "member", "list")
    assert grown.votes() == 2
    grown["g1"].run(["skerry", "node", "remove", "--force", lost])
    assert grown.servers() == {"g1", "g3"}


def test_a_snapshot_is_restored(grown: Grown) -> None:
    grown.cluster.ask("etcdctl", "set", "/kept", "in the snapshot")
    grown.do("g1", "snapshot", "/root/kept.snapshot")
    grown.cluster.ask("etcdctl", "set", "/kept", "after the snapshot")
    said = grown.refused("g1", "restore", "/root/kept.snapshot", "--yes")
    assert f"other servers run: {grown['g3'].cable.address}" in said
    grown["g3"].run(["systemctl", "stop", "skerryd.service", "skerry-etcd.service"])
    grown.mark()
    grown.do("g1", "restore", "/root/kept.snapshot", "--yes")
    assert grown.cluster.ask("etcdctl", "get", "/kept").strip() == "in the snapshot"
    assert grown.servers() == {"g1"}
    assert grown.votes() == 1
    grown["g3"].run(["systemctl", "start", "skerryd.service"])
    grown.do("g3", "leave", "--force")
    nothing_left(grown["g3"])
    grown.join("g3", "server")
    grown.cluster.until(lambda: grown.runs("g1", "g2", "g3"), 120)
    grown.not_started_since("g1", "g2")


def test_one_server_goes_on_where_the_majority_is_lost(grown: Grown) -> None:
    grown.cluster.ask("etcdctl", "set", "/kept", "before the loss")
    grown.mark()
    grown["g3"].kill_power()
    grown.do("g1", "restore", "--yes")
    assert grown.cluster.ask("etcdctl", "get", "/kept").strip() == "before the loss"
    assert grown.servers() == {"g1"}
    assert grown.votes() == 1
    grown.cluster.until(lambda: grown.runs("g1", "g2"), 120)
    grown.not_started_since("g1", "g2")


def test_another_machine_begins_anew_where_all_servers_are_lost(grown: Grown) -> None:
    lost, left = grown["g1"], grown["g2"]
    grown.cluster.ask("etcdctl", "set", "/kept", "on a shelf")
    grown.do("g1", "snapshot", "/root/shelf.snapshot")
    shelf = {"/root/shelf.snapshot": lost.run(["cat", "/root/shelf.snapshot"]).stdout}
    for name in lost.run(["ls", f"{STATE}/pki"]).text.split():
        shelf[f"{STATE}/pki/{name}"] = lost.run(["cat", f"{STATE}/pki/{name}"]).stdout
    authority = lost.run(["sha256sum", f"{STATE}/pki/ca.crt"]).text
    lost.kill_power()
    assert "--force" in grown.refused("g2", "leave")
    grown.do("g2", "leave", "--force")
    nothing_left(left)
    for path, content in shelf.items():
        left.put(path, content, mode=0o600)
    grown.do("g2", "init", "--name", "grown", "--address", left.cable.address)
    grown.do("g2", "restore", "/root/shelf.snapshot", "--yes")
    assert left.run(["etcdctl", "get", "/kept"]).text.strip() == "on a shelf"
    grown.cluster.until(lambda: grown.servers("g2") == {"g2"}, 120)
    assert grown.votes("g2") == 1
    assert left.run(["sha256sum", f"{STATE}/pki/ca.crt"]).text == authority
    grown.cluster.until(lambda: grown.cluster.machines(("g2",)).get("on-g2.service") == "g2", 120)
    log = left.run(["skerry", "cluster", "audit"]).text
    assert all(f"/v1/host/cluster/{verb}" in log for verb in ("init", "migrate", "leave", "restore"))
