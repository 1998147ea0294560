"""The disk that machines boot, looked at with the tools that know its formats."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from skerry.image.compose.build import DEFAULT_RECIPE, Image, Store
from skerry.image.compose.disk import MIB, TYPES, layout
from skerry.image.compose.export import DiskFormat, export
from skerry.image.compose.recipe import load
from skerry.image.compose.sandbox import Bind, Sandbox
from skerry.kit.run import Completed, ProgramError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(600)
RECIPE = load(DEFAULT_RECIPE)


@pytest.fixture
def results(image: Image, store: Store) -> dict[str, Path]:
    """The directories of the image's steps."""
    return {step: store.cache / "steps" / f"{step}-{given}" for step, given in image.steps.items()}


@pytest.fixture
def disk(results: dict[str, Path]) -> list[Bind]:
    return [Bind(results["disk"] / "disk.raw", "/in/disk.raw")]


def test_the_partition_table_is_as_designed(sandbox: Sandbox, disk: list[Bind]) -> None:
    table = json.loads(sandbox.run(["sfdisk", "-J", "/in/disk.raw"], binds=disk).text)["partitiontable"]
    found = [(part["name"], part["type"], part["start"], part["size"]) for part in table["partitions"]]
    assert (table["label"], table["sectorsize"]) == ("gpt", 512)
    assert found == [
        (part.name, TYPES[part.kind], part.start_mib * 2048, part.size_mib * 2048) for part in layout(RECIPE)
    ]
    assert [name for name, *_ in found] == [
        "esp", "skerry_2026.11.0", "skerry_2026.11.0_verity", "_empty", "_empty", "skerry_data",
    ]  # fmt: skip
    assert len({part["uuid"] for part in table["partitions"]}) == 6


def test_sfdisk_finds_nothing_wrong(sandbox: Sandbox, disk: list[Bind]) -> None:
    assert "No errors detected" in sandbox.run(["sfdisk", "--verify", "/in/disk.raw"], binds=disk).text


def test_slot_a_holds_the_root_and_slot_b_nothing(results: dict[str, Path]) -> None:
    _, root, verity, empty, empty_verity, _ = layout(RECIPE)
    with (results["disk"] / "disk.raw").open("rb") as file:
        for part, name in ((root, "root.erofs"), (verity, "root.verity")):
            file.seek(part.start_mib * MIB)
            with (results["root"] / name).open("rb") as wanted:
                while block := wanted.read(MIB):
                    assert file.read(len(block)) == block
        end = (empty_verity.start_mib + empty_verity.size_mib) * MIB
        start = empty.start_mib * MIB
        assert os.lseek(file.fileno(), start, os.SEEK_DATA) >= end


def verify(sandbox: Sandbox, root: Path, results: dict[str, Path], root_hash: str) -> Completed:
    binds = [Bind(root, "/in/root"), Bind(results["root"] / "root.verity", "/in/verity")]
    return sandbox.run(["veritysetup", "verify", "/in/root", "/in/verity", root_hash], binds=binds)


def test_the_root_is_what_its_hash_says(sandbox: Sandbox, image: Image, results: dict[str, Path]) -> None:
    verify(sandbox, results["root"] / "root.erofs", results, image.root_hash)


def test_one_changed_bit_is_found(
    sandbox: Sandbox, image: Image, results: dict[str, Path], tmp_path: Path
) -> None:
    changed = tmp_path / "root.erofs"
    shutil.copyfile(results["root"] / "root.erofs", changed)
    with changed.open("r+b") as file:
        file.seek(image.root_bytes // 2)
        byte = file.read(1)[0]
        file.seek(image.root_bytes // 2)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(ProgramError, match="Verification failed"):
        verify(sandbox, changed, results, image.root_hash)


def test_another_hash_is_refused(sandbox: Sandbox, image: Image, results: dict[str, Path]) -> None:
    with pytest.raises(ProgramError):
        verify(sandbox, results["root"] / "root.erofs", results, "0" * 64)


def test_the_root_file_system_is_sound(sandbox: Sandbox, results: dict[str, Path]) -> None:
    sandbox.run(
        ["fsck.erofs", "/in/root.erofs"], binds=[Bind(results["root"] / "root.erofs", "/in/root.erofs")]
    )


def test_the_esp_has_loader_and_counted_entry(sandbox: Sandbox, disk: list[Bind]) -> None:
    esp = f"/in/disk.raw@@{layout(RECIPE)[0].start_mib * MIB}"
    env = {"MTOOLS_SKIP_CHECK": "1"}
    listed = sandbox.run(["mdir", "-i", esp, "-/", "-b", "::"], binds=disk, env=env).text.split()
    assert sorted(name for name in listed if not name.endswith("/")) == [
        "::/EFI/BOOT/BOOTX64.EFI",
        "::/EFI/Linux/skerry_2026.11.0+3.efi",
        "::/loader/loader.conf",
    ]
    loader = sandbox.run(["mtype", "-i", esp, "::/loader/loader.conf"], binds=disk, env=env).text
    assert {"editor no", "timeout 0"} <= set(loader.splitlines())


def test_the_data_partition_is_an_empty_sound_file_system(sandbox: Sandbox, disk: list[Bind]) -> None:
    offset = layout(RECIPE)[-1].start_mib * MIB
    said = sandbox.run(["e2fsck", "-f", "-n", f"/in/disk.raw?offset={offset}"], binds=disk).text
    assert "skerry_data: 12/" in said  # what mkfs makes itself: lost+found, the orphan file


def test_its_superblock_has_a_copy_where_the_initrd_looks(results: dict[str, Path]) -> None:
    begin = layout(RECIPE)[-1].start_mib * MIB
    with (results["disk"] / "disk.raw").open("rb") as file:
        first, copy = (os.pread(file.fileno(), 1024, begin + at) for at in (1024, 32768 * 4096))
    # include/ext2fs/ext2_fs.h: s_magic, s_block_group_nr, s_uuid
    assert (first[56:58], first[90:92]) == (b"\x53\xef", b"\0\0")
    assert (copy[56:58], copy[90:92]) == (b"\x53\xef", b"\1\0")
    assert first[104:120] == copy[104:120]


def test_the_command_line_seals_the_root(sandbox: Sandbox, image: Image, results: dict[str, Path]) -> None:
    binds = [Bind(results["uki"] / "skerry.efi", "/in/skerry.efi")]
    said = json.loads(sandbox.run(["ukify", "inspect", "/in/skerry.efi", "--json=short"], binds=binds).text)
    words = said[".cmdline"]["text"].split()
    assert f"skerry.image={image.label}" in words
    assert any(word.startswith(f"skerry.verity={image.root_hash},") for word in words)
    assert {"panic=5", "systemd.gpt_auto=no"} <= set(words)
    assert {".linux", ".initrd", ".osrel", ".uname"} <= set(said)


@pytest.mark.parametrize(("disk_format", "compress"), [(DiskFormat.RAW, False), (DiskFormat.QCOW2, False)])
def test_an_exported_disk_is_the_disk(
    sandbox: Sandbox, image: Image, disk: list[Bind], tmp_path: Path, disk_format: DiskFormat, compress: bool
) -> None:
    target = tmp_path / "taken"
    assert export(image, target, disk_format, compress=compress) == target.stat().st_size
    argv = ["qemu-img", "compare", "-f", "raw", "-F", disk_format, "/in/disk.raw", "/in/taken"]
    said = sandbox.run(argv, binds=[*disk, Bind(target, "/in/taken")]).text
    assert "Images are identical" in said
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
