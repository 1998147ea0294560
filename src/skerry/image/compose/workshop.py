"""Where steps leave their results: one directory each, named by the step and the hash of what it was given.

    CACHE/steps/NAME-IDENTITY/…      whole results only: made elsewhere, synced, renamed
    CACHE/partial/NAME-IDENTITY      in the making; removed on failure
    CACHE/partial/NAME-IDENTITY.lock held by who makes it: what nobody holds was left by a killed build

Two builds at once do not disturb each other: the second waits for a step that the first is making.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.image.compose.errors import NoSpaceError
from skerry.image.compose.sandbox import clear
from skerry.kit.files import sync_directory
from skerry.kit.progress import Phase, Progress, Reporter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOM = "free some space, or set SKERRY_CACHE to a directory on a larger disk"


def identity(*given: object) -> str:
    """The hash of everything a step was given: JSON values, and paths whose content counts."""
    digest = hashlib.sha256()
    for value in given:
        if isinstance(value, Path):
            for name, content in _contents(value):
                digest.update(f"{name}\0{content}\0".encode())
        else:
            digest.update(json.dumps(value, sort_keys=True, default=str).encode() + b"\0")
    return digest.hexdigest()[:16]


def _contents(path: Path) -> Iterator[tuple[str, str]]:
    if path.is_file():
        yield path.name, hashlib.sha256(path.read_bytes()).hexdigest()
        return
    for entry in sorted(path.rglob("*")):
        if "__pycache__" in entry.parts:
            continue
        name = str(entry.relative_to(path))
        if entry.is_symlink():
            yield name, f"-> {entry.readlink()}"
        elif entry.is_file():
            mode = "x" if os.access(entry, os.X_OK) else "-"
            yield name, mode + hashlib.sha256(entry.read_bytes()).hexdigest()


class Workshop:
    """The cache of one machine's builds."""

    def __init__(self, cache: Path, report: Reporter) -> None:
        self.cache = cache
        self.report = report
        self._steps = cache / "steps"
        self._partial = cache / "partial"
        for directory in (self._steps, self._partial):
            directory.mkdir(parents=True, exist_ok=True)
        self._sweep()

    def make(self, name: str, given: str, produce: Callable[[Path], str | None]) -> Path:
        """The result of a step: as it was made before, or made now by `produce(directory)`.

        `produce` may return a note for the person who waits. Whatever it raises leaves no trace.
        """
        final = self._steps / f"{name}-{given}"
        if final.is_dir():
            os.utime(final)
            self.report(Progress(name, Phase.REUSED))
            return final
        with self._alone(final):
            if final.is_dir():
                self.report(Progress(name, Phase.REUSED, note="made by another build"))
                return final
            partial = self._partial / final.name
            clear(partial)
            partial.mkdir()
            self.report(Progress(name, Phase.STARTED))
            try:
                note = produce(partial)
                _sync(partial)
                partial.rename(final)
                sync_directory(self._steps)
            except BaseException:
                clear(partial)
                raise
            self.report(Progress(name, Phase.DONE, note=note or ""))
        return final

    def forget(self, name: str, given: str) -> None:
        """Make a step anew at its next use."""
        clear(self._steps / f"{name}-{given}")

    def room(self, bytes_needed: int, what: str) -> None:
        """Raise NoSpaceError where the cache's disk has less than this free."""
        free = shutil.disk_usage(self.cache).free
        if free < bytes_needed:
            raise NoSpaceError(
                f"{what} needs {bytes_needed >> 20} MiB and {self.cache} has {free >> 20} MiB free",
                hint=ROOM,
            )

    def prune(self, keep_days: float) -> int:
        """Remove results that no build used for so long; returns the bytes freed."""
        freed = 0
        for entry in self._steps.iterdir():
            if time.time() - entry.stat().st_mtime > keep_days * 86400:
                freed += sum(f.stat().st_size for f in entry.rglob("*") if f.is_file() and not f.is_symlink())
                shutil.rmtree(entry)
        return freed

    @contextmanager
    def _alone(self, final: Path) -> Iterator[None]:
        with self._lock(final.name).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _lock(self, name: str) -> Path:
        return self._partial / f"{name}.lock"

    def _sweep(self) -> None:
        """Clear away what killed builds left: nobody holds its lock any more."""
        for entry in self._partial.iterdir():
            if not entry.is_dir():
                continue
            with self._lock(entry.name).open("w") as lock, suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                clear(entry)


def _sync(directory: Path) -> None:
    for path in sorted(directory.iterdir()):
        if path.is_file() and not path.is_symlink():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    sync_directory(directory)
