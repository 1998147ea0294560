"""A virtual machine of the disk behaves as a node must."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node_watch import fetch

if TYPE_CHECKING:
    from skerry_lab.qemu import QemuNode


def test_it_boots_whole(machine: QemuNode) -> None:
    failed = machine.run(["systemctl", "list-units", "--failed", "--no-legend", "--plain"]).text
    assert failed == ""


def test_a_container_runs_and_its_page_is_fetched(machine: QemuNode) -> None:
    machine.run(["podman", "run", "-d", "-p", "8080:80", "tutum/hello-world"], timeout_s=120)
    assert "Hello world!" in fetch(machine, 8080)


def test_a_snapshot_forgets_what_came_after_it(machine: QemuNode) -> None:
    machine.put("/var/after", "x")
    machine.run(["sync"])
    machine.restore("golden")
    assert machine.try_run(["test", "-e", "/var/after"]).status == 1
