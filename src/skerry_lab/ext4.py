"""The data partition of a disk image as the next boot would find it: recovered by e2fsck, read by debugfs.

Works on a copy of the partition that follows the disk in steps as small as the changes, and undoes what
e2fsck did before the next look. So a look costs some 20 ms, not a copy of the partition.
"""

from __future__ import annotations

import contextlib
import shlex
from typing import TYPE_CHECKING

from skerry.kit.run import run
from skerry_lab import holes
from skerry_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from skerry.kit.run import Completed

UNREADABLE = 8  # e2fsck(8): it could not do its work
MENDED = 1  # e2fsck(8): errors were found, all of them corrected
BLOCK_BYTES = 4096
COPY_OF_SUPERBLOCK = ("-b", "32768", "-B", "4096")  # as in os/initrd/init


class Ext4Error(LabError):
    """The file system cannot be recovered without a person."""


class Ext4Copy:
    """A copy of the bytes `start`…`start + size` of a disk, in a directory of its own.

    `e2fsck` is how the host's own is started: others, older or newer, leave other things undone.
    """

    def __init__(
        self, disk: Path, start: int, size: int, directory: Path, e2fsck: Sequence[str] = ("e2fsck",)
    ) -> None:
        self._e2fsck = tuple(e2fsck)
        self._disk = disk
        self._start, self._size = start, size
        self._copy = directory / "data"
        self._undo = directory / "undo"
        with self._copy.open("wb") as file:
            file.truncate(size)
        self._differs: list[tuple[int, int]] = [(start, start + size)]
        self.changed = True  # the disk, since the last look

    def touched(self, start: int, end: int) -> None:
        """Remember that these bytes of the disk changed."""
        start, end = max(start, self._start), min(end, self._start + self._size)
        if start < end:
            self._differs.append((start, end))
            self.changed = True

    @contextlib.contextmanager
    def recovered(self) -> Iterator[Path]:
        """The file system after what os/initrd/init does to it at every boot. Raises Ext4Error."""
        self._follow()
        self.changed = False
        self._undo.unlink(missing_ok=True)
        try:
            self._recover()
            yield self._copy
        finally:
            if self._undo.exists():
                run(["e2undo", "-f", str(self._undo), str(self._copy)], timeout_s=120)
            # It does not record the mark of a file system in use, which is in the first block.
            self._differs.append((self._start, self._start + BLOCK_BYTES))

    def _recover(self) -> None:
        done = self._check("-p", "-z", str(self._undo))
        if done.status > MENDED:
            # It may have left half a record of what it did: all is copied anew.
            self._undo.unlink(missing_ok=True)
            self._differs.append((self._start, self._start + self._size))
        if done.status >= UNREADABLE:
            self._check("-p", *COPY_OF_SUPERBLOCK)
            done = self._check("-f", "-p")
        if done.status <= MENDED:
            # More than the boot does: what passed for clean must be so in every part.
            done = self._check("-f", "-n")
        if done.status:
            raise Ext4Error(f"e2fsck ended with {done.status}: {done.text.strip()[-500:]}")

    def _check(self, *options: str) -> Completed:
        return run([*self._e2fsck, *options, str(self._copy)], timeout_s=120, check=False)

    def _follow(self) -> None:
        with self._disk.open("rb") as source, self._copy.open("r+b") as target:
            for start, end in _joined(self._differs):
                holes.clear(target.fileno(), start - self._start, end - start)
                holes.copy(source.fileno(), target.fileno(), start, end, to=start - self._start)
        self._differs = []


def dump(image: Path, wanted: Mapping[str, Path]) -> set[str]:
    """Copy files, by their paths, out of a file system; the paths that there are."""
    for target in wanted.values():
        target.unlink(missing_ok=True)
    lines = (f"dump {shlex.quote(path)} {shlex.quote(str(target))}" for path, target in wanted.items())
    _debugfs(image, "\n".join(lines))
    return {path for path, target in wanted.items() if target.exists()}


def dump_tree(image: Path, path: str, target: Path) -> None:
    """Copy a folder, with all that is in it, to below `target`."""
    _debugfs(image, f"rdump {shlex.quote(path)} {shlex.quote(str(target))}")


def names(image: Path, path: str) -> list[str]:
    """What is in a folder; nothing where there is no such folder."""
    said = _debugfs(image, f"ls -p {shlex.quote(path)}")
    # /inode/mode/uid/gid/name/size/
    found = [line.split("/")[5] for line in said.splitlines() if line.count("/") >= 7]
    return sorted(name for name in found if name not in {".", ".."})


def _debugfs(image: Path, commands: str) -> str:
    return run(["debugfs", "-f", "-", str(image)], stdin=f"{commands}\n".encode(), timeout_s=120).text


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same ranges, those that touch put together."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
