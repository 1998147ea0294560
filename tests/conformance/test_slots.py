"""What every implementation of host.update.disk.Disk does: the one in memory, and the one over real files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from fakes.gpt import make_disk
from fakes.update import NAME, NEW, OLD, FakeDisk, Fuse
from skerry.host.update.entries import Entry, label_of
from skerry.host.update.errors import DiskError
from skerry.host.update.linux import LinuxDisk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from skerry.host.update.disk import Disk

LABEL_OLD, LABEL_NEW = label_of(NAME, OLD), label_of(NAME, NEW)
UKI = b"MZ a kernel " * 1000


class Make(Protocol):
    def __call__(self, directory: Path) -> Disk: ...


def in_memory(directory: Path) -> Disk:
    disk = FakeDisk(directory / "disk", Fuse())
    disk.labels["A"] = LABEL_OLD
    disk._put(f"{LABEL_OLD}.efi", UKI)
    return disk


def of_linux(directory: Path) -> Disk:
    labels = ("esp", LABEL_OLD, f"{LABEL_OLD}_verity", "_empty", "_empty", "skerry_data")
    partitions = {number: directory / f"part{number}" for number in range(1, 7)}
    for path in partitions.values():
        path.write_bytes(bytes(32768))
    entries = directory / "esp/EFI/Linux"
    entries.mkdir(parents=True)
    (entries / f"{LABEL_OLD}.efi").write_bytes(UKI)
    return LinuxDisk(make_disk(directory / "disk.raw", labels), partitions, directory / "esp", partitions[1])


DRIVERS: dict[str, Callable[[Path], Disk]] = {"memory": in_memory, "linux": of_linux}


@pytest.fixture(params=DRIVERS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return DRIVERS[request.param](tmp_path)


@pytest.fixture
def uki(tmp_path: Path) -> Path:
    path = tmp_path / "new.efi"
    path.write_bytes(b"MZ another " * 2000)
    return path


def labels(disk: Disk) -> dict[str, str | None]:
    return {slot.name: slot.label for slot in disk.slots()}


def files(disk: Disk) -> list[str]:
    return [entry.file for entry in disk.entries()]


def test_slots_tell_what_they_hold(disk: Disk) -> None:
    first, second = disk.slots()
    assert (first.name, first.version, second.name, second.version) == ("A", OLD, "B", None)
    assert first.root != second.root
    assert first.root_size > 0 < first.verity_size


def test_a_slot_is_labelled_and_emptied(disk: Disk) -> None:
    disk.relabel("B", LABEL_NEW)
    assert labels(disk) == {"A": LABEL_OLD, "B": LABEL_NEW}
    disk.relabel("A", None)
    assert labels(disk) == {"A": None, "B": LABEL_NEW}


def test_labelling_again_is_the_same(disk: Disk) -> None:
    disk.relabel("B", LABEL_NEW)
    disk.relabel("B", LABEL_NEW)
    assert labels(disk)["B"] == LABEL_NEW


def test_what_was_written_is_there_after_settling(disk: Disk) -> None:
    slot = disk.slots()[1]
    with slot.root.open("r+b") as file:
        file.write(b"root")
    disk.settle("B")
    with slot.root.open("rb") as file:
        assert file.read(4) == b"root"


def test_an_entry_boots_only_once_it_is_committed(disk: Disk, uki: Path) -> None:
    disk.write_entry(LABEL_NEW, uki)
    assert files(disk) == [f"{LABEL_OLD}.efi"]
    assert len(disk.strays()) == 1
    disk.commit_entry(LABEL_NEW, 3)
    assert files(disk) == [f"{LABEL_OLD}.efi", f"{LABEL_NEW}+3.efi"]
    assert disk.strays() == ()
    assert disk.entry_path(Entry(LABEL_NEW, 3)).read_bytes() == uki.read_bytes()


def test_sweeping_takes_strays_and_nothing_else(disk: Disk, uki: Path) -> None:
    disk.write_entry(LABEL_NEW, uki)
    disk.sweep()
    assert disk.strays() == ()
    assert files(disk) == [f"{LABEL_OLD}.efi"]
    disk.sweep()


def test_an_entry_may_be_written_again(disk: Disk, uki: Path) -> None:
    disk.write_entry(LABEL_NEW, uki)
    disk.write_entry(LABEL_NEW, uki)
    disk.commit_entry(LABEL_NEW, 2)
    assert disk.entry_path(Entry(LABEL_NEW, 2)).read_bytes() == uki.read_bytes()


def test_entries_are_counted_out_and_back_in(disk: Disk) -> None:
    disk.recount(LABEL_OLD, 0)
    (entry,) = disk.entries()
    assert (entry.label, entry.left, entry.file) == (LABEL_OLD, 0, f"{LABEL_OLD}+0-0.efi")
    disk.recount(LABEL_OLD, 0)
    disk.recount(LABEL_OLD, None)
    assert files(disk) == [f"{LABEL_OLD}.efi"]
    disk.recount(LABEL_OLD, 3)
    assert files(disk) == [f"{LABEL_OLD}+3.efi"]
    assert disk.entry_path(disk.entries()[0]).read_bytes() == UKI


def test_counting_what_is_not_there_is_refused(disk: Disk) -> None:
    with pytest.raises(DiskError, match="no entry"):
        disk.recount(LABEL_NEW, 0)


def test_removing_takes_one_label_whatever_its_count(disk: Disk, uki: Path) -> None:
    disk.write_entry(LABEL_NEW, uki)
    disk.commit_entry(LABEL_NEW, 3)
    disk.recount(LABEL_NEW, 0)
    disk.remove_entries(LABEL_NEW)
    assert files(disk) == [f"{LABEL_OLD}.efi"]
    disk.remove_entries(LABEL_NEW)


def test_free_room_is_told(disk: Disk) -> None:
    assert disk.esp_free() > 0
    assert disk.read_only() is None
