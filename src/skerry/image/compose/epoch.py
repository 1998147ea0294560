"""The one time that every file of an image carries: midnight at the start of its version's month, UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def of(version: str) -> int:
    """Seconds since 1970 for a version `YYYY.M.N`."""
    year, month, _ = version.split(".")
    return int(datetime(int(year), int(month), 1, tzinfo=UTC).timestamp())
