"""A 64-bit little-endian ELF file that has nothing but the names of the libraries it needs."""

from __future__ import annotations

import struct

BASE = (
    0x400000  # where its one segment is loaded; not its offset in the file, so that a reader must translate
)


def elf(*needs: str) -> bytes:
    strings, offsets = b"\0", []
    for name in needs:
        offsets.append(len(strings))
        strings += name.encode() + b"\0"
    headers = 64 + 2 * 56
    entries = [(1, offset) for offset in offsets] + [(5, BASE + headers), (0, 0)]
    dynamic = b"".join(struct.pack("<qQ", *entry) for entry in entries)
    at = headers + len(strings)
    size = at + len(dynamic)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0
    )
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, size, size, 4096)
    points = struct.pack("<IIQQQQQQ", 2, 6, at, BASE + at, BASE + at, len(dynamic), len(dynamic), 8)
    return header + load + points + strings + dynamic
