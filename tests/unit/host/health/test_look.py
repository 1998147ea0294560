"""What is kept when an update is staged, and what the next version is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakes.health_machine import FakeMachine, block
from skerry.host.health.boot import read_boot
from skerry.host.health.check import Status
from skerry.host.health.decide import Decision, Trial
from skerry.host.health.look import Recorder, look
from skerry.host.health.network import NetworkLook
from skerry.host.health.record import Occasion, Records
from skerry.host.health.settings import HealthSettings

if TYPE_CHECKING:
    from pathlib import Path

    from skerry.host.health.decide import Verdict
    from skerry.host.health.record import Before

QUICK = HealthSettings(deadline_s=0, script_timeout_s=20)


def staged(tmp_path: Path) -> tuple[FakeMachine, Before]:
    """A machine of version 1 that was looked at, then booted as version 2."""
    fake = FakeMachine(tmp_path)
    fake.boots("1")
    fake.units["web.service"] = block("web.service")
    fake.units["old.service"] = block("old.service", "failed", "failed")
    fake.script("required.d/db", "exit 1")
    fake.script("required.d/web", "exit 0")
    Recorder(fake.machine()).before()
    known = Records(fake.machine().directory).before()
    assert known is not None
    fake.boots("2")
    return fake, known


def verdict(fake: FakeMachine, known: Before | None, occasion: Occasion = Occasion.TRIAL) -> Verdict:
    return look(fake.machine(), read_boot(fake.root), occasion, Trial.WITH_FALLBACK, QUICK, known)[1]


def test_all_that_can_be_compared_is_kept(tmp_path: Path) -> None:
    _, known = staged(tmp_path)
    assert known.version == "1"
    assert known.results["required.d/db"] is Status.FAILED
    assert known.results["required.d/web"] is Status.OK
    assert {name: unit.active for name, unit in known.units.items()} == {
        "old.service": "failed",
        "web.service": "active",
    }
    assert known.network == NetworkLook(("IPv4",), {"52:54:00:00:00:01": ("IPv4",)})


def test_the_same_machine_under_a_new_version_is_kept(tmp_path: Path) -> None:
    fake, known = staged(tmp_path)
    assert verdict(fake, known).decision is Decision.TOLERATED


def test_that_one_unit_was_broken_forgives_no_other(tmp_path: Path) -> None:
    fake, known = staged(tmp_path)
    fake.units["web.service"] = block("web.service", "failed", "failed")
    found = verdict(fake, known)
    assert (found.decision, found.failed) == (Decision.FALL_BACK, ("units",))


def test_a_check_of_ones_own_that_was_well_must_be_well(tmp_path: Path) -> None:
    fake, known = staged(tmp_path)
    fake.script("required.d/web", "exit 1")
    assert verdict(fake, known).failed == ("required.d/web",)


def test_a_machine_is_not_compared_with_itself_under_the_same_version(tmp_path: Path) -> None:
    """As when it went back: what was kept then is of this very version, and older than its last boots."""
    fake, known = staged(tmp_path)
    fake.boots("1")
    del fake.units["web.service"]
    assert "units" not in verdict(fake, known).failed


def test_an_ordinary_boot_is_compared_with_nothing(tmp_path: Path) -> None:
    fake, known = staged(tmp_path)
    del fake.units["web.service"]
    assert "units" not in verdict(fake, known, Occasion.BOOT).failed


def test_settings_that_are_wrong_are_said_and_force_nothing(tmp_path: Path) -> None:
    fake, known = staged(tmp_path)
    wrong = HealthSettings(deadline_s=0, script_timeout_s=20, problem="line 3 is wrong")
    record, found = look(
        fake.machine(), read_boot(fake.root), Occasion.TRIAL, Trial.WITH_FALLBACK, wrong, known
    )
    assert found.decision is Decision.TOLERATED
    assert record.results[-1].said == "line 3 is wrong"
