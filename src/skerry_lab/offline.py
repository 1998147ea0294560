"""The next run of an update on the disk of a machine that is off: the host's own engine, over files.

Partition table, slots and ESP are taken out of the image and stand as the host's code finds them: the table
in a file as large as the disk, a file for each of the slots' partitions, a folder for the ESP, another for
/var/lib/skerry. /etc, health and the reboot are left out.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.host.update.engine import Engine
from skerry.host.update.journal import Journal
from skerry.host.update.keep import Keep
from skerry.host.update.linux import ENTRIES, LinuxDisk
from skerry.host.update.settings import UpdateSettings
from skerry.host.update.situation import Machine
from skerry.host.update.supply import TRUST, open_repository
from skerry.kit.clock import SystemClock
from skerry_lab import gpt, holes
from skerry_lab.ext4 import dump_tree
from skerry_lab.fat import Fat, FatError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from skerry_lab.fat import Entry

PLENTY = 1 << 40
STATE = "/lib/skerry"
SLOTS = (2, 3, 4, 5)
TABLE_BYTES = 1 << 20
BOOT = "the boot after the cut"


class _Nothing:
    """Health's recorder and the power switch of a machine that is off."""

    def before(self) -> None:
        return None

    def reboot(self, reason: str) -> None:
        return None

    def come_back(self, seconds: float) -> None:
        return None


@dataclass(frozen=True, slots=True)
class OfflineHost:
    """Where a machine's disk was taken apart."""

    directory: Path
    disk: LinuxDisk

    def engine(self, running: str, repository: Path, trusted: Path) -> Engine:
        """What would run on it, had it booted this version."""
        own = self.directory / "state" / "skerry"
        settings = UpdateSettings(repository=repository.as_uri())
        (self.directory / TRUST[0]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(trusted, self.directory / TRUST[0])
        clock, update, power = SystemClock(), own / "update", _Nothing()
        return Engine(
            Machine("skerry", running, "a machine that is off", BOOT),
            self.disk,
            Journal(update),
            Keep(update, own / "extensions"),
            settings,
            clock,
            lambda: open_repository(settings.repository, self.directory, update, clock, 0.0),
            power,
            power,
            lambda: PLENTY,
        )


def take_apart(image: Path, data: Path, directory: Path) -> OfflineHost:
    """Copy out of a disk image, and of its recovered data partition, what updates look at."""
    state = directory / "state"
    state.mkdir(parents=True)
    dump_tree(data, STATE, state)
    (state / "skerry" / "update").mkdir(parents=True, exist_ok=True)
    table = directory / "disk"
    descriptor = os.open(image, os.O_RDONLY)
    try:
        parts = {part.number: part for part in gpt.read(descriptor).partitions}
        _copy_ends(descriptor, table)
        partitions = {}
        for number in SLOTS:
            partitions[number] = directory / f"partition{number}"
            _copy(descriptor, parts[number], partitions[number])
        esp = directory / "esp"
        (esp / ENTRIES).mkdir(parents=True)
        fat = Fat(descriptor, next(part.start for part in parts.values() if part.name == "esp"))
        for entry in fat.list(ENTRIES).values():
            with (esp / ENTRIES / entry.name).open("wb") as file:
                file.writelines(_readable(fat, entry))
    finally:
        os.close(descriptor)
    return OfflineHost(directory, LinuxDisk(table, partitions, esp))


def _readable(fat: Fat, entry: Entry) -> Iterator[bytes]:
    """A file as far as its chain leads: of one that was being written, or removed, no more can be read."""
    with contextlib.suppress(FatError):
        yield from fat.read(entry)


def _copy_ends(disk: int, target: Path) -> None:
    """A file as large as the disk, with both partition tables and nothing between."""
    size = os.lseek(disk, 0, os.SEEK_END)
    with target.open("wb") as file:
        file.truncate(size)
        for start in (0, size - TABLE_BYTES):
            os.pwrite(file.fileno(), os.pread(disk, TABLE_BYTES, start), start)


def _copy(disk: int, part: gpt.Partition, target: Path) -> None:
    with target.open("wb") as file:
        file.truncate(part.size)
        holes.copy(disk, file.fileno(), part.start, part.start + part.size, to=0)
