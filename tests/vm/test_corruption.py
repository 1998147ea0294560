"""A block of /usr that rots on the disk is never served: the machine stops at once and boots again."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from skerry_lab.errors import NodeError
from skerry_lab.qmp import converse

if TYPE_CHECKING:
    from collections.abc import Callable

    from skerry_lab.qemu import QemuNode

SECTOR_BYTES = 512
FIRMWARE_SAYS = "BdsDxe: starting"
PATIENCE_S = 180
FIND_ROOT = """
for block in /sys/class/block/*; do
    grep -qx "PARTNAME=skerry_$(. /etc/os-release; echo $VERSION_ID)" $block/uevent && cat $block/start
done
true
"""


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.5)


def test_a_rotten_block_is_detected_and_not_served(machine: QemuNode) -> None:
    start = int(machine.run(["sh", "-c", FIND_ROOT]).text) * SECTOR_BYTES
    machine.run(["sh", "-c", "sync; echo 3 > /proc/sys/vm/drop_caches"])
    before = machine.boot_id()
    with converse(machine.directory / "qmp") as qmp:
        # Every 64th block of the root's first 160 MiB, all beyond its superblock.
        for block in range(64, 40960, 64):
            qmp.monitor(f'qemu-io disk "write -P 165 {start + block * 4096} 4096"')
    began = machine.console().count(FIRMWARE_SAYS)
    with contextlib.suppress(NodeError):  # the machine may be gone before it answers
        machine.try_run(["sh", "-c", "cat /usr/bin/* /usr/lib/*/* > /dev/null"])
    until(lambda: "is corrupted" in machine.console())
    until(lambda: machine.console().count(FIRMWARE_SAYS) > began)
    machine.restore("golden")
    assert machine.boot_id() == before


def test_what_is_written_to_usr_is_refused(machine: QemuNode) -> None:
    assert machine.try_run(["touch", "/usr/lib/x"]).status != 0
    assert machine.try_run(["mount", "-o", "remount,rw", "/"]).status != 0
