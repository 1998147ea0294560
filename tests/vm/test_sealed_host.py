"""The booted host is what the image promises: sealed, blessed, grown, and open to keys only."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING

import pytest

from skerry_lab.errors import NodeError

if TYPE_CHECKING:
    from skerry_lab.qemu import QemuNode

FIRMWARE_SAYS = "BdsDxe: starting"
PATIENCE_S = 120
DOCKER_VERSION = """
import sys
sys.path[:0] = ["/usr/lib/skerry"]
from skerry.kit.http import Client
print(Client("/run/docker.sock").request("GET", "/version").body.decode())
"""


def sh(machine: QemuNode, script: str, *, timeout_s: float = 60) -> str:
    return machine.run(["sh", "-c", script], timeout_s=timeout_s).text.strip()


def test_the_root_is_erofs_under_verity(machine: QemuNode) -> None:
    assert sh(machine, "findmnt -n -o SOURCE,FSTYPE /") == "/dev/dm-0 erofs"
    assert " verity " in sh(machine, "dmsetup table root")


def test_the_boot_was_blessed(machine: QemuNode) -> None:
    (entry,) = sh(machine, "ls /efi/EFI/Linux").split()
    assert "+" not in entry


def test_the_data_partition_has_grown_to_the_disk(machine: QemuNode) -> None:
    assert int(sh(machine, "df --output=size -B1 /var | tail -1")) > 5 << 30


def test_etc_and_var_are_persistent_and_of_this_version(machine: QemuNode) -> None:
    options = sh(machine, "findmnt -n -o FSTYPE,FSROOT /etc")
    assert options.startswith("ext4 /lib/skerry/etc/")
    assert sh(machine, "findmnt -n -o FSTYPE /var") == "ext4"


def test_the_daemon_calls_the_machine_by_the_name_that_it_was_given(machine: QemuNode) -> None:
    (node,) = json.loads(sh(machine, "skerry node list --json"))
    assert node["hostname"] == "golden"


def test_ssh_takes_keys_only(machine: QemuNode) -> None:
    settings = sh(machine, "sshd -T").splitlines()
    assert "passwordauthentication no" in settings
    assert "kbdinteractiveauthentication no" in settings
    assert "permitrootlogin without-password" in settings


def test_there_is_no_package_manager_nor_compiler(machine: QemuNode) -> None:
    assert sh(machine, "for p in apt dpkg gcc cc perl man; do command -v $p; done; true") == ""


def test_docker_answers_and_so_does_its_api(machine: QemuNode) -> None:
    assert "Podman" in sh(machine, "docker version", timeout_s=120)
    said = machine.run(["python3", "-I", "-c", DOCKER_VERSION], timeout_s=120).text
    assert "ApiVersion" in said
    machine.run(["systemctl", "stop", "podman.service"])


@pytest.mark.parametrize(
    "script",
    ["echo c > /proc/sysrq-trigger", "systemctl --no-block isolate emergency.target"],
    ids=["kernel panic", "emergency"],
)
def test_nobody_has_to_start_it_again(machine: QemuNode, script: str) -> None:
    before = machine.console().count(FIRMWARE_SAYS)
    with contextlib.suppress(NodeError):  # it may be gone before it answers
        machine.try_run(["sh", "-c", script], timeout_s=20)
    end = time.monotonic() + PATIENCE_S
    while machine.console().count(FIRMWARE_SAYS) == before:
        assert time.monotonic() < end, machine.console()[-2000:]
        time.sleep(0.5)
    machine.restore("golden")
