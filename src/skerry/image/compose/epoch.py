"""The times that files of an image carry: fixed, so that the same input gives the same bytes.

A product's files have one time for ever: the same file in two versions is the same to the last byte of its
inode, and the update of an image where little changed is little. What shall tell an image's age (the clock's
floor, files on the ESP) has the time of its version.
"""

from __future__ import annotations

from datetime import UTC, datetime

PRODUCT = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())


def of(version: str) -> int:
    """Seconds since 1970 for a version `YYYY.M.N`: midnight at the start of its month, UTC."""
    year, month, _ = version.split(".")
    return int(datetime(int(year), int(month), 1, tzinfo=UTC).timestamp())
