"""A machine whose clock is far off boots, says what is wrong, and is not updated until that is mended."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from skerry_lab import updates
from skerry_lab.repository import BEFORE
from update_story import GOLDEN, failed_units, host, sh

if TYPE_CHECKING:
    from skerry_lab.qemu import QemuNode

BOOT_TIMEOUT_S = 300
FOREVER_1970 = datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)
# The seconds since 1970 outgrow 31 bits while it boots.
ALMOST_2038 = datetime(2038, 1, 19, 3, 13, 50, tzinfo=UTC)
OVERFLOW = 1 << 31


def woken(node: QemuNode, clock: datetime) -> QemuNode:
    """The machine after a power cut, from nothing, with that time in its battery's clock."""
    node.restore(GOLDEN)
    node.kill_power()
    node.start(clock=clock)
    assert node.wait_ready(timeout_s=BOOT_TIMEOUT_S) == "running"
    assert updates.version(node) == BEFORE
    return node


def is_refused(node: QemuNode, *reasons: str) -> None:
    """Nothing is staged, and command, status and timer say why."""
    refused = host(node, "upgrade", "--stage")
    assert refused.status == 1
    node.try_run(["systemctl", "start", "skerry-update.service"])
    told = sh(node, "journalctl --boot --unit skerry-update.service --output cat")
    shown = host(node, "status").text
    for reason in (*reasons, "timedatectl"):
        assert reason in refused.error_text
        assert reason in told
    assert reasons[0] in shown
    assert "Traceback" not in refused.error_text + told
    assert updates.seen(node).slot("B").version is None


def is_well(node: QemuNode) -> None:
    assert failed_units(node) == ""
    assert host(node, "health", "--now").status == 0


def mend(node: QemuNode) -> None:
    """What a person does; then nothing is left of it."""
    sh(node, f"timedatectl set-ntp false; timedatectl set-time '{datetime.now(UTC):%Y-%m-%d %H:%M:%S}'")
    plan = host(node, "upgrade", "--plan", "--json")
    assert plan.status == 0, plan.error_text


def test_in_1970_it_takes_the_time_of_its_image_and_no_update(updated: QemuNode) -> None:
    node = woken(updated, FOREVER_1970)
    made = int(sh(node, "stat -c %Y /usr/lib/clock-epoch"))
    assert made <= int(sh(node, "date +%s")) < made + 3600
    assert "/usr/lib/clock-epoch" in sh(node, "journalctl --boot --grep 'System time was' --output cat")
    is_well(node)
    is_refused(node, "the clock says 2026-10-01", "was signed on")
    mend(node)


def test_in_2038_it_runs_and_suspects_its_clock_of_what_expired(updated: QemuNode) -> None:
    node = woken(updated, ALMOST_2038)
    assert int(sh(node, "date +%s; skerry --version > /dev/null")) >= OVERFLOW - 1
    is_well(node)
    assert int(sh(node, "date +%s")) > OVERFLOW
    is_refused(node, "this machine's clock says 2038-01-19", "expired on")
    mend(node)
