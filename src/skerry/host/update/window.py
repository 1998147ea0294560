"""When a machine may reboot: windows of a week, told by the clock on the wall. Pure.

A window begins at `start` local time on each of its days and lasts `length_s` real seconds. Where summer time
leaves that moment out it begins when the clock has jumped; where a moment comes twice it begins at the first.
So every window of every week is there once, and is as long as it says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_S = 86400
_LENGTH = re.compile(r"(?:(\d{1,3})h)?(?:(\d{1,4})m(?:in)?)?", re.ASCII)
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)


class WindowError(SkerryError):
    """A window cannot be."""


@dataclass(frozen=True, slots=True)
class Window:
    """`days` counts from 0, Monday; `length_s` is at most a day."""

    days: frozenset[int]
    start: time
    length_s: int
    zone: ZoneInfo

    def opening(self, now: float) -> float | None:
        """When the window that is open now began (seconds since 1970); None where none is."""
        return next((at for at in self._around(now, -2, 1) if at <= now < at + self.length_s), None)

    def is_open(self, now: float) -> bool:
        return self.opening(now) is not None

    def next_opening(self, now: float) -> float:
        """`now` inside a window, else when the next one begins."""
        return now if self.is_open(now) else next(at for at in self._around(now, -1, 9) if at > now)

    def _around(self, now: float, first: int, last: int) -> Iterator[float]:
        """Beginnings of the windows of the days around now, in order."""
        today = datetime.fromtimestamp(now, self.zone).date()
        for offset in range(first, last):
            day = today + timedelta(days=offset)
            if day.weekday() in self.days:
                yield _moment(datetime.combine(day, self.start, self.zone))


def _moment(wall: datetime) -> float:
    """Seconds since 1970 of a time on the wall, the first of two; after the jump where there is none."""
    at = wall.replace(fold=0)
    there = at.astimezone(UTC).astimezone(at.tzinfo)
    if there.replace(tzinfo=None) == at.replace(tzinfo=None):
        return at.timestamp()
    # In the gap: fold 0 counts with the offset before the jump, fold 1 with that after it; between the two
    # lies the jump, to the minute.
    low, high = sorted((at.timestamp(), wall.replace(fold=1).timestamp()))
    offset = at.replace(fold=0).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        before = datetime.fromtimestamp(middle, at.tzinfo).utcoffset() == offset
        low, high = (middle, high) if before else (low, middle)
    return high


def parse_days(names: list[str]) -> frozenset[int]:
    """["sat", "sun"], or ["daily"]. Raises WindowError."""
    if names == ["daily"]:
        return frozenset(range(7))
    unknown = [name for name in names if name not in DAYS]
    if unknown or not names:
        said = f"{unknown[0]!r} is not a day" if unknown else "a window needs a day"
        raise WindowError(said, hint=f"days are {', '.join(DAYS)}, or daily alone")
    return frozenset(DAYS.index(name) for name in names)


def parse_start(text: str) -> time:
    """ "02:00". Raises WindowError."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise WindowError(f"{text!r} is not a time of day", hint='as in "02:00"')
    return time(int(found[1]), int(found[2]))


def parse_length(text: str) -> int:
    """ "2h", "90m", "1h30m", in seconds: 15 minutes to a day. Raises WindowError."""
    found = _LENGTH.fullmatch(text)
    seconds = (int(found[1] or 0) * 3600 + int(found[2] or 0) * 60) if found and text else 0
    if not 900 <= seconds <= DAY_S:
        raise WindowError(f"{text!r} cannot be a window's length", hint="15m to 24h, as in 2h or 1h30m")
    return seconds


def parse_zone(name: str) -> ZoneInfo:
    """ "Europe/Berlin". Raises WindowError."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise WindowError(f"{name!r} is not a time zone", hint="as in Europe/Berlin, or UTC") from error
