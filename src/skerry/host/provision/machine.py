"""The machine as a plan needs to see it: one frozen snapshot of only what the document names.

Paths are looked up inside a root directory, so that a tree that is not running can be provisioned too;
links on the way are followed as that root would, and never lead out of it.
"""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from skerry.host.provision.config import CloudConfig

BLOCK_BEGIN = "# skerry: keys from the cloud-config begin; what stands up to the end is written anew"
BLOCK_END = "# skerry: keys from the cloud-config end"
_MOST_LINKS = 40
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class FileState:
    """What stands at a path. `digest` is the SHA-256 of a regular file, `target` where a link points."""

    digest: str | None = None
    target: str | None = None
    mode: int = 0
    owner: tuple[int, int] = (0, 0)
    text: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Account:
    uid: int
    gid: int
    home: str
    hash: str = field(default="", repr=False)
    keys: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Applied:
    """What a run that came to its end recorded: of which document, in which boot, and what failed."""

    sha256: str
    boot_id: str
    failed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Machine:
    """A snapshot. `files` holds a state, or None, for every path that the document names."""

    boot_id: str = ""
    hostname: str = ""
    files: Mapping[str, FileState | None] = field(default_factory=dict)
    accounts: Mapping[str, Account] = field(default_factory=dict)
    groups: Mapping[str, int] = field(default_factory=dict)
    shells: frozenset[str] = frozenset()
    enabled: frozenset[str] = frozenset()
    applied: Applied | None = None


def observe(
    config: CloudConfig,
    paths: Iterable[str],
    root: Path,
    *,
    live: bool,
    applied: Applied | None,
    texts: Iterable[str] = (),
) -> Machine:
    """Look at `paths` and all that `config` names; of `texts` the content is read too."""
    wanted_texts = set(texts)
    files = {p: look(root, p, with_text=p in wanted_texts) for p in {*paths, *wanted_texts}}
    accounts = _accounts(root, {"root", "core"} | {u.name for u in config.users})
    hostname = look(root, "/etc/hostname", with_text=True)
    shells = {u.shell or "/bin/bash" for u in config.users} | {"/bin/bash"}
    return Machine(
        boot_id=_BOOT_ID.read_text().strip() if live else "",
        hostname=(hostname.text or "").strip() if hostname else "",
        files=files,
        accounts=accounts,
        groups={row[0]: int(row[2]) for row in _table(root, "/etc/group", 4) if row[2].isdecimal()},
        shells=frozenset(s for s in shells if look(root, s) is not None),
        enabled=_enabled(root),
        applied=applied,
    )


def inside(root: Path, path: str) -> Path:
    """Where `path` is in the root: every link but one at the very end is followed within the root."""
    real = PurePosixPath("/")
    todo = [part for part in PurePosixPath(path).parts if part != "/"]
    links = 0
    while todo:
        part = todo.pop(0)
        if part == "..":
            real = real.parent
            continue
        here = root / str(real / part).lstrip("/")
        if todo and here.is_symlink():
            links += 1
            if links > _MOST_LINKS:
                raise OSError(40, "too many symbolic links", path)
            target = PurePosixPath(here.readlink())
            todo = [p for p in target.parts if p != "/"] + todo
            if target.is_absolute():
                real = PurePosixPath("/")
            continue
        real /= part
    return root / str(real).lstrip("/")


def look(root: Path, path: str, *, with_text: bool = False) -> FileState | None:
    """What stands at a path; None where nothing does, or where it cannot be reached."""
    try:
        place = inside(root, path)
        found = place.lstat()
        if stat.S_ISLNK(found.st_mode):
            return FileState(target=str(place.readlink()))
        mode, owner = stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid)
        if not stat.S_ISREG(found.st_mode):
            return FileState(mode=mode, owner=owner)
        data = place.read_bytes()
    except OSError:
        return None
    text = data.decode(errors="replace") if with_text else None
    return FileState(hashlib.sha256(data).hexdigest(), None, mode, owner, text)


def managed_keys(text: str) -> tuple[str, ...]:
    """The keys in our block of an authorized_keys file."""
    lines = text.splitlines()
    if BLOCK_BEGIN not in lines or BLOCK_END not in lines:
        return ()
    return tuple(lines[lines.index(BLOCK_BEGIN) + 1 : lines.index(BLOCK_END)])


def _table(root: Path, path: str, fields: int) -> list[list[str]]:
    state = look(root, path, with_text=True)
    lines = (state.text or "").splitlines() if state else []
    rows = [line.split(":") for line in lines]
    return [row for row in rows if len(row) >= fields]


def _accounts(root: Path, wanted: set[str]) -> dict[str, Account]:
    hashes = {row[0]: row[1] for row in _table(root, "/etc/shadow", 2)}
    found = {}
    for row in _table(root, "/etc/passwd", 7):
        name, uid, gid, home = row[0], row[2], row[3], row[5]
        if not (uid.isdecimal() and gid.isdecimal()):
            continue
        file = look(root, f"{home}/.ssh/authorized_keys", with_text=True) if name in wanted else None
        keys = managed_keys(file.text or "") if file else ()
        found[name] = Account(int(uid), int(gid), home, hashes.get(name, ""), keys)
    return found


def _enabled(root: Path) -> frozenset[str]:
    """The units that some target, or another name, links to."""
    found = set()
    for directory in ("etc/systemd/system", "run/systemd/system"):
        for link in (root / directory).glob("*.*/*"):
            if link.is_symlink() and link.parent.suffix in (".wants", ".requires", ".upholds"):
                found.add(link.name)
        for link in (root / directory).glob("*.*"):
            if link.is_symlink() and (target := link.readlink().name) not in ("null", link.name):
                found.add(target)
    return frozenset(found)
