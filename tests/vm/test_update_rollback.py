"""A release that fails brings the old version back by itself, with its own /etc, and is refused then."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from skerry_lab import updates
from skerry_lab.repository import BEFORE
from update_story import GOLDEN, failed_units, host, reboot_to, settled, sh, stage, until

if TYPE_CHECKING:
    from skerry_lab.qemu import QemuNode
    from skerry_lab.repository import LabReleases


@pytest.fixture
def fresh(updated: QemuNode) -> QemuNode:
    updated.restore(GOLDEN)
    return updated


@pytest.mark.parametrize(
    ("channel", "shown", "reason"),
    [
        ("panics", "Kernel panic - not syncing", "panic, hang or power loss"),
        ("skerryd-fails", "", "skerryd: "),
        ("health-hangs", "", "99-lab"),
    ],
)
def test_it_comes_back_by_itself(
    fresh: QemuNode,
    releases: LabReleases,
    record_property: pytest.RecordProperty,
    channel: str,
    shown: str,
    reason: str,
) -> None:
    bad = releases.bad[channel]
    sh(fresh, "echo mine > /etc/own; sync")
    fresh.put("/etc/skerry/update.toml.d/99-tests.toml", "tries = 1\n")
    stage(fresh, channel)
    before = fresh.boot_id()
    assert host(fresh, "upgrade", "--reboot", "--channel", channel).status == 0
    fresh.ssh.forget()
    if shown:
        until(lambda: shown in fresh.console())
        failed = time.monotonic()
    updates.wait_for(fresh, BEFORE, after=before)
    if shown:
        record_property("seconds from the failed boot to the old version", time.monotonic() - failed)
    now = settled(fresh, "rolled-back")
    assert now.slot("A").running
    assert reason in now.reason
    assert reason in now.refused[bad].reason
    assert reason in host(fresh, "status").text
    assert sh(fresh, "cat /etc/own; findmnt -n -o FSROOT /etc").split()[0] == "mine"
    assert sh(fresh, "findmnt -n -o FSROOT /etc").endswith(f"/{BEFORE}")
    assert f"skerry_{bad}+0-1.efi" in sh(fresh, "ls /efi/EFI/Linux").split()
    assert failed_units(fresh) == ""
    again = host(fresh, "upgrade", "--stage", "--channel", channel)
    assert "failed on this host" in again.text + again.error_text
    assert updates.seen(fresh).step == "rolled-back"


def test_what_was_broken_before_costs_no_rollback(fresh: QemuNode, releases: LabReleases) -> None:
    sh(
        fresh,
        "printf '[Service]\\nType=oneshot\\nExecStart=/bin/false\\n' > /etc/systemd/system/sick.service",
    )
    sh(fresh, "mkdir -p /etc/systemd/system/multi-user.target.wants")
    sh(fresh, "ln -s ../sick.service /etc/systemd/system/multi-user.target.wants/; systemctl daemon-reload")
    sh(fresh, "systemctl start sick.service || true")
    stage(fresh, "stable")
    reboot_to(fresh, releases.after.version, "upgrade", "--reboot")
    settled(fresh, "blessed")
    assert "sick.service" in failed_units(fresh)
