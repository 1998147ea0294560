"""The kernel modules an image keeps: those the recipe names, and what they depend on, decompressed.

Decompressed because the slot image is compressed as a whole for transport, where that gives a smaller
download and better deltas, and loading costs no CPU.
"""

from __future__ import annotations

import fnmatch
import lzma
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SUFFIX = ".xz"


def name_of(path: str) -> str:
    """The module's name as the kernel says it: kernel/fs/foo-bar.ko.xz is foo_bar."""
    return path.rsplit("/", 1)[-1].split(".ko", 1)[0].replace("-", "_")


def dependencies(text: str) -> dict[str, tuple[str, ...]]:
    """modules.dep parsed: path → paths that must be loaded before, nearest first."""
    found = {}
    for line in text.splitlines():
        path, _, rest = line.partition(":")
        found[path] = tuple(rest.split())
    return found


def choose(
    patterns: list[str], depends: dict[str, tuple[str, ...]], builtin: set[str]
) -> tuple[list[str], list[str]]:
    """The paths that the patterns name, with all they depend on, and the patterns that name nothing.

    A module is put after those it needs, so that the list can be loaded from first to last.
    """
    by_name = {name_of(path): path for path in depends}
    chosen: dict[str, None] = {}
    unknown = []
    for pattern in patterns:
        plain = pattern.replace("-", "_")
        names = sorted(fnmatch.filter(by_name, plain))
        if not names and not fnmatch.filter(builtin, plain):
            unknown.append(pattern)
        for name in names:
            path = by_name[name]
            chosen |= dict.fromkeys([*reversed(depends[path]), path])
    return list(chosen), unknown


def trim(tree: Path, patterns: list[str]) -> list[str]:
    """Leave only what `patterns` ask for in the tree's one kernel; returns the patterns that name nothing."""
    (directory,) = sorted((tree / "usr/lib/modules").iterdir())
    depends = dependencies((directory / "modules.dep").read_text())
    builtin = {name_of(line) for line in (directory / "modules.builtin").read_text().splitlines()}
    chosen, unknown = choose(patterns, depends, builtin)
    if unknown:
        return unknown
    for path in depends:
        file = directory / path
        if path in set(chosen) and file.suffix == SUFFIX:
            file.with_suffix("").write_bytes(lzma.decompress(file.read_bytes()))
            file.unlink()
        elif path not in set(chosen):
            file.unlink()
    for parent in sorted(directory.rglob("*/"), reverse=True):
        if not any(parent.iterdir()):
            parent.rmdir()
    for stale in directory.glob("modules.*"):
        if stale.name not in {"modules.builtin", "modules.builtin.modinfo", "modules.order"}:
            stale.unlink()
    subprocess.run(["depmod", "-b", str(tree), directory.name], check=True)
    # kmod reads the .bin forms; the initrd's busybox reads the text of modules.dep.
    for text in ("modules.alias", "modules.symbols", "modules.order", "modules.builtin.modinfo"):
        (directory / text).unlink(missing_ok=True)
    return []
