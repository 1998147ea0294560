"""What we read of a disk image without a kernel is what the real tools wrote there."""

from __future__ import annotations

import os
import shutil
import struct
from typing import TYPE_CHECKING

import pytest

from skerry.kit.run import run
from skerry_lab import gpt
from skerry_lab.errors import LabError
from skerry_lab.fat import Fat, FatError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20
SECTOR = 512


@pytest.fixture
def table(tmp_path: Path) -> Iterator[int]:
    """A disk whose partition table stands there as sfdisk writes it."""
    path = tmp_path / "disk"
    path.write_bytes(b"")
    os.truncate(path, 64 * MIB)
    entries = bytearray(128 * 128)
    for number, (name, start, end) in enumerate([("esp", 2048, 4095), ("skerry_2026.11.0", 4096, 8191)]):
        entries[number * 128 : number * 128 + 48] = struct.pack(
            "<16s16sQQ", bytes([number + 1] * 16), bytes([number + 17] * 16), start, end
        )
        entries[number * 128 + 56 : number * 128 + 128] = name.encode("utf-16-le").ljust(72, b"\0")
    last = 64 * MIB // SECTOR - 1
    descriptor = os.open(path, os.O_RDWR)
    for own, other, at in ((1, last, 2), (last, 1, last - 32)):
        head = [b"EFI PART", b"\0\0\1\0", 92, 0, 0, own, other, 34, last - 34, bytes(16), at, 128, 128, 0]
        head[13] = gpt.zlib.crc32(entries)
        head[3] = gpt.zlib.crc32(gpt.HEADER.pack(*head))
        os.pwrite(descriptor, gpt.HEADER.pack(*head), own * SECTOR)
        os.pwrite(descriptor, entries, at * SECTOR)
    yield descriptor
    os.close(descriptor)


def test_partitions_are_read(table: int) -> None:
    found = gpt.read(table)
    assert found.where == "front"
    assert [(p.number, p.name, p.start, p.size) for p in found.partitions] == [
        (1, "esp", MIB, MIB),
        (2, "skerry_2026.11.0", 2 * MIB, 2 * MIB),
    ]


@pytest.mark.parametrize("at", [SECTOR + 20, 2 * SECTOR + 60], ids=["header", "entries"])
def test_the_copy_behind_serves_where_the_front_is_torn(table: int, at: int) -> None:
    os.pwrite(table, b"\xff", at)
    found = gpt.read(table)
    assert found.where == "behind"
    assert found.named("esp") is not None


def test_no_good_copy_is_an_error(table: int) -> None:
    os.pwrite(table, bytes(34 * SECTOR), 0)
    os.pwrite(table, bytes(34 * SECTOR), 64 * MIB - 34 * SECTOR)
    with pytest.raises(LabError, match="neither"):
        gpt.read(table)


def test_renaming_writes_both_copies(table: int) -> None:
    gpt.rename(table, {2: "_empty"})
    assert [p.name for p in gpt.read(table).partitions] == ["esp", "_empty"]
    os.pwrite(table, b"\xff", SECTOR + 20)
    behind = gpt.read(table)
    assert behind.where == "behind"
    assert [p.name for p in behind.partitions] == ["esp", "_empty"]


@pytest.fixture
def volume(tmp_path: Path) -> tuple[Path, dict[str, bytes]]:
    """A FAT32 volume with files in folders, some of them in pieces, made by mtools."""
    for program in ("mkfs.fat", "mcopy"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    path = tmp_path / "esp"
    path.write_bytes(b"")
    os.truncate(path, 64 * MIB)
    run(["mkfs.fat", "-F", "32", str(path)])
    run(["mmd", "-i", str(path), "::/EFI", "::/EFI/Linux"])
    files = {f"skerry_2026.11.{n}+3-0.efi": f"{n} of six".encode() * (1 + n * 9_001) for n in range(6)}
    for round_ in range(2):  # every second file goes and comes back, larger than its gap
        for number, (name, data) in enumerate(files.items()):
            if round_ and number % 2:
                run(["mdel", "-i", str(path), f"::/EFI/Linux/{name}"])
                files[name] = data * 2
            if number % 2 or not round_:
                run(["mcopy", "-i", str(path), "-", f"::/EFI/Linux/{name}"], stdin=files[name])
    return path, files


def test_files_are_read_as_mtools_wrote_them(volume: tuple[Path, dict[str, bytes]]) -> None:
    path, files = volume
    descriptor = os.open(path, os.O_RDONLY)
    fat = Fat(descriptor, 0)
    folder = fat.list("efi/linux")
    assert {entry.name: b"".join(fat.read(entry)) for entry in folder.values()} == files
    os.close(descriptor)


def test_a_broken_chain_is_an_error(volume: tuple[Path, dict[str, bytes]]) -> None:
    path, _ = volume
    descriptor = os.open(path, os.O_RDWR)
    entry = max(Fat(descriptor, 0).list("EFI/Linux").values(), key=lambda entry: entry.size)
    (reserved,) = struct.unpack("<H", os.pread(descriptor, 2, 14))
    os.pwrite(descriptor, bytes(4), reserved * SECTOR + entry.cluster * 4)
    fat = Fat(descriptor, 0)
    with pytest.raises(FatError, match=r"lacks|leads to"):
        b"".join(fat.read(entry))
    os.close(descriptor)


def test_no_volume_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "esp").write_bytes(bytes(4096))
    descriptor = os.open(tmp_path / "esp", os.O_RDONLY)
    with pytest.raises(FatError, match="boot sector"):
        Fat(descriptor, 0)
    os.close(descriptor)
