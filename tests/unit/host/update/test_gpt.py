"""Labels of partitions: read, changed, and cut off at every sector."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from fakes.gpt import SECTOR, make_disk
from skerry.host.update import gpt
from skerry.host.update.errors import DiskError
from skerry_lab import gpt as peer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LABELS = ("esp", "skerry_1", "skerry_1_verity", "_empty", "_empty", "skerry_data")
NEW = {4: "skerry_2", 5: "skerry_2_verity"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(make_disk(tmp_path / "disk", LABELS), os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def labels(disk: int) -> tuple[str, ...]:
    return tuple(partition.label for partition in gpt.read(disk))


def test_reads_labels_and_places(disk: int) -> None:
    assert labels(disk) == LABELS
    assert gpt.read(disk)[1] == gpt.Partition(2, (2048 + 64) * SECTOR, 64 * SECTOR, "skerry_1")


def test_another_reader_sees_the_new_labels_in_front_and_behind(disk: int) -> None:
    gpt.relabel(disk, NEW)
    assert tuple(p.name for p in peer.read(disk).partitions) == labels(disk) == (
        *LABELS[:3], "skerry_2", "skerry_2_verity", "skerry_data",
    )  # fmt: skip
    os.pwrite(disk, bytes(SECTOR), SECTOR)
    assert peer.read(disk).where == "behind"
    assert labels(disk)[3] == "skerry_2"


def test_labels_change_back_and_forth(disk: int) -> None:
    for turn in range(5):
        gpt.relabel(disk, {4: f"skerry_{turn}"})
        assert labels(disk)[3] == f"skerry_{turn}"
        assert peer.read(disk).where == "front"


def test_a_torn_primary_is_mended_from_the_backup(disk: int) -> None:
    os.pwrite(disk, bytes(SECTOR), SECTOR)
    gpt.relabel(disk, NEW)
    assert peer.read(disk).where == "front"
    assert labels(disk)[3] == "skerry_2"


def test_nothing_but_the_tables_is_written(disk: int) -> None:
    size = os.lseek(disk, 0, os.SEEK_END)
    before = os.pread(disk, size, 0)
    gpt.relabel(disk, NEW)
    after = os.pread(disk, size, 0)
    sectors = size // SECTOR
    changed = {
        n
        for n in range(sectors)
        if before[n * SECTOR : (n + 1) * SECTOR] != after[n * SECTOR : (n + 1) * SECTOR]
    }
    assert changed <= {1, *range(34, 66), *range(sectors - 33, sectors)}


@pytest.mark.parametrize("turns", [1, 2])
def test_a_power_cut_at_any_sector_leaves_old_labels_or_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    """The writes are recorded, and every prefix of their sectors is replayed, each sector being atomic."""
    path = make_disk(tmp_path / "disk", LABELS)
    disk = os.open(path, os.O_RDWR)
    for turn in range(turns - 1):
        gpt.relabel(disk, {4: f"skerry_{turn}"})
    start = path.read_bytes()
    old = labels(disk)
    written: list[tuple[int, bytes]] = []
    real = os.pwrite

    def record(descriptor: int, data: bytes, at: int) -> int:
        written.extend((at + n, data[n : n + SECTOR]) for n in range(0, len(data), SECTOR))
        return real(descriptor, data, at)

    monkeypatch.setattr(os, "pwrite", record)
    gpt.relabel(disk, NEW)
    monkeypatch.undo()
    new = labels(disk)
    os.close(disk)
    assert len(written) == 2 * 33
    copy = tmp_path / "copy"
    seen = set()
    for cut in range(len(written) + 1):
        image = bytearray(start)
        for at, sector in written[:cut]:
            image[at : at + SECTOR] = sector
        copy.write_bytes(image)
        torn = os.open(copy, os.O_RDONLY)
        # Linux reads the primary alone: it must be good at every moment.
        assert peer.read(torn).where == "front", f"cut at {cut}"
        found = tuple(p.name for p in peer.read(torn).partitions)
        os.close(torn)
        assert found in (old, new)
        seen.add(found)
    assert seen == {old, new}


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(1 << 20))
    with path.open("rb") as file, pytest.raises(DiskError, match="no valid GPT"):
        gpt.read(file.fileno())


def test_a_disk_without_room_for_two_tables_is_refused(tmp_path: Path) -> None:
    path = make_disk(tmp_path / "disk", LABELS, first_usable=34)
    with path.open("r+b") as file, pytest.raises(DiskError, match="no room before them"):
        gpt.relabel(file.fileno(), NEW)
    assert path.read_bytes() == make_disk(tmp_path / "again", LABELS, first_usable=34).read_bytes()


@pytest.mark.parametrize(("labels_", "said"), [({9: "x"}, "no partition 9"), ({4: "x" * 37}, "longer than")])
def test_impossible_labels_are_refused(disk: int, labels_: dict[int, str], said: str) -> None:
    with pytest.raises(DiskError, match=said):
        gpt.relabel(disk, labels_)
