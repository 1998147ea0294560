"""A container of the tree behaves as a node must: every test of the others stands on this."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from node_watch import fetch
from skerry_lab.errors import NodeError
from skerry_lab.journal import Allowed
from skerry_lab.node import NodeSpec

if TYPE_CHECKING:
    from skerry_lab.lab import Lab
    from skerry_lab.node import Node, NodeImage


def test_it_boots_whole(node: Node) -> None:
    assert node.run(["systemctl", "list-units", "--failed", "--no-legend", "--plain"]).text == ""


def test_its_usr_is_sealed(node: Node) -> None:
    assert node.try_run(["touch", "/usr/lib/x"]).status != 0


def test_it_holds_the_licence_of_each_package(node: Node) -> None:
    packages = json.loads(node.read("/usr/share/skerry/packages.json"))
    wanted = [f"/usr/share/doc/{package['name']}/copyright" for package in packages]
    assert len(wanted) > 100
    node.run(["test", "-s", "/usr/share/common-licenses/GPL-3"])
    assert node.try_run(["ls", *wanted]).error_text == ""


def test_a_file_that_is_put_is_read_back_with_its_mode(node: Node) -> None:
    node.put("/etc/new/place", b"one\0two", mode=0o640)
    assert node.run(["cat", "/etc/new/place"]).stdout == b"one\0two"
    assert node.run(["stat", "-c", "%a", "/etc/new/place"]).text.strip() == "640"


def test_a_program_that_fails_says_why(node: Node) -> None:
    with pytest.raises(NodeError, match="status 3: no such luck"):
        node.run(["sh", "-c", "echo no such luck >&2; exit 3"])


def test_a_container_runs_and_its_page_is_fetched(node: Node) -> None:
    node.run(["podman", "run", "-d", "--name", "hello", "-p", "8080:80", "tutum/hello-world"])
    assert "Hello world!" in fetch(node, 8080)
    node.run(["podman", "rm", "-f", "-t", "2", "hello"])


def test_an_error_in_the_journal_is_seen(node: Node, expected_errors: list[Allowed]) -> None:
    node.run(["sh", "-c", "echo '<3>all is lost' | systemd-cat -t oracle"])
    expected_errors.append(Allowed("oracle", "all is lost", "this test says so"))
    assert any(entry.message == "all is lost" for entry in node.journal("-t", "oracle"))


def test_two_nodes_are_two_machines(node: Node, lab: Lab, node_image: NodeImage) -> None:
    """Also where no service manager of the build machine keeps their control groups apart."""
    other = lab.add(NodeSpec("other"), "nspawn", node_image)
    other.start()
    other.wait_ready(timeout_s=60)
    for one in (node, other):
        one.run(["systemd-run", "--unit=same", "--quiet", "sleep", "infinity"])
    other.run(["systemctl", "stop", "same.service"])
    assert node.run(["systemctl", "is-active", "same.service"]).text.strip() == "active"
    assert other.run(["ping", "-c", "1", "-W", "2", "10.77.0.1"]).status == 0
    other.kill_power()


def test_a_reboot_keeps_etc_and_var(node: Node) -> None:
    node.put("/var/kept", "kept")
    node.put("/etc/kept", "kept")
    before = node.boot_id()
    node.reboot()
    assert node.boot_id() != before
    assert node.read("/var/kept") + node.read("/etc/kept") == "keptkept"


def test_it_comes_back_after_the_power_was_cut(node: Node) -> None:
    node.kill_power()
    assert not node.running()
    node.start()
    assert node.wait_ready() in {"running", "degraded"}
