"""A reader of FAT32 file systems inside a disk image: what firmware would find on the ESP after a power cut.

As much of Microsoft's specification (fatgen103) as files and folders with long names need. Believes nothing:
a chain that is broken or goes in a circle, or a file whose chain is shorter than its size, is a FatError.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator

SECTOR_BYTES = 512
ENTRY_BYTES = 32
LAST_CLUSTER = 0x0FFFFFF8
DIRECTORY, VOLUME, LONG_NAME = 0x10, 0x08, 0x0F
DELETED = 0xE5


class FatError(LabError):
    """The file system is not whole."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a folder."""

    name: str
    directory: bool
    cluster: int
    size: int


class Fat:
    """An open file system at `start` of a disk."""

    def __init__(self, disk: int, start: int) -> None:
        self._disk = disk
        boot = os.pread(disk, SECTOR_BYTES, start)
        if len(boot) < SECTOR_BYTES or boot[510:512] != b"\x55\xaa":
            raise FatError("the ESP has no boot sector")
        sector, per_cluster, reserved, copies = struct.unpack_from("<HBHB", boot, 11)
        (fat_sectors,) = struct.unpack_from("<I", boot, 36)
        (self._root,) = struct.unpack_from("<I", boot, 44)
        if sector != SECTOR_BYTES or not per_cluster or not copies or not fat_sectors:
            raise FatError("the ESP's boot sector makes no sense")
        self.cluster_bytes = per_cluster * SECTOR_BYTES
        fat_at = start + reserved * SECTOR_BYTES
        self._data_at = fat_at + copies * fat_sectors * SECTOR_BYTES
        table = os.pread(disk, fat_sectors * SECTOR_BYTES, fat_at)
        self._next = memoryview(table).cast("I")

    def list(self, path: str = "") -> dict[str, Entry]:
        """A folder's entries by name in lower case; of a name that stands twice the first."""
        at = self._root
        for part in path.split("/"):
            if part:
                found = self._folder(at).get(part.lower())
                if found is None or not found.directory:
                    raise FatError(f"the ESP has no folder {path}")
                at = found.cluster
        return self._folder(at)

    def read(self, entry: Entry) -> Iterator[bytes]:
        """A file's content, by pieces that lie together. Raises FatError where it is not whole."""
        left = entry.size
        for first, count in self._runs(entry.cluster, -(-left // self.cluster_bytes)):
            length = min(left, count * self.cluster_bytes)
            yield os.pread(self._disk, length, self._at(first))
            left -= length
        if left:
            raise FatError(f"{entry.name} should have {entry.size} bytes and its chain lacks {left}")

    def place(self, entry: Entry) -> int:
        """Where on the disk a file begins, in bytes."""
        return self._at(entry.cluster)

    def _at(self, cluster: int) -> int:
        place: int = self._data_at + (cluster - 2) * self.cluster_bytes
        return place

    def _folder(self, cluster: int) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        for entry in self._entries(cluster):
            found.setdefault(entry.name.lower(), entry)
        return found

    def _entries(self, cluster: int) -> Iterator[Entry]:
        data = b"".join(
            os.pread(self._disk, count * self.cluster_bytes, self._at(first))
            for first, count in self._runs(cluster, len(self._next))
        )
        long: dict[int, str] = {}
        for at in range(0, len(data), ENTRY_BYTES):
            raw = data[at : at + ENTRY_BYTES]
            if raw[0] == 0:
                return
            if raw[0] == DELETED:
                long = {}
            elif raw[11] == LONG_NAME:
                text = (raw[1:11] + raw[14:26] + raw[28:32]).decode("utf-16-le", "replace")
                long[raw[0] & 0x3F] = text.partition("\0")[0]
            else:
                if not raw[11] & VOLUME and raw[:2] != b". " and raw[:2] != b"..":
                    yield self._entry(raw, "".join(text for _, text in sorted(long.items())))
                long = {}

    def _entry(self, raw: bytes, long: str) -> Entry:
        stem = raw[:8].decode("cp437").rstrip()
        suffix = raw[8:11].decode("cp437").rstrip()
        short = (f"{stem}.{suffix}" if suffix else stem).lower()
        high, low = struct.unpack_from("<H", raw, 20)[0], struct.unpack_from("<H", raw, 26)[0]
        (size,) = struct.unpack_from("<I", raw, 28)
        return Entry(long or short, bool(raw[11] & DIRECTORY), high << 16 | low, size)

    def _runs(self, cluster: int, most: int) -> Iterator[tuple[int, int]]:
        """The chain from a cluster on, neighbours put together, at most so many clusters in all."""
        first = cluster
        count = total = 0
        while 2 <= cluster < len(self._next) and total < most:
            if cluster != first + count:
                yield first, count
                first, count = cluster, 0
            count += 1
            total += 1
            cluster = self._next[cluster] & 0x0FFFFFFF
        if count:
            yield first, count
        if total < most and cluster < LAST_CLUSTER and total:
            raise FatError(f"a chain of clusters leads to {cluster}")
