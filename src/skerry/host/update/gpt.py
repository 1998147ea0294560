"""The labels of a GPT disk: read, and changed so that every power cut leaves a valid table, old or new.

    sector 1        header: signature, CRC of itself, where the entries are, CRC of the entries
    sectors 2-33    entries, 128 of 128 bytes      ┐ one of the two is the table in force,
    sectors 34-65   entries again                  ┘ the other is free (partitions begin at sector 2048)
    the end         backup entries, backup header
UEFI specification 2.10, 5.3. Refuses disks with other than 512-byte sectors or without the free room.

Why not in place: entries and header are two writes, and between them the header's CRC is wrong. Firmware
then turns to the backup, but Linux does not unless told `gpt` (block/partitions/efi.c, find_valid_gpt), and
the initrd would find no partition. So new entries go to the place that is not in force, then one sector, the
header, points there: one atomic write. It may do so: entries stand anywhere before the first usable sector.
The backup is written last, and so is stale or torn only while the primary is good. All labels of a call
change together.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.host.update.errors import DiskError

if TYPE_CHECKING:
    from collections.abc import Mapping

SECTOR = 512
ENTRIES, ENTRY = 128, 128
ARRAY = ENTRIES * ENTRY
PLACES = (2, 34)
LABEL_CHARACTERS = 36
_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_SIGNATURE = b"EFI PART"
_LABEL_AT, _LABEL_BYTES = 56, 72


@dataclass(frozen=True, slots=True)
class Partition:
    """`start` and `size` in bytes; `number` counts from 1."""

    number: int
    start: int
    size: int
    label: str


@dataclass(frozen=True, slots=True)
class _Table:
    header: bytes  # 92 bytes
    entries: bytes

    @property
    def fields(self) -> tuple[int, int, int]:
        """The sector of this header, of the other one, and of the entries."""
        values = _HEADER.unpack(self.header)
        return values[5], values[6], values[10]


def read(disk: int) -> tuple[Partition, ...]:
    """The partitions of an open disk or disk image. Raises DiskError where it has no valid table."""
    entries, found = _load(disk).entries, []
    for number in range(1, ENTRIES + 1):
        entry = entries[(number - 1) * ENTRY : number * ENTRY]
        if any(entry[:16]):
            first, last = struct.unpack_from("<QQ", entry, 32)
            label = entry[_LABEL_AT : _LABEL_AT + _LABEL_BYTES].decode("utf-16-le", "replace")
            size = (last - first + 1) * SECTOR
            found.append(Partition(number, first * SECTOR, size, label.partition("\0")[0]))
    return tuple(found)


def relabel(disk: int, labels: Mapping[int, str]) -> None:
    """Give partitions (by number) new labels, all at once, durable on return. Raises DiskError, OSError."""
    table = _load(disk)
    entries = bytearray(table.entries)
    for number, label in labels.items():
        at = (number - 1) * ENTRY
        if not any(entries[at : at + 16]):
            raise DiskError(f"the disk has no partition {number}")
        if len(label) > LABEL_CHARACTERS:
            raise DiskError(f"the label {label!r} is longer than {LABEL_CHARACTERS} characters")
        entries[at + _LABEL_AT : at + _LABEL_AT + _LABEL_BYTES] = label.encode("utf-16-le").ljust(
            _LABEL_BYTES, b"\0"
        )
    own, other, place = table.fields
    from_backup = own != 1
    if from_backup:
        own, other, place = 1, own, PLACES[1]  # the primary is torn: either place is free
    if bytes(entries) != table.entries or from_backup:
        target = PLACES[1] if place == PLACES[0] else PLACES[0]
        _put(disk, table.header, bytes(entries), own, other, target)
    # Also where nothing changed: a power cut may have left the backup behind.
    last_array = other - ARRAY // SECTOR
    if _at(disk, other) != _Table(
        _header(table.header, bytes(entries), other, own, last_array), bytes(entries)
    ):
        _put(disk, table.header, bytes(entries), other, own, last_array)


def _put(disk: int, like: bytes, entries: bytes, own: int, other: int, place: int) -> None:
    """Entries, then, when they are on the disk, the header that points to them."""
    _write(disk, place * SECTOR, entries)
    _write(disk, own * SECTOR, _header(like, entries, own, other, place).ljust(SECTOR, b"\0"))


def _write(disk: int, at: int, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += os.pwrite(disk, data[written:], at + written)
    os.fsync(disk)


def _load(disk: int) -> _Table:
    """The table in force: the primary, or the backup where that is torn."""
    primary = _at(disk, 1)
    if primary is not None:
        if _HEADER.unpack(primary.header)[7] < PLACES[1] + ARRAY // SECTOR:
            raise DiskError("the disk's partitions begin too early: a second table has no room before them")
        return primary
    backup = _at(disk, os.lseek(disk, 0, os.SEEK_END) // SECTOR - 1)
    if backup is None:
        raise DiskError("the disk has no valid GPT, neither at its beginning nor at its end")
    return backup


def _at(disk: int, sector: int) -> _Table | None:
    """The table whose header is in a sector; None where it is not valid."""
    header = os.pread(disk, SECTOR, sector * SECTOR)[: _HEADER.size]
    if len(header) < _HEADER.size or header[:8] != _SIGNATURE:
        return None
    _, _, size, crc, _, own, _, _, _, _, place, count, entry_size, entries_crc = _HEADER.unpack(header)
    if (size, own, count, entry_size) != (_HEADER.size, sector, ENTRIES, ENTRY):
        return None
    if zlib.crc32(header[:16] + bytes(4) + header[20:]) != crc:
        return None
    entries = os.pread(disk, ARRAY, place * SECTOR)
    return _Table(header, entries) if zlib.crc32(entries) == entries_crc else None


def _header(like: bytes, entries: bytes, own: int, other: int, place: int) -> bytes:
    """A header like another, for these entries, with its CRC."""
    values = list(_HEADER.unpack(like))
    values[3], values[5], values[6] = 0, own, other
    values[10], values[13] = place, zlib.crc32(entries)
    values[3] = zlib.crc32(_HEADER.pack(*values))
    return _HEADER.pack(*values)
