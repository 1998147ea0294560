"""The system disk of this machine: sysfs finds it, gpt.py labels it, the ESP is a mounted directory.

Slots are partitions 2 and 3 (A), 4 and 5 (B) of the disk that the root stands on, see image.compose.disk.
Labels are read from the table itself: the kernel goes on telling those of the boot until the next one. A UKI
that is written is called LABEL.efi.new. Every open that could hang on a dead disk is systemd's to end.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.host.update import gpt
from skerry.host.update.disk import EMPTY, NAMES, VERITY_SUFFIX, Slot
from skerry.host.update.entries import Entry, parse
from skerry.host.update.errors import DiskError, VerifyError
from skerry.kit.files import sync_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ENTRIES = "EFI/Linux"
NEW = ".efi.new"
NUMBERS = {"A": (2, 3), "B": (4, 5)}  # root and verity of each slot, in image.compose.disk's order
ROOT_DEVICE = "root"  # what os/initrd/init calls the mapped device
_BLKFLSBUF = 0x1261  # linux/fs.h
_CHUNK = 1 << 20


@dataclass(frozen=True)
class LinuxDisk:
    """`disk` is the whole disk, `partitions` its partitions' devices by number, `esp` the mounted ESP.

    `esp_device` is flushed after every change of the ESP; `told` hears of new labels (udev).
    """

    disk: Path
    partitions: Mapping[int, Path]
    esp: Path
    esp_device: Path | None = None
    told: Callable[[], None] = lambda: None

    def slots(self) -> tuple[Slot, ...]:
        with self._open(os.O_RDONLY) as disk:
            table = {part.number: part for part in gpt.read(disk)}
        try:
            return tuple(self._slot(name, table) for name in NAMES)
        except KeyError as error:
            raise DiskError(
                f"{self.disk} has no partition {error}: it is no disk of a Skerry image"
            ) from error

    def relabel(self, slot: str, label: str | None) -> None:
        root, verity = NUMBERS[slot]
        names = (
            {root: EMPTY, verity: EMPTY} if label is None else {root: label, verity: label + VERITY_SUFFIX}
        )
        with self._open(os.O_RDWR) as disk:
            gpt.relabel(disk, names)
        self.told()

    def settle(self, slot: str) -> None:
        for number in NUMBERS[slot]:
            with _translated(f"slot {slot}"):
                device = os.open(self.partitions[number], os.O_RDWR)
                try:
                    os.fsync(device)
                    _forget(device)
                finally:
                    os.close(device)

    def entries(self) -> tuple[Entry, ...]:
        named = (parse(name) for name in self._names() if not self._is_hollow(name))
        return tuple(entry for entry in named if entry is not None)

    def entry_path(self, entry: Entry) -> Path:
        return self.esp / ENTRIES / entry.file

    def esp_free(self) -> int:
        with _translated("the ESP"):
            found = os.statvfs(self.esp)
        return found.f_bavail * found.f_frsize

    def write_entry(self, label: str, source: Path) -> None:
        target = self.esp / ENTRIES / f"{label}{NEW}"
        with _translated("the ESP"):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                _copy(source, target)
                sync_directory(target.parent)
                self._flush()
            except OSError:
                with contextlib.suppress(OSError):
                    target.unlink()
                raise
            if not _same(source, target):
                target.unlink()
                self._sync()
                raise VerifyError(
                    f"what was written to {target} is not what is read from it",
                    hint="the disk or the ESP is damaged: run fsck.vfat on the ESP, or replace the disk",
                )

    def commit_entry(self, label: str, tries: int) -> None:
        directory = self.esp / ENTRIES
        with _translated("the ESP"):
            self._rename(directory / f"{label}{NEW}", directory / Entry(label, tries).file)

    def remove_entries(self, label: str) -> None:
        for entry in self.entries():
            if entry.label == label:
                with _translated("the ESP"):
                    self.entry_path(entry).unlink()
        with _translated("the ESP"):
            self._sync()

    def recount(self, label: str, left: int | None) -> None:
        mine = [entry for entry in self.entries() if entry.label == label]
        if not mine:
            raise DiskError(f"the ESP has no entry of {label}")
        wanted = Entry(label, left)
        with _translated("the ESP"):
            for entry in mine:
                if entry != wanted:
                    self._rename(self.entry_path(entry), self.entry_path(wanted))
            self._sync()

    def strays(self) -> tuple[str, ...]:
        names = self._names()
        return tuple(
            name
            for name in names
            if name.endswith(NEW) or (parse(name) is not None and self._is_hollow(name))
        )

    def sweep(self) -> None:
        labels = {entry.label for entry in self.entries()}
        for name in self.strays():
            # A rename that a power cut halved on FAT leaves both names on one file: to remove the one would
            # take the other's content. It is no harm where it is.
            if not name.endswith(NEW) or name.removesuffix(NEW) not in labels:
                with _translated("the ESP"):
                    (self.esp / ENTRIES / name).unlink()
        with _translated("the ESP"):
            self._sync()

    def read_only(self) -> str | None:
        try:
            told = (Path("/sys/class/block") / self.disk.name / "ro").read_text().strip()
        except OSError:
            return None
        return f"the disk {self.disk} is read-only" if told == "1" else None

    def _slot(self, name: str, table: Mapping[int, gpt.Partition]) -> Slot:
        root, verity = (table[number] for number in NUMBERS[name])
        # Labels change together; where they do not fit, somebody else changed them, and nothing would boot.
        whole = root.label != EMPTY and verity.label == root.label + VERITY_SUFFIX
        devices = (self.partitions[root.number], self.partitions[verity.number])
        return Slot(name, root.label if whole else None, *devices, root.size, verity.size)

    def _names(self) -> list[str]:
        with _translated("the ESP"):
            try:
                return sorted(path.name for path in (self.esp / ENTRIES).iterdir())
            except FileNotFoundError:
                return []

    def _is_hollow(self, name: str) -> bool:
        """Whether a name has no content: what a power cut leaves of a rename, see `_rename`."""
        with _translated("the ESP"):
            return (self.esp / ENTRIES / name).stat().st_size == 0

    def _rename(self, old: Path, new: Path) -> None:
        """Rename on FAT, durably. Linux makes the new name with no content at first and tells it where the
        content is when the file is written out (vfat_rename), so that comes before the folder. A name
        without content is passed over by systemd-boot, as it is no program."""
        old.rename(new)
        with new.open("rb") as file:
            os.fsync(file.fileno())
        self._sync()

    def _sync(self) -> None:
        if (self.esp / ENTRIES).is_dir():
            sync_directory(self.esp / ENTRIES)
        self._flush()

    def _flush(self) -> None:
        if self.esp_device is not None:
            device = os.open(self.esp_device, os.O_RDONLY)
            try:
                os.fsync(device)
            finally:
                os.close(device)

    @contextlib.contextmanager
    def _open(self, flags: int) -> Iterator[int]:
        with _translated(f"the disk {self.disk}"):
            disk = os.open(self.disk, flags | os.O_CLOEXEC)
            try:
                yield disk
            finally:
                os.close(disk)


def this_machine(root: Path = Path("/"), esp: Path = Path("/efi")) -> LinuxDisk:
    """The disk that the running root stands on. Raises DiskError where this is no machine of ours."""
    disk, partitions = find(root)
    if not esp.is_dir() or not (esp / ENTRIES).is_dir():
        raise DiskError(
            f"{esp} does not hold the boot entries", hint="see `systemctl status efi.automount efi.mount`"
        )
    return LinuxDisk(disk, partitions, esp, partitions.get(1), lambda: _tell_udev(disk.name))


def find(root: Path = Path("/")) -> tuple[Path, dict[int, Path]]:
    """The whole disk, and its partitions by number, through sysfs below `root`."""
    block = root / "sys/class/block"
    for name in sorted(block.glob("dm-*/dm/name")):
        if name.read_text().strip() != ROOT_DEVICE:
            continue
        for slave in sorted((name.parent.parent / "slaves").iterdir()):
            disk = (block / slave.name).resolve().parent
            partitions = {
                int(number.read_text()): Path("/dev") / number.parent.name
                for number in sorted(disk.glob("*/partition"))
            }
            if partitions:
                return Path("/dev") / disk.name, partitions
    raise DiskError(
        "the running system does not stand on a slot",
        hint="updates are for machines that booted a Skerry disk; a container has no slots",
    )


def _tell_udev(disk: str) -> None:
    """Have /dev/disk/by-partlabel follow. Nothing of an update hangs on it."""
    from skerry.kit.run import ProgramError, run

    with contextlib.suppress(ProgramError):
        run(["udevadm", "trigger", "--settle", f"--sysname-match={disk}*"], timeout_s=30)


def _forget(device: int) -> None:
    """Drop what the kernel keeps of a device or file, so that the next read comes from the disk."""
    os.posix_fadvise(device, 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        fcntl.ioctl(device, _BLKFLSBUF)
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EINVAL):  # a file, not a device
            raise


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as give, target.open("wb") as take:
        while chunk := give.read(_CHUNK):
            take.write(chunk)
        take.flush()
        os.fsync(take.fileno())
        os.posix_fadvise(take.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _same(one: Path, two: Path) -> bool:
    with one.open("rb") as left, two.open("rb") as right:
        while True:
            a, b = left.read(_CHUNK), right.read(_CHUNK)
            if a != b:
                return False
            if not a:
                return True


@contextlib.contextmanager
def _translated(where: str) -> Iterator[None]:
    """The system's errors as sentences."""
    try:
        yield
    except OSError as error:
        hints = {
            errno.EIO: "the disk is failing: look at `journalctl -k`, and replace it",
            errno.EROFS: "the disk went read-only: look at `journalctl -k`",
            errno.ENOSPC: "remove from the ESP what is not Skerry's",
        }
        said = f"{where} failed: {error.strerror or error}"
        raise DiskError(said, hint=hints.get(error.errno or 0)) from error
