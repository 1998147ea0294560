"""Step `disk`: the GPT disk that a machine boots from, as a raw image with holes.

    ESP            FAT32: EFI/BOOT/BOOTX64.EFI (systemd-boot), loader/loader.conf,
                   EFI/Linux/NAME_VERSION+3.efi
    NAME_VERSION, NAME_VERSION_verity     slot A: the root and its hash tree
    _empty, _empty                        slot B: the same sizes, nothing in it
    skerry_data    ext4, mounted on /var; grows to the end of the disk at first boot

`+3` is systemd-boot's boot counting: three tries, then an older entry; the count goes when a boot is
blessed. Every identifier and time is fixed, so that the same input gives the same bytes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.image.compose import epoch
from skerry.image.compose.errors import BudgetError
from skerry.image.compose.root import product_uuid
from skerry.image.compose.sandbox import Bind
from skerry.image.compose.uki import label
from skerry.image.compose.workshop import identity

if TYPE_CHECKING:
    from skerry.image.compose.recipe import Recipe
    from skerry.image.compose.sandbox import Sandbox
    from skerry.image.compose.workshop import Workshop

MIB = 1 << 20
TRIES = 3
LOADER = "timeout 0\neditor no\nauto-entries no\n"
TYPES = {
    "esp": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
    "root": "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",  # root on x86-64
    "verity": "2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5",  # its verity hashes
    "data": "0FC63DAF-8483-4772-8E79-3D69D8477DE4",  # Linux data
}


@dataclass(frozen=True, slots=True)
class Partition:
    """One line of the partition table; `content` is what is copied into it."""

    kind: str
    name: str
    start_mib: int
    size_mib: int
    content: Path | None = None


def layout(recipe: Recipe) -> tuple[Partition, ...]:
    """The partitions of a disk, without content, from the first MiB on."""
    name, disk = label(recipe), recipe.disk
    wanted = [
        ("esp", "esp", disk.esp_mib),
        ("root", name, disk.slot_mib),
        ("verity", f"{name}_verity", disk.verity_mib),
        ("root", "_empty", disk.slot_mib),
        ("verity", "_empty", disk.verity_mib),
        ("data", "skerry_data", disk.data_mib),
    ]
    found, at = [], 1
    for kind, part, size in wanted:
        found.append(Partition(kind, part, at, size))
        at += size
    return tuple(found)


def make(workshop: Workshop, sandbox: Sandbox, root: Path, uki: Path, recipe: Recipe) -> Path:
    """The directory with `disk.raw`."""
    parts = layout(recipe)
    given = identity(Path(__file__), root.name, uki.name, sandbox.tools.parent.name, parts)

    def produce(directory: Path) -> str:
        needed = sum(f.stat().st_size for d in (root, uki) for f in d.iterdir()) + 64 * MIB
        workshop.room(needed, "the disk image")
        disk = directory / "disk.raw"
        binds = [Bind(root, "/in/root"), Bind(uki, "/in/uki"), Bind(directory, "/out", writable=True)]
        esp, data = directory / "esp.img", directory / "data.img"
        _esp(sandbox, binds, recipe, esp)
        _data(sandbox, binds, recipe, data)
        contents = (esp, root / "root.erofs", root / "root.verity", None, None, data)
        with disk.open("wb") as file:
            file.truncate((parts[-1].start_mib + parts[-1].size_mib + 1) * MIB)
        sandbox.run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "/out/disk.raw"],
                    binds=binds, stdin=_table(recipe, parts).encode())  # fmt: skip
        with disk.open("r+b") as file:
            for part, content in zip(parts, contents, strict=True):
                if content is not None:
                    _copy(content, file.fileno(), part)
        esp.unlink()
        data.unlink()
        return f"{disk.stat().st_size / MIB:.0f} MiB, {disk.stat().st_blocks * 512 / MIB:.0f} MiB used"

    return workshop.make("disk", given, produce)


def _table(recipe: Recipe, parts: tuple[Partition, ...]) -> str:
    lines = ["label: gpt", f"label-id: {product_uuid(recipe.name, 'disk')}", "unit: sectors"]
    for number, part in enumerate(parts, 1):
        lines.append(
            f"start={part.start_mib * 2048}, size={part.size_mib * 2048}, type={TYPES[part.kind]}, "
            f'name="{part.name}", uuid={product_uuid(recipe.name, f"partition {number}")}'
        )
    return "\n".join(lines) + "\n"


def _esp(sandbox: Sandbox, binds: list[Bind], recipe: Recipe, image: Path) -> None:
    with image.open("wb") as file:
        file.truncate(recipe.disk.esp_mib * MIB)
    loader = image.with_name("loader.conf")
    loader.write_text(LOADER)
    os.utime(loader, (epoch.of(recipe.version), epoch.of(recipe.version)))
    target = f"/out/{image.name}"
    env = {"SOURCE_DATE_EPOCH": str(epoch.of(recipe.version)), "TZ": "UTC", "MTOOLS_SKIP_CHECK": "1"}
    volume = product_uuid(recipe.name, "esp").hex[:8]
    sandbox.run(["mkfs.fat", "-F", "32", "-i", volume, "-n", "ESP", "--invariant", target], binds=binds)
    sandbox.run(
        ["mmd", "-i", target, "::/EFI", "::/EFI/BOOT", "::/EFI/Linux", "::/loader", "::/skerry"],
        binds=binds, env=env,
    )  # fmt: skip
    entry = f"{label(recipe)}+{TRIES}.efi"
    for source, name in (
        ("/in/uki/boot.efi", "EFI/BOOT/BOOTX64.EFI"),
        ("/in/uki/skerry.efi", f"EFI/Linux/{entry}"),
        (f"/out/{loader.name}", "loader/loader.conf"),
    ):
        sandbox.run(["mcopy", "-i", target, source, f"::/{name}"], binds=binds, env=env)
    loader.unlink()


def _data(sandbox: Sandbox, binds: list[Bind], recipe: Recipe, image: Path) -> None:
    with image.open("wb") as file:
        file.truncate(recipe.disk.data_mib * MIB)
    env = {
        "SOURCE_DATE_EPOCH": str(epoch.of(recipe.version)),
        "E2FSPROGS_FAKE_TIME": str(epoch.of(recipe.version)),
    }
    seed = product_uuid(recipe.name, "hash seed")
    sandbox.run(
        ["mkfs.ext4", "-q", "-L", "skerry_data", "-U", str(product_uuid(recipe.name, "data")), "-E",
         f"hash_seed={seed},resize=536870912,lazy_itable_init=0,root_owner=0:0",
         "-J", "size=32", "-m", "1", "-T", "default", f"/out/{image.name}"],
        binds=binds, env=env,
    )  # fmt: skip


def _copy(source: Path, target: int, part: Partition) -> None:
    """Copy a file's data into its partition, holes left as holes."""
    size = source.stat().st_size
    if size > part.size_mib * MIB:
        raise BudgetError(f"{source.name} has {size} bytes and its partition {part.name} {part.size_mib} MiB")
    with source.open("rb") as file:
        at = 0
        while at < size:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:  # nothing but a hole from here on
                break
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            at = start
            while at < end:
                block = os.pread(file.fileno(), min(MIB, end - at), at)
                os.pwrite(target, block, part.start_mib * MIB + at)
                at += len(block)
