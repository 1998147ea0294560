"""A virtual machine reads its cloud-config from a NoCloud volume, and a bad one never stops the boot."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from skerry_lab.node import NodeSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from skerry_lab.qemu import QemuNode

DOCUMENT = """#cloud-config
hostname: from-a-volume
no_such_key: 1
write_files:
  - path: /etc/good
    content: it is here
  - path: relative
    content: it is not
coreos:
  units:
    - name: greet.service
      command: start
      content: |
        [Service]
        Type=oneshot
        RemainAfterExit=yes
        ExecStart=/bin/echo greetings
"""


@pytest.fixture(scope="module")
def provisioned(make_machine: Callable[[NodeSpec], QemuNode]) -> Iterator[QemuNode]:
    made = make_machine(NodeSpec("cidata", DOCUMENT, wrap=False, deliver="cidata"))
    made.start()
    made.wait_ready(timeout_s=300)
    yield made
    made.kill_power()


def test_what_is_right_is_applied(provisioned: QemuNode) -> None:
    assert provisioned.run(["hostname"]).text.strip() == "from-a-volume"
    assert provisioned.read("/etc/good") == "it is here"
    assert provisioned.run(["systemctl", "is-active", "greet.service"]).text.strip() == "active"


def test_what_is_wrong_is_told_on_its_own_line(provisioned: QemuNode) -> None:
    said = provisioned.try_run(["skerry", "host", "status"]).text
    assert "8" in said
    assert "relative" in said
    journal = "\n".join(
        entry.message for entry in provisioned.journal("-b", "-u", "skerry-provision.service")
    )
    assert "relative" in journal


def test_the_console_tells_it_too(provisioned: QemuNode) -> None:
    assert "relative" in provisioned.console()


def test_the_data_partition_grew_to_the_disk(provisioned: QemuNode) -> None:
    size = int(provisioned.run(["stat", "-f", "-c", "%b", "/var"]).text) * 4096
    assert size > 4 << 30


def test_the_host_says_what_it_is(provisioned: QemuNode) -> None:
    status = json.loads(provisioned.try_run(["skerry", "host", "status", "--json"]).text)
    assert status["os"]["image_version"]
