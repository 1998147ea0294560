"""In the hour after the bless health may still decide: what turns bad brings back the old version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry_lab import updates
from skerry_lab.repository import BEFORE
from update_story import failed_units, host, settled, sh

if TYPE_CHECKING:
    from skerry_lab.qemu import QemuNode
    from skerry_lab.repository import LabReleases

# As an operator may have it; what is shipped looks every five minutes, and three times.
OFTEN = "[Timer]\nOnActiveSec=\nOnUnitActiveSec=\nOnActiveSec=1s\nOnUnitInactiveSec=1s\nAccuracySec=1s\n"
TWICE = "failures = 2\n"


def test_what_turns_bad_in_the_hour_brings_the_old_version_back(
    blessed: QemuNode, releases: LabReleases
) -> None:
    assert host(blessed, "status").text.count("probation") == 1
    sh(blessed, "echo new > /etc/issue; echo new > /etc/only-here")
    blessed.put("/etc/skerry/health.toml.d/99-tests.toml", TWICE)
    blessed.put("/etc/systemd/system/skerry-probation.timer.d/99-tests.conf", OFTEN)
    before = blessed.boot_id()
    # From one moment to the next the daemon is gone, and does not come back.
    sh(blessed, "systemctl mask --runtime --now skerryd.socket skerryd.service")
    sh(blessed, "systemctl daemon-reload; systemctl restart skerry-probation.timer")
    blessed.ssh.forget()
    updates.wait_for(blessed, BEFORE, after=before, timeout_s=600)
    now = settled(blessed, "rolled-back")
    assert now.slot("A").running
    assert "skerryd: " in now.reason
    assert "(2 times in a row)" in now.refused[releases.after.version].reason
    assert sh(blessed, "findmnt -n -o FSROOT /etc").endswith(f"/{BEFORE}")
    assert "new" not in blessed.read("/etc/issue")
    assert sh(blessed, "ls /etc/only-here 2>/dev/null || echo none") == "none"
    assert failed_units(blessed) == ""
