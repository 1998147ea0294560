"""Seconds from a boot that failed to the older version, healthy: a kernel that panics, on a virtual machine.

The machine is left to itself: the time after a panic passes, firmware and boot loader run, and the loader
takes the other entry. The peer is the same machine where nothing failed: the reset button is pressed.
Healthy is when systemd has started everything and health has written down that the version is well; the older
version has told then why it is back. The machine should have nothing else to do.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from harness import report

from skerry_lab import updates
from skerry_lab.accel import choose
from skerry_lab.errors import NodeError
from skerry_lab.lab import Lab
from skerry_lab.node import NodeImage, NodeSpec
from skerry_lab.qemu import QemuNode
from skerry_lab.repository import BEFORE, make_releases, serve

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 3
CHANNEL = "panics"
PANIC = "Kernel panic - not syncing"
STAGED = "staged"
TIMEOUT_S = 300
GOAL_S = 60  # on this kind of machine, where a boot takes 20


def until(condition: Callable[[], bool]) -> float:
    """Wait for it; the time at which it was so."""
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("it did not come to pass")
        time.sleep(0.1)
    return time.monotonic()


def prepared(lab: Lab) -> QemuNode:
    """A machine that would boot the bad release next, with one try, kept as a snapshot."""
    releases = make_releases(bad=(CHANNEL,))
    document = updates.settings(serve(lab.state, releases), tries=1)
    node = lab.add(NodeSpec("rollback", document, disk="4G"), "qemu", NodeImage(releases.disk, None))
    assert isinstance(node, QemuNode)
    node.start()
    node.wait_ready(timeout_s=TIMEOUT_S)
    node.run(["skerry", "host", "upgrade", "--stage", "--channel", CHANNEL], timeout_s=TIMEOUT_S)
    node.snapshot(STAGED)
    return node


def healthy(node: QemuNode, after: str) -> float:
    """Wait until another boot than `after` is of the older version and was found well."""
    updates.wait_for(node, BEFORE, after=after, timeout_s=TIMEOUT_S)
    record = f"/var/lib/skerry/update/health/{node.boot_id()}.json"
    return until(lambda: node.try_run(["grep", "-q", '"decision":"good"', record]).status == 0)


def rolled_back(node: QemuNode) -> float:
    node.restore(STAGED)
    before, seen = node.boot_id(), node.console().count(PANIC)
    with contextlib.suppress(NodeError):
        node.try_run(["skerry", "host", "upgrade", "--reboot", "--channel", CHANNEL], timeout_s=TIMEOUT_S)
    node.ssh.forget()
    failed = until(lambda: node.console().count(PANIC) > seen)
    taken = healthy(node, before) - failed
    if updates.seen(node).step != "rolled-back":
        raise ValueError(f"the machine says {updates.seen(node)}")
    return taken


def pressed(node: QemuNode) -> float:
    node.restore(STAGED)
    # Nothing is staged any more, so that the reset leads to the version that runs.
    node.run(["skerry", "host", "rollback"], timeout_s=TIMEOUT_S)
    node.run(["sync"])
    before, begun = node.boot_id(), time.monotonic()
    node.reset()
    return healthy(node, before) - begun


def main() -> None:
    print(f"virtual machines run on {choose().name}")
    with Lab.create(f"bench-{os.getpid()}") as lab:
        node = prepared(lab)
        cases = {"from the panic": rolled_back, "the reset button, for comparison": pressed}
        taken: dict[str, list[float]] = {what: [] for what in cases}
        for _ in range(ROUNDS):
            for what, measure in cases.items():
                taken[what].append(measure(node))
    report("update_rollback", "s until the older version is healthy", taken, goal=GOAL_S)


if __name__ == "__main__":
    main()
