"""What is full, damaged or of another time keeps an update from starting, or the old version comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from skerry_lab import gpt, updates
from skerry_lab.qmp import converse
from skerry_lab.repository import BEFORE
from update_story import GOLDEN, host, reboot_to, settled, sh

if TYPE_CHECKING:
    from skerry_lab.qemu import QemuNode
    from skerry_lab.repository import LabReleases

START = "cat /sys/class/block/vda4/start"  # slot B's root, see image.compose.disk
SPOILED_BLOCKS = range(64, 40960, 64)


@pytest.fixture
def fresh(updated: QemuNode) -> QemuNode:
    updated.restore(GOLDEN)
    return updated


@pytest.mark.parametrize(
    ("fill", "where"),
    [
        ("fallocate -l $(($(stat -f -c '%a * %S' /var) - 20000000)) /var/full", "/var"),
        ("dd if=/dev/zero of=/efi/full bs=1M count=420 status=none; sync", "ESP"),
    ],
    ids=["var", "esp"],
)
def test_what_is_full_is_told_before_anything_is_touched(fresh: QemuNode, fill: str, where: str) -> None:
    sh(fresh, fill)
    refused = host(fresh, "upgrade", "--stage")
    assert refused.status == 1
    assert where in refused.error_text
    assert "free" in refused.error_text or "room" in refused.error_text
    assert updates.seen(fresh).slot("B").version is None
    sh(fresh, "rm -f /var/full /efi/full")
    assert host(fresh, "upgrade", "--plan").status == 0


def test_a_damaged_slot_is_never_served(staged: QemuNode, releases: LabReleases) -> None:
    start = int(sh(staged, START)) * gpt.SECTOR_BYTES
    with converse(staged.directory / "qmp") as qmp:
        for block in SPOILED_BLOCKS:
            qmp.monitor(f'qemu-io disk "write -P 165 {start + block * 4096} 4096"')
    reboot_to(staged, BEFORE, "upgrade", "--reboot")
    now = settled(staged, "rolled-back")
    assert releases.after.version in now.refused
    assert "corrupted" in staged.console()


def test_a_damaged_kernel_is_found_before_the_reboot(staged: QemuNode, releases: LabReleases) -> None:
    entry = f"/efi/EFI/Linux/skerry_{releases.after.version}+3.efi"
    sh(staged, f"dd if=/dev/zero of={entry} bs=4096 seek=3000 count=16 conv=notrunc,fsync status=none")
    before = staged.boot_id()
    refused = host(staged, "upgrade", "--reboot")
    assert refused.status == 1
    assert "not what was written" in refused.error_text
    assert staged.boot_id() == before
    assert sh(staged, "ls /efi/EFI/Linux") == f"skerry_{BEFORE}.efi"
    assert updates.seen(staged).step == "refused"


def test_a_clock_before_the_image_is_told(staged: QemuNode) -> None:
    sh(staged, "timedatectl set-ntp false; timedatectl set-time '1970-01-02 00:00:00'")
    refused = host(staged, "upgrade", "--reboot")
    assert refused.status == 1
    assert "the clock says 1970-01-02, and this image was made" in refused.error_text
