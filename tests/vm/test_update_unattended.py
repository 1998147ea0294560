"""Nobody is there: the timer brings a version, boots it in the window, it hangs, and the old one is back.

One story, in the order of its tests.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from skerry.host.health.evidence import HUNG
from skerry_lab import updates
from skerry_lab.repository import BEFORE
from update_story import GOLDEN, failed_units, host, settled, sh, until

if TYPE_CHECKING:
    from skerry_lab.qemu import QemuNode
    from skerry_lab.repository import LabReleases

SETTINGS = "/etc/skerry/update.toml.d/99-tests.toml"
TIMER = "skerry-update.timer"
SOON = "[Timer]\nOnBootSec=\nOnUnitInactiveSec=\nRandomizedDelaySec=0\nOnActiveSec=1s\nOnUnitInactiveSec=5s\n"
AT_MOST_S = 25 * 60  # ten minutes after the boot, spread over fifteen
# systemd itself stops, as with SIGSTOP, which the first process cannot be sent; once it has a watchdog.
HANG = """[Unit]
ConditionKernelCommandLine=skerry.image=skerry_{version}
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'until grep -qx active /sys/class/watchdog/watchdog0/state; do sleep 1; done; \
    echo the lab hangs >/dev/console; echo 1 >/sys/fs/cgroup/init.scope/cgroup.freeze'
"""


@pytest.fixture(scope="module")
def alone(updated: QemuNode) -> QemuNode:
    updated.restore(GOLDEN)
    return updated


def clock(machine: QemuNode) -> datetime:
    """The machine's own, which stood still since the snapshot was made."""
    return datetime.fromtimestamp(int(sh(machine, "date +%s")), UTC)


def window(begins: datetime) -> str:
    return (
        f'strategy = "window"\ntries = 1\n[window]\nstart = "{begins:%H:%M}"\nlength = "1h"\nzone = "UTC"\n'
    )


def test_the_timer_is_set_on_every_host(alone: QemuNode) -> None:
    (timer,) = json.loads(sh(alone, f"systemctl list-timers --output=json {TIMER}"))
    assert timer["activates"] == "skerry-update.service"
    assert 0 < timer["next"] / 1e6 - int(sh(alone, "date +%s")) <= AT_MOST_S


def test_it_brings_a_version_and_waits_for_the_window(alone: QemuNode, releases: LabReleases) -> None:
    alone.put(SETTINGS, window(clock(alone) + timedelta(hours=12)))
    alone.put(f"/etc/systemd/system/{TIMER}.d/99-tests.conf", SOON)
    sh(alone, f"systemctl daemon-reload; systemctl restart {TIMER}")
    now = settled(alone, "waiting")
    assert (now.target, now.slot("B").version) == (releases.after.version, releases.after.version)
    assert "window" in now.reason
    assert sh(alone, "systemctl show --value --property=TriggeredBy skerry-update.service") == TIMER
    assert "skerry-update-window.timer" in sh(alone, "systemctl list-timers --no-legend")


def test_in_the_window_it_boots_and_a_hang_meets_the_watchdog(alone: QemuNode, releases: LabReleases) -> None:
    version = releases.after.version
    alone.put("/etc/systemd/system/lab-hang.service", HANG.format(version=version))
    sh(alone, "ln -s ../lab-hang.service /etc/systemd/system/multi-user.target.wants/; echo mine > /etc/own")
    before = alone.boot_id()
    alone.put(SETTINGS, window(clock(alone) - timedelta(minutes=5)))
    alone.ssh.forget()
    until(lambda: "the lab hangs" in alone.console())
    updates.wait_for(alone, BEFORE, after=before)
    now = settled(alone, "rolled-back")
    assert now.slot("A").running
    assert (now.reason, now.refused[version].reason) == (HUNG, HUNG)
    assert HUNG in host(alone, "status").text
    assert sh(alone, "cat /etc/own; findmnt -n -o FSROOT /etc").split()[0] == "mine"
    assert failed_units(alone) == ""


def test_and_it_is_not_brought_again(alone: QemuNode) -> None:
    said = "journalctl --boot --unit skerry-update.service --output cat"
    until(lambda: "failed on this host" in sh(alone, said))
    assert updates.seen(alone).step == "rolled-back"
