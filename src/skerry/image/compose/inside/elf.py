"""Which shared libraries a program names: the DT_NEEDED entries of an ELF file, and their closure.

Layout: https://refspecs.linuxfoundation.org/elf/gabi4+/ch5.dynamic.html. Reads 64-bit little-endian files
only; anything else names nothing.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_DYNAMIC = struct.Struct("<qQ")
_LOAD, _DYNAMIC_SEGMENT = 1, 2
_NEEDED, _STRTAB = 1, 5


def needed(data: bytes) -> tuple[str, ...]:
    """The names of the libraries that an ELF file asks for; () for a static one or another kind of file."""
    if data[:6] != b"\x7fELF\x02\x01":
        return ()
    header = _HEADER.unpack_from(data)
    at, size, count = header[5], header[9], header[10]
    segments = [_SEGMENT.unpack_from(data, at + index * size) for index in range(count)]
    dynamic = next((segment for segment in segments if segment[0] == _DYNAMIC_SEGMENT), None)
    if dynamic is None:
        return ()
    entries = [_DYNAMIC.unpack_from(data, dynamic[2] + at) for at in range(0, dynamic[5] - 15, 16)]
    strings = next((value for tag, value in entries if tag == _STRTAB), None)
    if strings is None:
        return ()
    for kind, _, offset, address, _, in_file, _, _ in segments:
        if kind == _LOAD and address <= strings < address + in_file:
            table = offset + strings - address
            break
    else:
        return ()
    names = (
        data[table + value : data.index(b"\0", table + value)] for tag, value in entries if tag == _NEEDED
    )
    return tuple(name.decode() for name in names)


def needs_of(path: Path) -> tuple[str, ...]:
    """The libraries that a file needs; none where it is no ELF file."""
    with path.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            return ()
        file.seek(0)
        return needed(file.read())


def closure(start: Iterable[str], needs: Callable[[str], Iterable[str]]) -> set[str]:
    """Everything reachable from `start` by `needs`, `start` included."""
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += needs(name)
    return found
