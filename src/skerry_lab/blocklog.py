"""Every write of a machine's disk, in the order of completion, and the disk as a power cut would leave it.

QEMU's driver blklogwrites records; the format is that of the kernel's dm-log-writes
(Documentation/admin-guide/device-mapper/log-writes.rst). Little endian, all in sectors of `sectorsize` bytes:

    superblock   u64 magic, u64 version, u64 entries, u32 sectorsize; the rest of the sector is free
    entry        u64 sector, u64 sectors, u64 flags, u64 length of other data; then, from the next sector on,
                 `sectors` sectors of data, but none for a discard

A disk with a volatile cache promises only that what was completed before a flush is there after it. So a cut
leaves everything up to the last flush, and of what came since any part: whole writes, halves, or nothing.
"""

from __future__ import annotations

import contextlib
import enum
import os
import random
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry_lab import holes
from skerry_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

MAGIC = 0x6A736677736872
VERSION = 1
SUPER = struct.Struct("<QQQI")
ENTRY = struct.Struct("<QQQQ")
SECTOR_BYTES = 512
TORN_SHARE = 0.2


class Flag(enum.IntFlag):
    FLUSH = 1
    FUA = 2
    DISCARD = 4
    MARK = 8


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes that went to the disk at `start`; `data_at` is where the log has them, None for a discard."""

    start: int
    length: int
    data_at: int | None
    durable: bool = False

    @property
    def end(self) -> int:
        return self.start + self.length

    def torn(self, length: int) -> Write:
        """Only its first `length` bytes."""
        return Write(self.start, length, self.data_at, self.durable)


@dataclass(frozen=True, slots=True)
class Epoch:
    """What was written between two flushes."""

    number: int
    writes: tuple[Write, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """One moment at which the power may fail: all epochs before `epoch`, and of that one `writes`."""

    epoch: int
    kind: str
    writes: tuple[Write, ...] = ()


def read(path: Path) -> tuple[Epoch, ...]:
    """The epochs of a recording; the last one was never flushed. Raises LabError where it is none."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(SUPER.size)
        if len(head) < SUPER.size:
            raise LabError(f"{path} is no log of writes: it has {size} bytes")
        magic, version, _, sector = SUPER.unpack(head)
        if magic != MAGIC or version != VERSION:
            raise LabError(f"{path} is no log of writes of version {VERSION}")
        return tuple(_epochs(_entries(file.fileno(), size, sector)))


def cuts(epochs: Sequence[Epoch], *, seed: int, sampled: int) -> Iterator[Cut]:
    """Every flush boundary, and `sampled` states between them, spread over the epochs by their bytes.

    In the order of the epochs, so that one replay meets them all. The same seed gives the same cuts.
    """
    chance = random.Random(seed)  # noqa: S311 - which cuts are looked at is no secret
    candidates = [epoch.number for epoch in epochs if epoch.writes]
    # The square root: the many small epochs, where the order matters, against the few large ones.
    weights = [sum(w.length for w in epochs[number].writes) ** 0.5 for number in candidates]
    chosen = sorted(chance.choices(candidates, weights, k=sampled)) if candidates else []
    at = 0
    for epoch in epochs:
        yield Cut(epoch.number, "flushed")
        while at < len(chosen) and chosen[at] == epoch.number:
            yield _between(epoch, chance)
            at += 1
    yield Cut(len(epochs), "flushed")


def _between(epoch: Epoch, chance: random.Random) -> Cut:
    """A state inside an epoch. Writes of one sector keep their order: no disk turns that round."""
    writes = epoch.writes
    if chance.random() < 0.5:
        kept = list(writes[: chance.randint(0, len(writes) - 1) + 1])
        kind = "torn"
    else:
        share = chance.choice((0.1, 0.5, 0.9))
        kept = [write for write in writes if write.durable or chance.random() < share]
        kind = "reordered"
    last = len(kept) - 1
    for number, write in enumerate(kept):
        # The one that was under way; of those that the disk holds back and sorts, any.
        if not write.durable and (number == last or (kind == "reordered" and chance.random() < TORN_SHARE)):
            kept[number] = write.torn(chance.randint(0, write.length // SECTOR_BYTES) * SECTOR_BYTES)
    return Cut(epoch.number, kind, tuple(kept))


class Replay:
    """A disk on its way through a recording. `touched` is told of every range of bytes that changes."""

    def __init__(self, disk: Path, log: Path, touched: Callable[[int, int], None]) -> None:
        self.disk = disk
        self.epochs = read(log)
        self.at = 0
        self._log = log.open("rb")
        self._disk = disk.open("r+b", buffering=0)
        self._touched = touched

    def close(self) -> None:
        self._log.close()
        self._disk.close()

    def go(self, epoch: int) -> None:
        """Carry out all epochs before this one."""
        while self.at < epoch:
            for write in self.epochs[self.at].writes:
                self._apply(write)
            self.at += 1

    @contextlib.contextmanager
    def trial(self, writes: Sequence[Write]) -> Iterator[None]:
        """The disk with these writes on it, undone in the end."""
        undo: list[tuple[Write, list[tuple[int, bytes]]]] = []
        try:
            for write in writes:
                disk = self._disk.fileno()
                kept = [
                    (at, os.pread(disk, length, at))
                    for at, length in holes.data(disk, write.start, write.end)
                ]
                undo.append((write, kept))
                self._apply(write)
            yield
        finally:
            for write, kept in reversed(undo):
                holes.clear(self._disk.fileno(), write.start, write.length)
                for start, data in kept:
                    os.pwrite(self._disk.fileno(), data, start)
                self._touched(write.start, write.end)

    @contextlib.contextmanager
    def damaged(self, places: Sequence[tuple[int, bytes]]) -> Iterator[None]:
        """The disk with other bytes at some places, put right in the end."""
        disk = self._disk.fileno()
        kept = [(start, os.pread(disk, len(data), start)) for start, data in places]
        try:
            self._put(places)
            yield
        finally:
            self._put(kept)

    def _put(self, places: Sequence[tuple[int, bytes]]) -> None:
        for start, data in places:
            os.pwrite(self._disk.fileno(), data, start)
            self._touched(start, start + len(data))

    def _apply(self, write: Write) -> None:
        if write.data_at is None:
            holes.clear(self._disk.fileno(), write.start, write.length)
        else:
            for done in range(0, write.length, holes.COPY_BYTES):
                length = min(holes.COPY_BYTES, write.length - done)
                data = os.pread(self._log.fileno(), length, write.data_at + done)
                os.pwrite(self._disk.fileno(), data, write.start + done)
        self._touched(write.start, write.end)


def _entries(file: int, size: int, sector: int) -> Iterator[tuple[Flag, Write]]:
    at = sector
    while at + sector <= size:
        number, count, flags, data_length = ENTRY.unpack(os.pread(file, ENTRY.size, at))
        flag = Flag(flags)
        if not count and not flags:
            return  # an entry without anything: the log was made larger than it is full
        at += sector * (1 + -(-data_length // sector))
        data_at = None if Flag.DISCARD in flag else at
        if data_at is not None:
            at += count * sector
        if at > size:
            return  # the recorder was killed while it wrote this one
        yield flag, Write(number * sector, count * sector, data_at, durable=Flag.FUA in flag)


def _epochs(entries: Iterator[tuple[Flag, Write]]) -> Iterator[Epoch]:
    number, writes = 0, list[Write]()
    for flag, write in entries:
        if Flag.FLUSH in flag:  # it covers what was completed before, not its own data
            if writes:
                yield Epoch(number, tuple(writes))
                number, writes = number + 1, []
            if not write.length:
                continue
        if Flag.MARK not in flag:
            writes.append(write)
    yield Epoch(number, tuple(writes))
