"""What the tests of updates on machines say again and again."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from skerry_lab import updates
from skerry_lab.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from skerry_lab.node import Completed
    from skerry_lab.qemu import QemuNode

GOLDEN, STAGED, BLESSED = "golden", "staged", "blessed"
SETTLE = "skerry-settle.service"
PATIENCE_S = 300


def sh(node: QemuNode, script: str) -> str:
    return node.run(["sh", "-c", script], timeout_s=PATIENCE_S).text.strip()


def host(node: QemuNode, *words: str) -> Completed:
    return node.try_run(["skerry", "host", *words], timeout_s=PATIENCE_S)


def stage(node: QemuNode, channel: str) -> None:
    done = host(node, "upgrade", "--stage", "--channel", channel)
    assert done.status == 0, done.error_text


def reboot_to(node: QemuNode, wanted: str, *words: str) -> None:
    """Give a command that reboots, or just reboot, and wait for a version to be up."""
    before = node.boot_id()
    if words:
        done = host(node, *words)
        assert done.status == 0, done.error_text
    else:
        with contextlib.suppress(NodeError):
            node.try_run(["systemctl", "reboot"], timeout_s=20)
    node.ssh.forget()
    updates.wait_for(node, wanted, after=before)


def settled(node: QemuNode, *steps: str) -> updates.UpdateSeen:
    """What the machine says once what followed the boot is done."""
    until(lambda: updates.seen(node).step in steps)
    return updates.seen(node)


def at_rest(node: QemuNode) -> None:
    """Wait for what a boot ends with: until then it may still put in order what a test is to change."""
    until(lambda: node.try_run(["systemctl", "is-active", SETTLE]).text.strip() == "inactive")


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.5)


def failed_units(node: QemuNode) -> str:
    return node.run(["systemctl", "list-units", "--failed", "--no-legend", "--plain"]).text
