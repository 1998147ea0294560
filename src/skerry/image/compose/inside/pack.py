"""Into a tree, and out of it as an archive that is the same for the same content."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def lay_over(directory: Path, tree: Path) -> None:
    """Copy files over the tree; of their modes only "executable" counts, as in git."""
    for path in sorted(directory.rglob("*")):
        target = tree / path.relative_to(directory)
        if path.is_dir() and not path.is_symlink():
            target.mkdir(mode=0o755, exist_ok=True)
            continue
        target.unlink(missing_ok=True)
        if path.is_symlink():
            target.symlink_to(path.readlink())
        else:
            shutil.copyfile(path, target)
            target.chmod(0o755 if os.access(path, os.X_OK) else 0o644)


def pack(tree: Path, archive: Path, epoch: int, apart: Mapping[str, int]) -> int:
    """Pack a tree with one time for every file, but for those that have one `apart`; says how many."""
    entries = [Path(root, name) for root, names, files in os.walk(tree) for name in (*names, *files)]
    for path in (tree, *entries):
        time = apart.get(str(path.relative_to(tree)), epoch)
        os.utime(path, (time, time), follow_symlinks=False)
    subprocess.run(
        ["tar", "-c", "-f", str(archive), "-C", str(tree), "--sort=name",
         "--numeric-owner", "--format=posix",
         "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
         "--xattrs", "--xattrs-include=*", "."],
        check=True,
    )  # fmt: skip
    return len(entries)
