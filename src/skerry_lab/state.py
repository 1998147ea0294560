"""A lab's directory, and in it the journal of what the lab made outside of it.

    lab.jsonl       first line {"version": 1, "name": …, "mark": …}, then one line for each thing made:
                    {"made": "process", "pid": …, "start": …, "boot": …, "what": …}
                    {"made": "namespace", "name": …}            under /run/netns
                    {"made": "directory", "path": …}            control groups, and what nspawn leaves in /run
                    {"made": "mount", "path": …}                a small disk inside the lab's directory
    lock            held while a lab is changed
    nodes/<name>/   what belongs to a node; registry/, key, key.pub

A thing is recorded as soon as it is there, and `undo` may be run as often as wanted: what is gone is
passed over. Processes started and not yet recorded when we were killed are found by the lab's mark in
their environment. Invariant: what was not made by this lab is never touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.kit.run import run
from skerry_lab.errors import LabError
from skerry_lab.process import Process, descendants, marked, spawn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

VERSION = 1
JOURNAL = "lab.jsonl"
NETNS = "/run/netns"


@dataclass(frozen=True, slots=True)
class LabState:
    directory: Path
    name: str
    mark: str

    def spawn(
        self,
        argv: Sequence[str],
        *,
        what: str,
        log: Path,
        env: Mapping[str, str] | None = None,
        keep: Sequence[int] = (),
    ) -> Process:
        """Start a program that lives until `undo`, or until somebody ends it."""
        process = spawn(argv, log=log, mark=self.mark, env=env, keep=keep)
        self._record(
            {
                "made": "process",
                "pid": process.pid,
                "start": process.start,
                "boot": process.boot,
                "what": what,
            }
        )
        return process

    def namespace(self, name: str) -> Path:
        """Make a network namespace that lives until `undo`; its path, for those who enter it."""
        self._record({"made": "namespace", "name": name})
        run(["ip", "netns", "add", name])
        return path_of(name)

    def directory_outside(self, path: Path, *, make: bool = True) -> None:
        """Make a directory outside the lab's own, or expect it to be made; `undo` removes it."""
        self._record({"made": "directory", "path": str(path)})
        if make:
            path.mkdir(exist_ok=True)

    def small_disk(self, path: Path, size: int) -> None:
        """Put a file system of so many bytes there, in memory; `undo` takes it off."""
        self._record({"made": "mount", "path": str(path.resolve())})
        run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "skerry-lab", str(path)])

    def processes(self) -> Iterator[tuple[str, Process]]:
        """What for, and which, of every recorded process, oldest first, dead ones too."""
        for line in self._records():
            if line["made"] == "process":
                yield str(line["what"]), Process(_int(line, "pid"), _int(line, "start"), str(line["boot"]))

    def undo(self) -> None:
        """End and remove everything the lab made, and at last its directory."""
        records = list(self._records())
        for _, process in reversed(list(self.processes())):
            if process.alive():
                _kill_all(process)
        for process in list(marked(self.mark)):
            if process.pid != os.getpid():
                _kill_all(process)
        for line in reversed(records):
            if line["made"] == "namespace" and path_of(str(line["name"])).exists():
                run(["ip", "netns", "delete", str(line["name"])])
            if line["made"] == "directory":
                _remove_empty(Path(str(line["path"])))
            if line["made"] == "mount" and str(line["path"]) in _mounted():
                run(["umount", "--lazy", str(line["path"])])
        _remove(self.directory)

    @contextlib.contextmanager
    def locked(self, *, timeout_s: float = 60) -> Iterator[None]:
        """Keep others from changing the lab. Raises LabError where it stays locked."""
        deadline = time.monotonic() + timeout_s
        with (self.directory / "lock").open("w") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise LabError(f"lab {self.name} is being changed by another command") from None
                    time.sleep(0.1)
            yield

    def _record(self, line: Mapping[str, object]) -> None:
        with (self.directory / JOURNAL).open("a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _records(self) -> Iterator[dict[str, object]]:
        for line in (self.directory / JOURNAL).read_text().splitlines()[1:]:
            with contextlib.suppress(ValueError):  # a last line that was cut off was never acted upon
                yield json.loads(line)


def create(directory: Path, name: str) -> LabState:
    """Begin a lab in a directory that is not there yet. Raises LabError where it is."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        raise LabError(
            f"there is already a lab {name}",
            hint=f"choose another --name, or run: skerry lab down --name {name}",
        ) from None
    state = LabState(directory, name, uuid.uuid4().hex)
    state._record({"version": VERSION, "name": name, "mark": state.mark})  # noqa: SLF001 - its own first line
    return state


def open_state(directory: Path) -> LabState:
    """The lab of a directory. Raises LabError where there is none that we can read."""
    try:
        first = json.loads((directory / JOURNAL).read_text().splitlines()[0])
        version, name, mark = first["version"], str(first["name"]), str(first["mark"])
    except FileNotFoundError:
        raise LabError(
            f"there is no lab {directory.name}", hint="skerry lab list shows those there are"
        ) from None
    except (ValueError, KeyError, IndexError) as error:
        raise LabError(
            f"the lab in {directory} has lost its journal: {error}", hint="remove the directory"
        ) from error
    if version != VERSION:
        raise LabError(f"the lab in {directory} was made by another version of skerry (format {version})")
    return LabState(directory, name, mark)


def path_of(namespace: str) -> Path:
    return Path(NETNS) / namespace


def _kill_all(process: Process) -> None:
    """A process with all its descendants, found before the first is killed and leaves the others orphans."""
    for one in list(descendants(process)):
        one.kill()


def _remove_empty(path: Path) -> None:
    """A directory and those below it; in control groups the files are not in the way of that."""
    for place, _, _ in os.walk(path, topdown=False):
        with contextlib.suppress(OSError):
            Path(place).rmdir()


def _int(line: Mapping[str, object], key: str) -> int:
    value = line[key]
    return value if isinstance(value, int) else 0


def _remove(directory: Path) -> None:
    """Remove a directory; under a mount, which is none of ours, nothing."""
    held = [place for place in _mounted() if place.startswith(f"{directory}/")]
    if held:
        raise LabError(
            f"{held[0]} is a mount inside the lab's directory", hint=f"unmount it: umount {held[0]}"
        )
    shutil.rmtree(directory)


def _mounted() -> list[str]:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
