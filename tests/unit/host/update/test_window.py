"""Windows of a week, with the clocks that people turn."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.host.update import window as windows
from skerry.host.update.window import Window, WindowError

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia")


def at(text: str, zone: str = "Europe/Berlin", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def window(
    days: str = "sat", start: str = "02:00", length: str = "2h", zone: str = "Europe/Berlin"
) -> Window:
    return Window(
        windows.parse_days(days.split()),
        windows.parse_start(start),
        windows.parse_length(length),
        ZoneInfo(zone),
    )


TABLE = [
    (window(), "2026-11-21 01:59", False),
    (window(), "2026-11-21 02:00", True),
    (window(), "2026-11-21 03:59", True),
    (window(), "2026-11-21 04:00", False),
    (window(), "2026-11-22 02:30", False),
    (window("fri", "23:00", "3h"), "2026-11-21 01:30", True),  # over midnight
    (window("daily", "00:00", "24h"), "2026-11-21 13:00", True),
    (window("sun", "02:30"), "2026-03-29 03:15", True),  # 02:30 is not there: it begins at 03:00
    (window("sun", "02:30"), "2026-03-29 01:59", False),
    (window("sun", "02:30"), "2026-03-29 05:01", False),
]


@pytest.mark.parametrize(("open_", "when", "then"), TABLE)
def test_is_open(open_: Window, when: str, then: bool) -> None:
    assert open_.is_open(at(when)) is then


def test_an_hour_that_comes_twice_opens_once() -> None:
    one = window("sun", "02:30", "30m")
    assert one.is_open(at("2026-10-25 02:45"))
    assert not one.is_open(at("2026-10-25 02:45", fold=1))


def test_the_next_opening() -> None:
    assert window().next_opening(at("2026-11-18 12:00")) == at("2026-11-21 02:00")
    assert window().next_opening(at("2026-11-21 03:00")) == at("2026-11-21 03:00")
    assert window().next_opening(at("2026-11-21 04:00")) == at("2026-11-28 02:00")
    assert window("sun", "02:30").next_opening(at("2026-03-29 00:00")) == at("2026-03-29 03:00")


anything = st.builds(
    Window,
    st.frozensets(st.integers(0, 6), min_size=1),
    st.builds(time, st.integers(0, 23), st.integers(0, 59)),
    st.integers(15, 1440).map(lambda minutes: minutes * 60),
    st.sampled_from([ZoneInfo(zone) for zone in ZONES]),
)
moments = st.integers(int(at("2025-01-01 00:00")), int(at("2028-01-01 00:00")))


@settings(max_examples=300, deadline=None)
@given(anything, moments)
def test_a_window_comes_within_nine_days_and_is_open_then(open_: Window, now: int) -> None:
    opening = open_.next_opening(now)
    assert now <= opening <= now + 9 * 86400
    assert open_.is_open(opening)


@settings(max_examples=300, deadline=None)
@given(anything, moments)
def test_each_opening_is_on_its_day_and_lasts_its_length(open_: Window, now: int) -> None:
    begun = open_.opening(open_.next_opening(now))
    assert begun is not None
    assert open_.is_open(begun + open_.length_s - 1)
    wall = datetime.fromtimestamp(begun, open_.zone)
    wanted = datetime.combine(wall.date(), open_.start, open_.zone)
    if wanted.astimezone(UTC).astimezone(open_.zone).replace(tzinfo=None) == wanted.replace(tzinfo=None):
        assert wall.weekday() in open_.days
        assert (wall.hour, wall.minute) == (open_.start.hour, open_.start.minute)
    else:
        assert timedelta(0) <= wall.replace(tzinfo=None) - wanted.replace(tzinfo=None) <= timedelta(hours=2)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (windows.parse_days, ["someday"]),
        (windows.parse_days, []),
        (windows.parse_start, "25:00"),
        (windows.parse_start, "2"),
        (windows.parse_length, "2"),
        (windows.parse_length, ""),
        (windows.parse_length, "5m"),
        (windows.parse_length, "25h"),
        (windows.parse_zone, "Mars/Olympus"),
        (windows.parse_zone, "../../etc/passwd"),
    ],
)
def test_what_cannot_be_is_refused_with_an_example(parse: object, text: object) -> None:
    with pytest.raises(WindowError) as refused:
        parse(text)  # type: ignore[operator]
    assert refused.value.hint


@pytest.mark.parametrize(("text", "seconds"), [("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("15min", 900)])
def test_lengths(text: str, seconds: int) -> None:
    assert windows.parse_length(text) == seconds
