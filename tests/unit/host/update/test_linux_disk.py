"""What only the real disk does: finding itself, refusing what is not ours, errors as sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.gpt import make_disk
from skerry.host.update.errors import DiskError, VerifyError
from skerry.host.update.linux import LinuxDisk, find


def machine(root: Path) -> None:
    """sysfs of a machine with a disk vda, whose partitions 2 and 3 are the root's."""
    disk = root / "sys/devices/vda"
    for number in range(1, 7):
        (disk / f"vda{number}").mkdir(parents=True)
        (disk / f"vda{number}/partition").write_text(f"{number}\n")
    block = root / "sys/class/block"
    block.mkdir(parents=True)
    for name in ("vda", *(f"vda{n}" for n in range(1, 7))):
        (block / name).symlink_to(disk if name == "vda" else disk / name)
    mapped = root / "sys/devices/dm-0"
    (mapped / "dm").mkdir(parents=True)
    (mapped / "dm/name").write_text("root\n")
    (mapped / "slaves").mkdir()
    (block / "dm-0").symlink_to(mapped)
    for name in ("vda2", "vda3"):
        (mapped / "slaves" / name).symlink_to(disk / name)


def test_finds_the_disk_that_the_root_stands_on(tmp_path: Path) -> None:
    machine(tmp_path)
    disk, partitions = find(tmp_path)
    assert str(disk) == "/dev/vda"
    assert str(partitions[4]) == "/dev/vda4"
    assert sorted(partitions) == [1, 2, 3, 4, 5, 6]


def test_a_container_has_no_slots(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="does not stand on a slot"):
        find(tmp_path)


def test_labels_that_do_not_fit_count_as_empty(tmp_path: Path) -> None:
    path = make_disk(tmp_path / "d", ("esp", "skerry_1", "skerry_1_verity", "skerry_2", "_empty", "data"))
    partitions = {number: tmp_path / str(number) for number in range(1, 7)}
    first, second = LinuxDisk(path, partitions, tmp_path).slots()
    assert (first.version, second.version) == ("1", None)


def test_too_few_partitions_are_no_disk_of_ours(tmp_path: Path) -> None:
    path = make_disk(tmp_path / "d", ("esp", "root"))
    with pytest.raises(DiskError, match="no disk of a Skerry image"):
        LinuxDisk(path, {n: tmp_path / str(n) for n in range(1, 7)}, tmp_path).slots()


def test_a_uki_that_reads_back_otherwise_is_removed(tmp_path: Path) -> None:
    disk = LinuxDisk(tmp_path / "d", {}, tmp_path)
    with pytest.raises(VerifyError, match="not what is read from it"):
        disk.write_entry("skerry_2", Path("/proc/sys/kernel/random/uuid"))  # other bytes at each reading
    assert disk.strays() == ()


def test_a_name_that_a_halved_rename_left_is_not_removed(tmp_path: Path) -> None:
    directory = tmp_path / "EFI/Linux"
    directory.mkdir(parents=True)
    (directory / "skerry_2.efi.new").write_bytes(b"MZ")
    (directory / "skerry_2+3.efi").hardlink_to(directory / "skerry_2.efi.new")
    disk = LinuxDisk(tmp_path / "d", {}, tmp_path)
    disk.sweep()
    assert disk.strays() == ("skerry_2.efi.new",)


def test_a_name_without_content_is_no_entry_and_is_swept(tmp_path: Path) -> None:
    disk = LinuxDisk(tmp_path / "d", {}, tmp_path)
    folder = tmp_path / "EFI/Linux"
    folder.mkdir(parents=True)
    (folder / "skerry_1.efi").write_bytes(b"kernel 1")
    (folder / "skerry_2.efi.new").write_bytes(b"kernel 2")
    (folder / "skerry_2+3.efi").touch()
    assert [entry.file for entry in disk.entries()] == ["skerry_1.efi"]
    assert set(disk.strays()) == {"skerry_2.efi.new", "skerry_2+3.efi"}
    disk.sweep()
    assert [path.name for path in folder.iterdir()] == ["skerry_1.efi"]


def test_an_esp_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    disk = LinuxDisk(tmp_path / "d", {}, tmp_path / "nothing")
    with pytest.raises(DiskError, match="the ESP failed: No such file"):
        disk.esp_free()
