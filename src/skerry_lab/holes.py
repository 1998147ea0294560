"""Files with holes, as disk images are: what they hold, copied and cleared without touching the holes."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

COPY_BYTES = 1 << 20
KEEP_SIZE, PUNCH_HOLE = 1, 2  # fallocate(2)


def clear(file: int, start: int, length: int) -> None:
    """Make a hole, which reads as zeros, in a file of that size or larger. Raises OSError."""
    if length:
        libc = ctypes.CDLL(None, use_errno=True)
        arguments = (file, KEEP_SIZE | PUNCH_HOLE, ctypes.c_long(start), ctypes.c_long(length))
        if libc.fallocate(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "fallocate")


def data(file: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The ranges between two places that are no holes, none longer than a copy should be."""
    while start < end:
        try:
            start = os.lseek(file, start, os.SEEK_DATA)
        except OSError:  # nothing but a hole from here on
            return
        until = min(os.lseek(file, start, os.SEEK_HOLE), end)
        while start < until:
            yield start, min(COPY_BYTES, until - start)
            start = min(start + COPY_BYTES, until)


def copy(source: int, target: int, start: int, end: int, *, to: int) -> None:
    """Put a range of one file at a place of another, which has holes there and is so large."""
    for at, length in data(source, start, end):
        os.pwrite(target, os.pread(source, length, at), to + at - start)
