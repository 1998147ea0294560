"""The effects of a merge on a disk, one method each: what tests replace to stop between any two of them.

No name is followed where it is a link; what is made gets its owner before its mode, since changing an
owner takes set-user-ID away.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from typing import TYPE_CHECKING

from skerry.host.etc.scan import look
from skerry.host.etc.tree import Entry, Kind

if TYPE_CHECKING:
    from pathlib import Path

_UNSUPPORTED = {errno.ENOTSUP, errno.EPERM, errno.EACCES}


class Hands:
    """The real ones."""

    def place(self, place: Path, entry: Entry, data: bytes = b"") -> list[str]:
        """Make one path that is not there yet, all attributes included; what could not be set is returned."""
        if entry.kind is Kind.DIRECTORY:
            place.mkdir(mode=0o700)
        elif entry.kind is Kind.LINK:
            os.symlink(entry.content, place)  # noqa: PTH211 - a Path would tidy where it leads
        elif entry.kind is Kind.FILE:
            descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
        else:
            form, major, minor = map(int, entry.content.split())
            os.mknod(place, form | 0o600, os.makedev(major, minor))
        return self.dress(place, entry)

    def dress(self, place: Path, entry: Entry) -> list[str]:
        """Set owner, extended attributes and mode of what stands there."""
        status = place.lstat()
        if (status.st_uid, status.st_gid) != (entry.uid, entry.gid):
            os.chown(place, entry.uid, entry.gid, follow_symlinks=False)
        unset = []
        for name, value in entry.xattrs:
            try:
                os.setxattr(place, name, value, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
                unset.append(name)
        if entry.kind is not Kind.LINK:
            place.chmod(entry.mode)
        return unset

    def copy(self, source: Path, goal: Path) -> None:
        """Copy a whole tree to a name that is not there."""
        for directory, names, files in os.walk(source):
            here = goal / os.path.relpath(directory, source)
            self.place(here, look(directory))
            for name in [*files, *(n for n in names if os.path.islink(f"{directory}/{n}"))]:  # noqa: PTH114
                entry = look(f"{directory}/{name}")
                data = b"" if entry.kind is not Kind.FILE else _read(f"{directory}/{name}")
                self.place(here / name, entry, data)

    def rename(self, source: Path, goal: Path) -> None:
        source.rename(goal)

    def remove(self, place: Path) -> None:
        """Remove what stands there, with all below it; nothing there is fine."""
        with contextlib.suppress(FileNotFoundError):
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            else:
                place.unlink()

    def write(self, place: Path, data: bytes) -> None:
        """A small file of ours, whole or not at all."""
        from skerry.kit.files import write_atomic

        write_atomic(place, data)

    def sync(self) -> None:
        """Everything that was done is on the disk when this returns."""
        os.sync()


def _read(place: str) -> bytes:
    with open(place, "rb") as file:  # noqa: PTH123 - names of any bytes
        return file.read()
