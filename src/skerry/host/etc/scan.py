"""Reads a tree: from a directory, or from a tar archive of which nothing is trusted.

Links are never followed, so that nothing outside is read. An archive is refused as a whole where a member
leads out of it, is a device, or where it holds more than any /etc does.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from typing import TYPE_CHECKING

from skerry.host.etc.errors import ArchiveError, EtcError
from skerry.host.etc.tree import Entry, Kind, Tree, join, parent, shown

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

MOST_FILES = 100_000
MOST_BYTES = 128 << 20
_XATTR = "SCHILY.xattr."
_NO_XATTRS = {errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.ENODATA}


def scan_directory(root: Path) -> Tree:
    """The tree in a directory. Raises EtcError where it cannot be read."""
    base = os.fspath(root)
    entries: dict[str, Entry] = {}
    try:
        for path in _walk(base):
            entries[path] = look(os.path.join(base, path) if path else base)  # noqa: PTH118 - names of any bytes
    except PermissionError as error:
        raise EtcError(f"only root may read all of {root}", hint="use sudo") from error
    except OSError as error:
        raise EtcError(f"{root} cannot be read: {error.strerror}: {shown(str(error.filename))}") from error
    return Tree(entries, lambda path: read_file(f"{base}/{path}"))


def _walk(base: str, path: str = "") -> Iterator[str]:
    yield path
    with os.scandir(f"{base}/{path}" if path else base) as found:
        listed = sorted(found, key=lambda entry: entry.name)
    for entry in listed:
        below = join(path, entry.name)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(base, below)
        else:
            yield below


def look(place: str) -> Entry:
    """What stands at a place of the file system, itself and not where it leads. Raises OSError."""
    status = os.lstat(place)
    mode, uid, gid = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
    xattrs = _xattrs(place)
    if stat.S_ISDIR(status.st_mode):
        return Entry(Kind.DIRECTORY, mode, uid, gid, xattrs=xattrs)
    if stat.S_ISLNK(status.st_mode):
        leads_to = os.readlink(place)  # noqa: PTH115 - a Path would tidy it
        return Entry(Kind.LINK, 0, uid, gid, leads_to, xattrs=xattrs)
    if stat.S_ISREG(status.st_mode):
        data = read_file(place)
        return Entry(Kind.FILE, mode, uid, gid, hashlib.sha256(data).hexdigest(), len(data), xattrs)
    number = status.st_rdev
    what = f"{stat.S_IFMT(status.st_mode)} {os.major(number)} {os.minor(number)}"
    return Entry(Kind.OTHER, mode, uid, gid, what, xattrs=xattrs)


def read_file(place: str) -> bytes:
    """A regular file's content; a link is refused. Raises OSError."""
    descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _xattrs(place: str) -> tuple[tuple[str, bytes], ...]:
    try:
        names = sorted(os.listxattr(place, follow_symlinks=False))
        return tuple((name, os.getxattr(place, name, follow_symlinks=False)) for name in names)
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return ()
        raise


def scan_tar(file: IO[bytes]) -> Tree:
    """The tree in a tar archive; where all stands below `etc`, that is the tree. Raises ArchiveError."""
    import tarfile  # only a preview reads archives

    entries: dict[str, Entry] = {}
    contents: dict[str, bytes] = {}
    room = MOST_BYTES
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if len(entries) >= MOST_FILES:
                    raise ArchiveError(f"the archive of defaults holds more than {MOST_FILES} files")
                path = _safe(member.name)
                entry = _entry(member)
                contents.pop(path, None)
                if member.isreg() or member.islnk():
                    data = _content(archive, member, contents, room)
                    room -= len(data)
                    contents[path] = data
                    digest = hashlib.sha256(data).hexdigest()
                    entry = Entry(
                        Kind.FILE, entry.mode, entry.uid, entry.gid, digest, len(data), entry.xattrs
                    )
                entries[path] = entry
    except tarfile.TarError as error:
        raise ArchiveError(f"the archive of defaults cannot be read: {error}") from error
    return _complete(entries, contents)


def _safe(name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise ArchiveError(f"the archive of defaults holds {shown(name)!r}, which leads out of it")
    return "/".join(parts)


def _entry(member: tarfile.TarInfo) -> Entry:
    mode, uid, gid = member.mode & 0o7777, member.uid, member.gid
    xattrs = tuple(
        sorted(
            (key.removeprefix(_XATTR), value.encode(errors="surrogateescape"))
            for key, value in member.pax_headers.items()
            if key.startswith(_XATTR)
        )
    )
    if member.isdir():
        return Entry(Kind.DIRECTORY, mode, uid, gid, xattrs=xattrs)
    if member.issym():
        return Entry(Kind.LINK, 0, uid, gid, member.linkname, xattrs=xattrs)
    if member.isreg() or member.islnk():
        return Entry(Kind.FILE, mode, uid, gid, xattrs=xattrs)
    raise ArchiveError(f"the archive of defaults holds a special file, {shown(member.name)!r}")


def _content(
    archive: tarfile.TarFile, member: tarfile.TarInfo, contents: dict[str, bytes], room: int
) -> bytes:
    if member.islnk():
        target = _safe(member.linkname)
        if target not in contents:
            raise ArchiveError(f"the archive of defaults links {shown(member.name)!r} to a file it has not")
        data = contents[target]
    else:
        if member.size > room:
            raise ArchiveError(f"the archive of defaults holds more than {MOST_BYTES >> 20} MiB")
        opened = archive.extractfile(member)
        data = b"" if opened is None else opened.read()
    if len(data) > room:
        raise ArchiveError(f"the archive of defaults holds more than {MOST_BYTES >> 20} MiB")
    return data


def _complete(entries: dict[str, Entry], contents: dict[str, bytes]) -> Tree:
    """Directories that the archive leaves unsaid are root's, 0755; nothing may stand below a file."""
    for path in list(entries):
        while path:
            path = parent(path)
            if entries.setdefault(path, Entry(Kind.DIRECTORY, 0o755)).kind is not Kind.DIRECTORY:
                raise ArchiveError(f"the archive of defaults has files below {shown(path)!r}, no directory")
    if entries.setdefault("", Entry(Kind.DIRECTORY, 0o755)).kind is not Kind.DIRECTORY:
        raise ArchiveError("the archive of defaults is not of a directory")
    if _is_directory(entries.get("etc")) and all(
        path.startswith("etc/") for path in entries if path not in ("", "etc")
    ):
        entries = {path[4:]: entry for path, entry in entries.items() if path}
        contents = {path[4:]: data for path, data in contents.items()}
    return Tree(entries, contents.__getitem__)


def _is_directory(entry: Entry | None) -> bool:
    return entry is not None and entry.kind is Kind.DIRECTORY
