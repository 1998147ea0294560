"""Runs programs of the tools tree in namespaces of their own, as root there and as nobody special here.

Where we are not root, `unshare` gives a user namespace with the user's subordinate ids, so that files of
every owner can be made. bubblewrap gives the mounts: the tools tree read-only as /, directories as asked,
a /tree in memory, no network. Everything ends with the program; nothing is ever mounted outside.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.image.compose.errors import ComposeError
from skerry.kit.run import Completed, run

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCE = Path(__file__).parents[3]  # the directory that holds the package: /skerry inside
MOUNT_POINTS = ("in", "out", "tree", "skerry", "files")
PYTHON = ("/usr/bin/python3", "-I", "-B", "-c")


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or directory of ours and where the program sees it."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Sandbox:
    """`tools`: the tree that is / inside."""

    tools: Path

    def run(
        self,
        argv: Sequence[str],
        *,
        binds: Sequence[Bind] = (),
        timeout_s: float = 300,
        env: dict[str, str] | None = None,
        stdin: bytes | None = None,
    ) -> Completed:
        """Run one program. Raises ProgramError where it fails, ComposeError where there can be no sandbox."""
        command = [*identity_prefix(), "bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc"]
        command += ["--die-with-parent", "--cap-add", "ALL", "--ro-bind", str(self.tools), "/"]
        command += ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", "/run"]  # noqa: S108
        command += [word for name in ("/tree", "/in", "/files") for word in ("--tmpfs", name)] + [
            "--chdir",
            "/",
        ]
        for bind in binds:
            command += ["--bind" if bind.writable else "--ro-bind", str(bind.source), bind.target]
        return run([*command, "--", *argv], timeout_s=timeout_s, env=env, stdin=stdin)

    def run_inside(self, module: str, *, binds: Sequence[Bind], timeout_s: float = 300) -> Completed:
        """Run `main()` of one of our own modules with the tools tree's interpreter."""
        code = f"import sys; sys.path.insert(0, '/skerry'); from {module} import main; main()"
        return self.run([*PYTHON, code], binds=[Bind(SOURCE, "/skerry"), *binds], timeout_s=timeout_s)


def clear(directory: Path) -> None:
    """Remove a directory if it is there, with what programs inside made as owners that are not us.

    Raises ComposeError where something is mounted in it: that would be emptied too, and may be /dev.
    """
    mounted = mounts_below(directory.resolve(), Path("/proc/self/mountinfo").read_bytes())
    if mounted:
        raise ComposeError(
            f"{directory} is not removed: {mounted[0]} is mounted", hint=f"umount {' '.join(mounted)}"
        )
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        run([*identity_prefix(), "rm", "-rf", "--", str(directory)])


def mounts_below(directory: Path, mountinfo: bytes) -> list[str]:
    """What is mounted on or below a directory, see proc_pid_mountinfo(5): field 5, blanks in octal."""
    fields = (line.split()[4] for line in mountinfo.splitlines())
    plain = (re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), field) for field in fields)
    return [point for point in map(os.fsdecode, plain) if Path(point).is_relative_to(directory)]


def identity_prefix(user: int | None = None) -> list[str]:
    """What gives a user (None: us) who is not root all the ids a tree needs; nothing for root."""
    if (os.geteuid() if user is None else user) == 0:
        return []
    if shutil.which("newuidmap") is None:
        raise ComposeError("newuidmap is missing", hint="install the package uidmap, or build as root")
    return ["unshare", "--user", "--map-auto", "--map-root-user", "--"]
