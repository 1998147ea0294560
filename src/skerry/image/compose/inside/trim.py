"""What leaves the tree: paths the recipe names, and shared libraries that nothing is left to use."""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath

from skerry.image.compose.inside.elf import closure, needs_of

LIBRARIES = "usr/lib/x86_64-linux-gnu"


def remove(tree: Path, patterns: list[str], keep: list[str]) -> list[str]:
    """Remove what a pattern matches (`**` for any depth) unless one of `keep` matches it too.

    Returns the patterns that match nothing: the packages have changed, or the recipe is wrong.
    """
    kept = set(_matches(tree, keep))
    idle = []
    for pattern in patterns:
        found = sorted(_matches(tree, [pattern]), reverse=True)
        for path in found:
            _remove(path, kept)
        if not found:
            idle.append(pattern)
    return idle


def _matches(tree: Path, patterns: list[str]) -> set[Path]:
    return {path for pattern in patterns for plain in braces(pattern) for path in tree.glob(plain)}


def _remove(path: Path, kept: set[Path]) -> None:
    """Remove a path, but for what is kept of it and the directories on the way there."""
    if path in kept:
        return
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    elif not any(one.is_relative_to(path) for one in kept):
        shutil.rmtree(path)
    else:
        for entry in path.iterdir():
            _remove(entry, kept)


def braces(pattern: str) -> list[str]:
    """`a{b,c}` as `ab` and `ac`, like a shell would say it; one pair of braces."""
    head, opened, rest = pattern.partition("{")
    middle, closed, tail = rest.partition("}")
    return [f"{head}{choice}{tail}" for choice in middle.split(",")] if opened and closed else [pattern]


def unused_libraries(tree: Path, dlopened: list[str]) -> list[Path]:
    """Libraries in the main directory that no program left in the tree reaches, nor is said to dlopen.

    Raises ValueError where something is left without a library it needs: the recipe removes too much.
    """
    directory = tree / LIBRARIES
    names: dict[str, Path] = {}  # every name a library goes by → the file itself
    for path in sorted(directory.iterdir()):
        if ".so" in path.name and path.exists() and not path.is_dir():
            names[path.name] = Path(os.path.realpath(path))
    wanted: dict[str, str] = {}
    for root, _, files in os.walk(tree):
        for file in files:
            path = Path(root, file)
            if path.is_symlink() or path.parent == directory or not path.is_file():
                continue
            if "usr/lib/modules" not in root:
                wanted |= dict.fromkeys(needs_of(path), str(path.relative_to(tree)))
    start = [*wanted, *(name for name in names if any(PurePosixPath(name).match(one) for one in dlopened))]

    def needs(name: str) -> tuple[str, ...]:
        found = needs_of(names[name]) if name in names else ()
        wanted.update(dict.fromkeys(set(found) - wanted.keys(), f"{LIBRARIES}/{name}"))
        return found

    used = closure(start, needs)
    missing = {name: by for name, by in wanted.items() if name not in names and not _elsewhere(tree, name)}
    if missing:
        raise ValueError("; ".join(f"{by} needs {name}" for name, by in sorted(missing.items())))
    kept = {names[name] for name in used if name in names}
    return [directory / name for name, file in names.items() if file not in kept]


def _elsewhere(tree: Path, name: str) -> bool:
    """Some packages keep private libraries in a directory of their own and find them by RUNPATH."""
    return any(tree.glob(f"usr/lib*/**/{name}"))
