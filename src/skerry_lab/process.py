"""Processes that outlive whoever started them: known by pid, start time and boot, so never mistaken.

A pid alone may have been given to another process since; with the start time of proc(5) and the kernel's
boot id it names one process for ever. Refuses to signal anything else.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.kit.run import environment
from skerry_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MARK = "SKERRY_LAB_MARK"
START_TIME_FIELD = 22  # proc_pid_stat(5)


@dataclass(frozen=True, slots=True)
class Process:
    """`start` in clock ticks since boot."""

    pid: int
    start: int
    boot: str

    def alive(self) -> bool:
        """Whether it still runs; a child of ours that ended is reaped on the way."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        return find(self.pid) == self

    def end(self, *, timeout_s: float = 10) -> None:
        """Ask it to end, and kill it where it has not done so in time."""
        self._signal(signal.SIGTERM)
        if not self.wait(timeout_s):
            self.kill()

    def kill(self) -> None:
        """End it at once, and wait until it is gone."""
        self._signal(signal.SIGKILL)
        if not self.wait(30):
            raise LabError(
                f"process {self.pid} does not end", hint="it may hang in the kernel; see its /proc/PID/stack"
            )

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end, without polling; whether it came in time."""
        if not self.alive():
            return True
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if find(self.pid) == self:
                poll = select.poll()
                poll.register(descriptor, select.POLLIN)
                poll.poll(timeout_s * 1000)
        finally:
            os.close(descriptor)
        return not self.alive()

    def _signal(self, number: signal.Signals) -> None:
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def spawn(
    argv: Sequence[str],
    *,
    log: Path,
    mark: str,
    env: Mapping[str, str] | None = None,
    keep: Sequence[int] = (),
) -> Process:
    """Start a program in a session of its own, its output appended to `log`, stdin closed.

    `mark` is put into its environment, by which `marked` finds it again; the descriptors in `keep` stay open
    in it. Raises LabError where the program cannot be started.
    """
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for descriptor in keep:
            os.set_inheritable(descriptor, True)
        pid = os.posix_spawnp(
            argv[0],
            list(argv),
            environment({**(env or {}), MARK: mark}),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ],
            setsid=True,
            setsigmask=(),
        )
    except OSError as error:
        raise LabError(f"{argv[0]} could not be started: {error.strerror}") from error
    finally:
        os.close(output)
    process = find(pid)
    if process is None:
        raise LabError(f"{argv[0]} ended at once", hint=f"see {log}")
    return process


def find(pid: int) -> Process | None:
    """The process that has this pid now; None where there is none, or only its remains."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name, which may hold anything, is in parentheses
    if fields[0] in "ZX" and not _other_threads(pid):
        return None
    return Process(pid, int(fields[START_TIME_FIELD - 3]), boot_id())


def _other_threads(pid: int) -> bool:
    """Whether threads live on after their first one, and with them open files, locks, memory."""
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/task")) > 1  # noqa: PTH208
    return False


def children(pid: int) -> list[int]:
    """The children of all threads of a process, see proc_pid_task(5)."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(word) for word in (task / "children").read_text().split()]
    return found


def descendants(process: Process) -> Iterator[Process]:
    """A process and all that descend from it, parents first."""
    yield process
    for pid in children(process.pid):
        child = find(pid)
        if child is not None:
            yield from descendants(child)


def marked(mark: str) -> Iterator[Process]:
    """Every process of this user that was started with a mark, or by one that was."""
    wanted = f"{MARK}={mark}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in variables and (process := find(int(entry.name))) is not None:
            yield process


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
