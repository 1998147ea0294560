"""Carries out one step: the only place of provisioning that changes a machine.

With a root directory other than / the tree in it is changed and nothing that runs is touched: commands
and reloads are left to its next boot. Accounts are made by useradd and its kin, which know shadow files,
/etc/skel and subordinate ids. Passwords go to chpasswd through its input, never into an argument.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from skerry.host.provision.errors import StepError
from skerry.host.provision.machine import BLOCK_BEGIN, BLOCK_END, inside
from skerry.host.provision.steps import (
    AddGroup,
    AddUser,
    AnyStep,
    CommandUnit,
    EnableUnit,
    MakeLink,
    ReloadManager,
    RemoveLink,
    SetHostname,
    SetKeys,
    SetPassword,
    WriteFile,
)
from skerry.kit.errors import SkerryError
from skerry.kit.files import sync_directory, write_atomic
from skerry.kit.run import run

Runner: TypeAlias = Callable[[Sequence[str], "bytes | None"], None]
PROGRAM_S = 30


def start_program(argv: Sequence[str], stdin: bytes | None = None) -> None:
    """The real runner. Raises ProgramError."""
    run(argv, stdin=stdin, timeout_s=PROGRAM_S)


@dataclass(frozen=True, slots=True)
class Target:
    """What is changed: the running machine, or a tree that is not running."""

    root: Path = Path("/")
    live: bool = True
    start: Runner = start_program
    set_hostname: Callable[[str], None] = socket.sethostname

    def path(self, path: str) -> Path:
        return inside(self.root, path)


def carry_out(step: AnyStep, target: Target) -> None:
    """Do it. Raises StepError with a sentence that shows no secret."""
    try:
        _do(step, target)
    except StepError:
        raise
    except SkerryError as error:
        raise StepError(f"could not {step.what}: {error.message}", hint=error.hint) from error
    except OSError as error:
        raise StepError(f"could not {step.what}: {error.strerror}") from error


def _do(step: AnyStep, target: Target) -> None:
    prefix = [] if target.live else ["--prefix", str(target.root)]
    match step:
        case SetHostname():
            write_atomic(target.path("/etc/hostname"), f"{step.name}\n")
            if target.live:
                target.set_hostname(step.name)
        case AddGroup():
            target.start(["groupadd", *prefix, "--system", step.name], None)
        case AddUser():
            target.start(["useradd", *prefix, *step.options, step.name], None)
        case SetPassword():
            # Debian 12's knows no --prefix yet, and with --encrypted it needs nothing of the tree.
            root = [] if target.live else ["--root", str(target.root)]
            target.start(["chpasswd", *root, "--encrypted"], f"{step.user}:{step.hash}\n".encode())
        case SetKeys():
            _set_keys(step, target)
        case WriteFile():
            _write(step, target)
        case MakeLink():
            _link(step, target)
        case RemoveLink():
            place = target.path(step.path)
            place.unlink(missing_ok=True)
            sync_directory(place.parent)
        case EnableUnit():
            tree = [] if target.live else [f"--root={target.root}"]
            runtime = ["--runtime"] if step.runtime else []
            target.start(["systemctl", *tree, "--quiet", "--no-reload", *runtime, "enable", step.name], None)
        case ReloadManager() if target.live:
            target.start(["systemctl", "daemon-reload"], None)
        case CommandUnit() if target.live:
            target.start(["systemctl", "--quiet", "--no-block", step.command, step.name], None)
        case _:
            pass  # for the next boot of the tree


def _write(step: WriteFile, target: Target) -> None:
    place = target.path(step.path)
    if place.is_dir() and not place.is_symlink():
        raise StepError(f"could not {step.what}: a directory stands there")
    _make_directories(place.parent, target, step.path)
    owner = (0, 0) if step.owner is None else _owner(step.owner, target)
    write_atomic(place, step.data, mode=step.mode, owner=owner if os.geteuid() == 0 else None)


def _make_directories(directory: Path, target: Target, path: str) -> None:
    """The directories above a file, 0755 and root's; links are followed already."""
    parts = directory.relative_to(target.root).parts
    if parts[:1] == ("usr",):
        raise StepError(f"could not write {path}: it leads into the read-only /usr")
    for depth in range(1, len(parts) + 1):
        here = target.root.joinpath(*parts[:depth])
        if not here.exists():
            here.mkdir(mode=0o755)
            here.chmod(0o755)


def _owner(owner: str, target: Target) -> tuple[int, int]:
    name, _, group = owner.partition(":")
    uid = int(name) if name.isdecimal() else int(_entry("/etc/passwd", name, "user", target)[2])
    if not group:
        return uid, 0
    return uid, int(group) if group.isdecimal() else int(_entry("/etc/group", group, "group", target)[2])


def _entry(path: str, name: str, kind: str, target: Target) -> list[str]:
    rows = (line.split(":") for line in target.path(path).read_text(errors="replace").splitlines())
    found = next((row for row in rows if row[0] == name), None)
    if found is None:
        raise StepError(f"there is no {kind} {name}", hint=f"a {kind} of the document is made before files")
    return found


def _link(step: MakeLink, target: Target) -> None:
    place = target.path(step.path)
    goal = PurePosixPath(step.path).parent / step.target
    if step.needs_target and not target.path(str(goal)).exists():
        raise StepError(f"could not {step.what}: this image does not have it")
    if place.is_dir() and not place.is_symlink():
        raise StepError(f"could not {step.what}: a directory stands there")
    _make_directories(place.parent, target, step.path)
    new = place.with_name(f".{place.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(step.target)
    new.replace(place)
    sync_directory(place.parent)


def _set_keys(step: SetKeys, target: Target) -> None:
    entry = _entry("/etc/passwd", step.user, "user", target)
    uid, gid, home = int(entry[2]), int(entry[3]), entry[5]
    place = target.path(f"{home}/.ssh/authorized_keys")
    above = place.parent
    if not above.parent.exists():
        _make_directories(above.parent, target, str(place))
        os.chown(above.parent, uid, gid)
    if above.is_symlink() or target.path(f"{home}/.ssh").is_symlink() or place.is_symlink():
        raise StepError(f"could not {step.what}: {home}/.ssh or its file is a symbolic link")
    if not above.exists():
        above.mkdir(mode=0o700)
        os.chown(above, uid, gid)
    before = ""
    if place.exists():
        if not stat.S_ISREG(place.lstat().st_mode):
            raise StepError(f"could not {step.what}: authorized_keys is not a file")
        before = place.read_text(errors="surrogateescape")
    after = _with_block(before, step.keys).encode(errors="surrogateescape")
    write_atomic(place, after, mode=0o600, owner=(uid, gid))


def _with_block(text: str, keys: Sequence[str]) -> str:
    """The file with our block of keys, where it was before or else at the end."""
    lines = text.splitlines()
    at = len(lines)
    if BLOCK_BEGIN in lines and BLOCK_END in lines:
        at = lines.index(BLOCK_BEGIN)
        del lines[at : lines.index(BLOCK_END) + 1]
    block = [BLOCK_BEGIN, *keys, BLOCK_END] if keys else []
    return "\n".join([*lines[:at], *block, *lines[at:]]) + "\n"
