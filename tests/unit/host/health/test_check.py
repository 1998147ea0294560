"""How a set of checks is looked at until the machine has settled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakes.health_machine import FakeTimes
from skerry.host.health.check import Check, Status, Weight, failed, ok, settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from skerry.host.health.check import Outcome


def well_after(times: FakeTimes, seconds: float, looks: list[float]) -> Callable[[], Outcome]:
    def look() -> Outcome:
        looks.append(times.monotonic())
        return ok("runs") if times.monotonic() >= seconds else failed("is starting")

    return look


def test_a_unit_that_takes_its_time_is_waited_for() -> None:
    times, slow, quick = FakeTimes(), [], []
    checks = [
        Check("slow", Weight.REQUIRED, well_after(times, 9, slow)),
        Check("quick", Weight.BASIC, well_after(times, 0, quick)),
    ]
    results = settle(checks, times, deadline_s=60, pause_s=2)
    assert [(found.name, found.status) for found in results] == [("slow", Status.OK), ("quick", Status.OK)]
    assert (len(slow), quick) == (6, [0.0])


def test_the_wait_ends_at_the_deadline() -> None:
    times = FakeTimes()
    (result,) = settle([Check("never", Weight.REQUIRED, lambda: failed("no"))], times, deadline_s=30)
    assert result.failed
    assert times.monotonic() <= 30


def test_without_a_deadline_each_is_looked_at_once() -> None:
    times, looks = FakeTimes(), []
    settle([Check("one", Weight.REQUIRED, well_after(times, 9, looks))], times)
    assert looks == [0.0]


def test_nobody_waits_for_what_is_wanted_final_or_forgiven() -> None:
    times = FakeTimes()
    checks = [
        Check("wanted", Weight.WANTED, lambda: failed("no")),
        Check("hung", Weight.REQUIRED, lambda: failed("hung", final=True)),
        Check("broken before", Weight.REQUIRED, lambda: failed("no")),
    ]
    settle(checks, times, deadline_s=60, patience=lambda name: name != "broken before")
    assert times.monotonic() == 0


def test_a_check_that_breaks_has_failed() -> None:
    (result,) = settle([Check("odd", Weight.BASIC, lambda: ok(str(1 // 0)))], FakeTimes())
    assert result.failed
    assert "ZeroDivisionError" in result.said
