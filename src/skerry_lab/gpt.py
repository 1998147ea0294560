"""The partition table of a disk image, read and changed without a kernel: UEFI specification 2.10, 5.3.

    sector 0     protective MBR
    sector 1     header: "EFI PART", revision, header size, CRC of the header, …, where the other header is,
                 where the entries are, their number and size, CRC of the entries
    sector 2…    entries of 128 bytes: type, identifier, first and last sector, attributes, name in UTF-16
    the end      the same entries and header once more

A header is good if both of its CRCs are; the one in front is believed before the one behind, as firmware
and kernel do. Only names are ever written here, the copy behind first: one good table is always there.
"""

from __future__ import annotations

import os
import struct
import uuid
import zlib
from dataclasses import dataclass

from skerry_lab.errors import LabError

SECTOR_BYTES = 512
HEADER = struct.Struct("<8s4sIIIQQQQ16sQIII")
ENTRY_BYTES = 128
NAME_AT = 56
NAME_BYTES = 72


@dataclass(frozen=True, slots=True)
class Partition:
    """`start` and `size` in bytes; `number` counts from 1."""

    number: int
    kind: uuid.UUID
    identifier: uuid.UUID
    start: int
    size: int
    name: str


@dataclass(frozen=True, slots=True)
class Table:
    """`where`: "front" or "behind", the copy that was read."""

    where: str
    partitions: tuple[Partition, ...]

    def named(self, name: str) -> Partition | None:
        return next((part for part in self.partitions if part.name == name), None)


def read(disk: int) -> Table:
    """The table of an open disk. Raises LabError where neither copy is good."""
    for where, sector in _places(disk):
        entries = _entries(disk, sector)
        if entries is not None:
            return Table(where, tuple(_partitions(entries)))
    raise LabError("neither of the disk's partition tables is whole")


def rename(disk: int, names: dict[int, str]) -> None:
    """Give partitions, by number, new names in both copies, so that both are good in the end."""
    good = next((e for _, sector in _places(disk) if (e := _entries(disk, sector)) is not None), None)
    if good is None:
        raise LabError("neither of the disk's partition tables is whole")
    entries = bytearray(good)
    for number, name in names.items():
        at = (number - 1) * ENTRY_BYTES + NAME_AT
        entries[at : at + NAME_BYTES] = name.encode("utf-16-le").ljust(NAME_BYTES, b"\0")[:NAME_BYTES]
    last = os.lseek(disk, 0, os.SEEK_END) // SECTOR_BYTES - 1
    for own, other, table in (
        (last, 1, last - len(entries) // SECTOR_BYTES),
        (1, last, 2),
    ):
        os.pwrite(disk, entries, table * SECTOR_BYTES)
        os.pwrite(disk, _header(disk, own, other, table, bytes(entries)), own * SECTOR_BYTES)
        os.fdatasync(disk)


def _places(disk: int) -> tuple[tuple[str, int], tuple[str, int]]:
    return ("front", 1), ("behind", os.lseek(disk, 0, os.SEEK_END) // SECTOR_BYTES - 1)


def _entries(disk: int, sector: int) -> bytes | None:
    """The entries that the header at a sector vouches for; None where it does not."""
    block = os.pread(disk, SECTOR_BYTES, sector * SECTOR_BYTES)
    if len(block) < SECTOR_BYTES:
        return None
    fields = HEADER.unpack_from(block)
    signature, _, size, crc = fields[:4]
    own, table, count, entry_bytes, table_crc = fields[5], *fields[10:14]
    if signature != b"EFI PART" or not HEADER.size <= size <= SECTOR_BYTES or own != sector:
        return None
    if zlib.crc32(block[:16] + bytes(4) + block[20:size]) != crc or entry_bytes != ENTRY_BYTES:
        return None
    entries = os.pread(disk, count * ENTRY_BYTES, table * SECTOR_BYTES)
    return entries if zlib.crc32(entries) == table_crc else None


def _header(disk: int, own: int, other: int, table: int, entries: bytes) -> bytes:
    """A header for these entries, what else it says taken from whichever header is good."""
    block = next(
        os.pread(disk, SECTOR_BYTES, sector * SECTOR_BYTES)
        for sector in (other, own)
        if os.pread(disk, 8, sector * SECTOR_BYTES) == b"EFI PART"
    )
    fields = list(HEADER.unpack_from(block))
    fields[3], fields[5], fields[6], fields[10] = 0, own, other, table
    fields[13] = zlib.crc32(entries)
    fields[3] = zlib.crc32(HEADER.pack(*fields))
    return HEADER.pack(*fields).ljust(SECTOR_BYTES, b"\0")


def _partitions(entries: bytes) -> list[Partition]:
    found = []
    for at in range(0, len(entries), ENTRY_BYTES):
        entry = entries[at : at + ENTRY_BYTES]
        kind = uuid.UUID(bytes_le=entry[:16])
        if not kind.int:
            continue
        first, last = struct.unpack_from("<QQ", entry, 32)
        name = entry[NAME_AT : NAME_AT + NAME_BYTES].decode("utf-16-le", "replace").partition("\0")[0]
        found.append(
            Partition(
                at // ENTRY_BYTES + 1,
                kind,
                uuid.UUID(bytes_le=entry[16:32]),
                first * SECTOR_BYTES,
                (last - first + 1) * SECTOR_BYTES,
                name,
            )
        )
    return found
