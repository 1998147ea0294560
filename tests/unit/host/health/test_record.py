"""What is kept of health, its settings, and the probation."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.host.health.check import Result, Status, Weight
from skerry.host.health.decide import Decision
from skerry.host.health.errors import HealthRecordError, HealthSettingsError
from skerry.host.health.network import NetworkLook
from skerry.host.health.probation import begin, count, why_back
from skerry.host.health.record import KEPT_BOOTS, Before, Occasion, Record, Records, Tally
from skerry.host.health.settings import HealthSettings, check_settings, read_settings
from skerry.host.health.units import UnitLook

if TYPE_CHECKING:
    from pathlib import Path

BEFORE = Before(
    "1", 5.0, {"skerryd": Status.OK}, {"a.service": UnitLook("active", by_boot=True)}, NetworkLook(("IPv4",))
)


def record(boot: str) -> Record:
    result = Result("disk", Weight.BASIC, Status.OK, "written and read back", 0.1)
    return Record(boot, "2", Occasion.TRIAL, 9.0, 1.5, Decision.GOOD, "", (result,))


def test_what_is_kept_is_read_back(tmp_path: Path) -> None:
    records = Records(tmp_path / "health")
    for value in (BEFORE, record("b1"), Tally("2", ("disk",), {"disk": 1})):
        records.keep(value)
    assert records.before() == BEFORE
    assert records.of_boot("b1") == records.latest() == record("b1")
    assert records.tally() == Tally("2", ("disk",), {"disk": 1})


def test_where_nothing_was_kept(tmp_path: Path) -> None:
    records = Records(tmp_path / "health")
    assert (records.before(), records.of_boot("x"), records.latest(), records.tally()) == (None,) * 4


def test_old_boots_go_and_the_newest_is_the_latest(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.keep(BEFORE)
    for number in range(KEPT_BOOTS + 5):
        records.keep(record(f"b{number}"))
        os.utime(tmp_path / f"b{number}.json", (number, number))
    kept = sorted(path.name for path in tmp_path.glob("b*.json"))
    assert len(kept) == KEPT_BOOTS + 1
    latest = records.latest()
    assert latest is not None
    assert latest.boot_id == f"b{KEPT_BOOTS + 4}"
    assert records.before() == BEFORE


def test_damage_is_said_for_a_boot_and_counts_as_nothing_for_the_rest(tmp_path: Path) -> None:
    for name in ("before.json", "probation.json", "b1.json"):
        (tmp_path / name).write_text('{"format": 1, "vers')
    records = Records(tmp_path)
    assert (records.before(), records.tally(), records.latest()) == (None, None, None)
    with pytest.raises(HealthRecordError, match="damaged"):
        records.of_boot("b1")


def test_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "b1.json").write_text('{"format": 2, "news": true}')
    with pytest.raises(HealthRecordError, match="format 2"):
        Records(tmp_path).of_boot("b1")


def test_settings(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == HealthSettings()
    (tmp_path / "health.toml").write_text('deadline = "10min"\nfailures = 5\n')
    (tmp_path / "health.toml.d").mkdir()
    (tmp_path / "health.toml.d/50-mine.toml").write_text(
        'probation = "2h"\nscript_timeout = "90s"\nfailures = 2\n'
    )
    assert read_settings(tmp_path) == HealthSettings(600, 90, 7200, 2)


def test_settings_that_are_wrong_are_shown_where_they_stand(tmp_path: Path) -> None:
    text = '\nprobation = "a while"\ndeadline = "3h"\nfailures = 0\nfailure = 3\n'
    (tmp_path / "health.toml").write_text(text)
    with pytest.raises(HealthSettingsError) as caught:
        check_settings(tmp_path)
    assert [problem.line for problem in caught.value.problems] == [2, 3, 4, 5]
    assert read_settings(tmp_path) == HealthSettings(problem=caught.value.message)


def result(name: str, status: Status, weight: Weight = Weight.REQUIRED) -> Result:
    return Result(name, weight, status, "is broken" if status is Status.FAILED else "", 0.1)


def test_a_check_that_keeps_failing_after_the_bless_decides() -> None:
    tally = begin("2", [result("web", Status.OK)])
    looks = [Status.FAILED, Status.FAILED, Status.OK, Status.FAILED, Status.FAILED, Status.FAILED]
    decided = []
    for status in looks:
        found = [result("web", status)]
        tally = count(tally, found)
        decided.append(why_back(tally, found, limit=3))
    assert decided == [None] * 5 + ["web: is broken (3 times in a row)"]


STATUSES = st.sampled_from(Status)


@given(STATUSES, st.sampled_from(Weight), st.lists(STATUSES, max_size=12), st.integers(1, 4))
def test_only_what_was_well_and_keeps_failing_decides(
    at_bless: Status, weight: Weight, looks: list[Status], limit: int
) -> None:
    tally = begin("2", [result("it", at_bless, weight)])
    reason = None
    for status in looks:
        found = [result("it", status, weight)]
        tally = count(tally, found)
        reason = why_back(tally, found, limit=limit)
    counted = [status for status in looks if status is not Status.SKIPPED]
    worn = looks[-1:] == [Status.FAILED] and counted[-limit:] == [Status.FAILED] * limit
    assert (reason is not None) == (worn and at_bless is not Status.FAILED and weight is not Weight.WANTED)
