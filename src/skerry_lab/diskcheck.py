"""Whether a machine with this disk would come up by itself, and in which version: judged without starting it.

Follows what the firmware, systemd-boot and our initrd do: the partition table, the ESP, the menu, the kernel
that stands on top, the slot that its command line seals, the data partition. What did not change since the
last look is not looked at again.

A disk is bad if firmware finds no ESP or no loader; if a kernel that systemd-boot would start is not whole,
byte for byte (it would stop the machine); if no entry leads to a slot that verifies, or the way to one has no
end; if the data partition cannot be recovered, or lacks what the version that starts needs.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.image.content.verity import Hasher
from skerry_lab import gpt
from skerry_lab.bootmenu import Kernel, considered, order
from skerry_lab.errors import LabError
from skerry_lab.ext4 import Ext4Copy, Ext4Error, dump, names
from skerry_lab.fat import Fat

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

BLOCK_BYTES = 4096
COPY_BYTES = 1 << 20
DATA = "skerry_data"
ESP = "esp"
UPDATE = "/lib/skerry/update"
ETC = "/lib/skerry/etc"
LOADER = "EFI/BOOT", "bootx64.efi"
KERNELS = "EFI/Linux"


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a kernel's command line says of its root, and who it is."""

    label: str
    root_hash: str
    salt: str
    blocks: int
    sort_key: str
    version: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`version`: the one that would come up in the end; `files`: what was read of the data partition."""

    version: str | None
    menu: tuple[str, ...]
    problems: tuple[str, ...]
    files: Mapping[str, bytes]


class DiskChecker:
    """Looks at one disk again and again while it changes; `whole` are the digests of good EFI programs.

    `wanted` are the files of the data partition to read, and `etc` those that every version's /etc must have.
    """

    def __init__(
        self,
        disk: Path,
        directory: Path,
        whole: set[str],
        wanted: tuple[str, ...] = (),
        *,
        e2fsck: Sequence[str] = ("e2fsck",),
    ) -> None:
        self._path = disk
        self._disk = os.open(disk, os.O_RDONLY)
        self._whole = whole
        self._wanted = wanted
        self._directory = directory
        table = gpt.read(self._disk)
        data = table.named(DATA)
        if data is None:
            raise LabError(f"{disk} has no partition {DATA}")
        self._data = Ext4Copy(disk, data.start, data.size, directory, e2fsck)
        self._partitions = table.partitions
        self._changed: list[tuple[int, int]] = [(0, os.lseek(self._disk, 0, os.SEEK_END))]
        self._esp: tuple[list[Kernel], dict[str, Sealed], tuple[str, ...]] = ([], {}, ())
        self._verified: dict[tuple[int, str], bool] = {}
        self._files: tuple[dict[str, bytes], list[str], tuple[str, ...]] = ({}, [], ())

    def close(self) -> None:
        os.close(self._disk)

    def touched(self, start: int, end: int) -> None:
        """Remember that these bytes of the disk changed."""
        self._changed.append((start, end))
        self._data.touched(start, end)

    def check(self, also: Callable[[Path], None] | None = None) -> Verdict:
        """Judge the disk as it is now. `also` is shown the recovered data partition."""
        problems: list[str] = []
        try:
            self._partitions = gpt.read(self._disk).partitions
        except LabError as error:
            return Verdict(None, (), (error.message,), {})
        kernels, sealed, esp_problems = self._look_at_esp()
        problems += esp_problems
        self._forget_slots()
        self._changed = []
        menu = order(kernels)
        version = self._start(menu, sealed, problems)
        files, etcs, data_problems = self._look_at_data(also)
        problems += data_problems
        if version is not None and not data_problems and version not in etcs and "new" in etcs:
            problems.append(f"{version} has no /etc, and half of one is in its place")
        return Verdict(version, tuple(kernel.file for kernel in menu), tuple(problems), files)

    def _look_at_esp(self) -> tuple[list[Kernel], dict[str, Sealed], tuple[str, ...]]:
        esp = next((part for part in self._partitions if part.name == ESP), None)
        if esp is None:
            return [], {}, ("there is no ESP",)
        if not self._has_changed(esp):
            return self._esp
        kernels: list[Kernel] = []
        sealed: dict[str, Sealed] = {}
        problems: list[str] = []
        try:
            fat = Fat(self._disk, esp.start)
            folder, loader = LOADER
            if self._digest(fat, folder, loader) not in self._whole:
                problems.append("the boot loader is not whole")
            for entry in fat.list(KERNELS).values():
                if not considered(entry.name) or entry.directory:
                    continue
                data = b"".join(fat.read(entry))
                if hashlib.sha256(data).hexdigest() not in self._whole:
                    if not _is_listed(data):
                        continue
                    problems.append(f"{entry.name} is not whole, and the machine would stop at it")
                    continue
                found = read_seal(data)
                sealed[entry.name] = found
                kernels.append(Kernel(entry.name, found.sort_key, found.version))
        except LabError as error:
            problems.append(error.message)
        self._esp = kernels, sealed, tuple(problems)
        return self._esp

    def _digest(self, fat: Fat, folder: str, name: str) -> str:
        entry = fat.list(folder).get(name)
        if entry is None:
            return ""
        digest = hashlib.sha256()
        for piece in fat.read(entry):
            digest.update(piece)
        return digest.hexdigest()

    def _start(self, menu: list[Kernel], sealed: Mapping[str, Sealed], problems: list[str]) -> str | None:
        """Go down the menu as failing boots would, to the first entry whose slot verifies."""
        for kernel in menu:
            seal = sealed[kernel.file]
            why = self._unsound(seal)
            if why is None:
                return seal.version
            if kernel.left is None:
                problems.append(f"{kernel.file} would be started for ever: {why}")
                return None
        problems.append("no entry leads to a slot that verifies")
        return None

    def _unsound(self, seal: Sealed) -> str | None:
        """Why the initrd or the kernel would refuse this root; None where they would not."""
        roots = [part for part in self._partitions if part.name == seal.label]
        trees = [part for part in self._partitions if part.name == f"{seal.label}_verity"]
        if len(roots) != 1 or len(trees) != 1:
            return f"{len(roots)} partitions are named {seal.label} and {len(trees)} as its hash tree"
        key = roots[0].number, seal.root_hash
        if key not in self._verified:
            self._verified[key] = self._verify(roots[0], trees[0], seal)
        return None if self._verified[key] else f"{seal.label} does not verify"

    def _verify(self, root: gpt.Partition, tree: gpt.Partition, seal: Sealed) -> bool:
        salt = bytes.fromhex(seal.salt)
        hasher = Hasher(salt)
        size = seal.blocks * BLOCK_BYTES
        for at in range(0, size, COPY_BYTES):
            hasher.update(os.pread(self._disk, min(COPY_BYTES, size - at), root.start + at))
        made = hasher.tree()
        if made.root_hash != seal.root_hash:
            return False
        # The kernel reads the tree from its first block on, and passes over the superblock.
        wanted = made.device(salt, str(root.identifier))[BLOCK_BYTES:]
        return os.pread(self._disk, len(wanted), tree.start + BLOCK_BYTES) == wanted

    def _forget_slots(self) -> None:
        """Verify again what stands on partitions that changed."""
        changed = {part.number for part in self._partitions if self._has_changed(part)}
        # A root's partition is followed by that of its hash tree.
        self._verified = {
            (number, root_hash): good
            for (number, root_hash), good in self._verified.items()
            if not {number, number + 1} & changed
        }

    def _look_at_data(
        self, also: Callable[[Path], None] | None
    ) -> tuple[dict[str, bytes], list[str], tuple[str, ...]]:
        if not self._data.changed and also is None:
            return self._files
        targets = {path: self._directory / path.rpartition("/")[2] for path in self._wanted}
        try:
            with self._data.recovered() as image:
                there = dump(image, targets)
                etcs = names(image, ETC)
                if also is not None:
                    also(image)
        except Ext4Error as error:
            self._files = {}, [], (error.message,)
            return self._files
        self._files = {path: targets[path].read_bytes() for path in there}, etcs, ()
        return self._files

    def _has_changed(self, part: gpt.Partition) -> bool:
        return any(start < part.start + part.size and end > part.start for start, end in self._changed)


def read_seal(uki: bytes) -> Sealed:
    """What a unified kernel image says of itself, in its sections .cmdline and .osrel."""
    found = _sections(uki)
    words = dict(word.partition("=")[::2] for word in found[".cmdline"].split())
    release = dict(line.partition("=")[::2] for line in found[".osrel"].splitlines())
    release = {name: value.strip('"') for name, value in release.items()}
    root_hash, salt, blocks = words["skerry.verity"].split(",")
    return Sealed(
        words["skerry.image"],
        root_hash,
        salt,
        int(blocks),
        release.get("IMAGE_ID") or release.get("ID", ""),
        release.get("IMAGE_VERSION") or release.get("VERSION_ID", ""),
    )


def _is_listed(data: bytes) -> bool:
    """Whether systemd-boot puts a file on its menu: it passes over what is no program, or has no .osrel."""
    try:
        return ".osrel" in _sections(data)
    except (struct.error, UnicodeDecodeError):
        return False


def _sections(image: bytes) -> dict[str, str]:
    """The sections of a PE program that hold text: https://learn.microsoft.com/windows/win32/debug/pe-format"""
    (head,) = struct.unpack_from("<I", image, 0x3C)
    count, optional = (
        struct.unpack_from("<H", image, head + 6)[0],
        struct.unpack_from("<H", image, head + 20)[0],
    )
    found = {}
    for number in range(count):
        at = head + 24 + optional + 40 * number
        name = image[at : at + 8].rstrip(b"\0").decode()
        size, _, _, start = struct.unpack_from("<IIII", image, at + 8)
        if name in {".cmdline", ".osrel"}:
            found[name] = image[start : start + size].rstrip(b"\0").decode()
    return found
