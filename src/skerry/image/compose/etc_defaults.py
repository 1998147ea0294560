"""What a release says of an image besides its parts: its /etc as packages made it, and its disk's partitions.

    etc.tar.zst    the members of tree.tar below ./etc/, in its order, named from /etc on ("./passwd");
                   times, owners, modes and extended attributes as they are in the tree

The same image always gives the same bytes. Hosts read it to tell what an update would change in /etc.
"""

from __future__ import annotations

import os
import struct
import tarfile
from typing import TYPE_CHECKING

import zstandard

from skerry.image.compose.errors import ComposeError

if TYPE_CHECKING:
    from pathlib import Path

LEVEL = 19
SECTOR = 512
_HEADER = struct.Struct("<8s64xQII")  # signature, then at byte 72: first entry's LBA, count, size of each
_ENTRY = struct.Struct("<16x16xQQ8x72s")  # first and last LBA, name


def write_etc(tree: Path, target: Path) -> None:
    """Write `target`, the etc.tar.zst of an image whose `tree` is tree.tar. Raises ComposeError."""
    writer = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    with (
        tarfile.open(tree) as source,
        target.open("wb") as file,
        writer.stream_writer(file) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as result,
    ):
        members = [member for member in source.getmembers() if _inside(member.name)]
        if not members:
            raise ComposeError(f"{tree} has no /etc")
        for member in members:
            content = source.extractfile(member) if member.isreg() else None
            member.name = _inner(member.name)
            if member.islnk():
                member.linkname = _inner(member.linkname)
            result.addfile(member, content)


def partitions(disk: Path) -> dict[str, list[int]]:
    """The sizes in bytes of a disk's partitions, by name as in its GPT; in order where names are shared.

    UEFI 2.10, 5.3. Raises ComposeError where there is no GPT.
    """
    with disk.open("rb") as file:
        descriptor = file.fileno()
        signature, first, count, size = _HEADER.unpack(os.pread(descriptor, _HEADER.size, SECTOR))
        if signature != b"EFI PART" or size < _ENTRY.size or count > 1024:
            raise ComposeError(f"{disk} has no partition table")
        found: dict[str, list[int]] = {}
        for number in range(count):
            entry = os.pread(descriptor, _ENTRY.size, first * SECTOR + number * size)
            start, end, name = _ENTRY.unpack(entry)
            if end:
                found.setdefault(name.decode("utf-16-le").rstrip("\0"), []).append((end - start + 1) * SECTOR)
    return found


def _inside(name: str) -> bool:
    return name.removeprefix("./").startswith("etc/")


def _inner(name: str) -> str:
    return "./" + name.removeprefix("./").removeprefix("etc/")
