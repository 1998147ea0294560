"""Where a part is written: in order, at most 1 MiB at a time, hashed on the way, and not one byte too many.

What stands in a slot before `finish` returned is worth nothing; whoever owns the slot makes sure that nothing
boots from it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING

from skerry.image.content import verity
from skerry.image.content.errors import DeviceError, MismatchError, NoRoomError
from skerry.kit.progress import Phase, Progress, Reporter, silent

if TYPE_CHECKING:
    from skerry.image.release.manifest import Part

WRITE_BYTES = 1 << 20


class Sink:
    """Takes a part's raw bytes. `hashes` is the descriptor of its hash device, where it has one."""

    def __init__(self, part: Part, target: int, hashes: int | None = None, report: Reporter = silent) -> None:
        self._part = part
        self._target = target
        self._hashes = hashes
        self._report = report
        self._at = 0
        self._pending = bytearray()
        self._digest = hashlib.sha256()
        self._hasher = None if part.verity is None else verity.Hasher(bytes.fromhex(part.verity.salt))
        _room(part, target)

    def write(self, data: bytes | memoryview) -> None:
        """Take what follows. Raises MismatchError, DeviceError."""
        view = memoryview(data)
        while view:
            taken = view[: WRITE_BYTES - len(self._pending)]
            self._pending += taken
            view = view[len(taken) :]
            if len(self._pending) == WRITE_BYTES:
                self._flush()

    def finish(self) -> None:
        """Write the rest and the hash tree. Raises MismatchError where it is not what was signed."""
        self._flush()
        if self._at != self._part.size or self._digest.hexdigest() != self._part.sha256:
            raise MismatchError(f"{self._part.name} did not come out as it was signed")
        if self._hasher is not None and self._part.verity is not None and self._hashes is not None:
            _write_at(self._hashes, verity.make(self._hasher, self._part.verity), 0)
        self._report(Progress(f"write {self._part.name}", Phase.DONE, self._at, self._part.size))

    def _flush(self) -> None:
        if self._at + len(self._pending) > self._part.size:
            raise MismatchError(f"{self._part.name} comes out larger than it was signed")
        data = bytes(self._pending)
        self._digest.update(data)
        if self._hasher is not None:
            self._hasher.update(data)
        _write_at(self._target, data, self._at)
        self._at += len(data)
        self._pending.clear()
        self._report(Progress(f"write {self._part.name}", Phase.ADVANCED, self._at, self._part.size))


def _write_at(descriptor: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    try:
        while view:
            written = os.pwrite(descriptor, view[:WRITE_BYTES], at)
            at += written
            view = view[written:]
    except OSError as error:
        raise DeviceError(
            f"the slot cannot be written: {error.strerror}", hint="`journalctl -k` tells what the disk said"
        ) from error


def _room(part: Part, target: int) -> None:
    """A device has a size; a file grows."""
    if stat.S_ISBLK(os.fstat(target).st_mode):
        room = os.lseek(target, 0, os.SEEK_END)
        if room < part.size:
            raise NoRoomError(
                f"the slot has {room >> 20} MiB, and {part.name} needs {-(-part.size >> 20)} MiB",
                hint="slots never grow: this release needs a disk that was made larger",
            )
