"""A disk image with a GPT as image.compose.disk lays it out: made here, by the specification alone."""

from __future__ import annotations

import struct
import uuid
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SECTOR = 512
FIRST = 2048


def make_disk(path: Path, labels: tuple[str, ...], *, each: int = 64, first_usable: int = FIRST) -> Path:
    """Partitions of `each` sectors with these labels; the image has holes."""
    sectors = FIRST + each * len(labels) + 2048
    entries = b""
    for number, label in enumerate(labels):
        start = FIRST + number * each
        entries += (
            uuid.UUID(int=1).bytes_le
            + uuid.UUID(int=100 + number).bytes_le
            + struct.pack("<QQQ", start, start + each - 1, 0)
            + label.encode("utf-16-le").ljust(72, b"\0")
        )
    entries = entries.ljust(128 * 128, b"\0")
    last = sectors - 1
    with path.open("wb") as file:
        file.truncate(sectors * SECTOR)
        for own, other, place in ((1, last, 2), (last, 1, last - 32)):
            head = struct.pack(
                "<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, own, other, first_usable, last - 33,
                uuid.UUID(int=7).bytes_le, place, 128, 128, zlib.crc32(entries),
            )  # fmt: skip
            head = head[:16] + struct.pack("<I", zlib.crc32(head)) + head[20:]
            file.seek(place * SECTOR)
            file.write(entries)
            file.seek(own * SECTOR)
            file.write(head)
    return path
