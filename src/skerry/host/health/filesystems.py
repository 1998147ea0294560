"""Whether the local file systems answer: mounted, writable, and what is written is read back.

The mounts are those of /proc/self/mountinfo, see proc_pid_mountinfo(5). The write goes to a thread of its
own, for a disk that hangs lets nobody go who waits for it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from skerry.host.health.check import Outcome, failed, ok

if TYPE_CHECKING:
    from collections.abc import Callable

WRITABLE = ("/var", "/etc")
PROBE_DEADLINE_S = 30.0
_ESCAPES = {"\\040": " ", "\\011": "\t", "\\012": "\n", "\\134": "\\"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo: where, what kind, and whether it or its file system is read-only."""

    point: str
    kind: str
    source: str
    read_only: bool


def parse_mounts(text: str) -> dict[str, Mount]:
    """Mounts by their point; of several at one point the topmost."""
    found = {}
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        fields, rest = left.split(" "), right.split(" ")
        if not separator or len(fields) < 6 or len(rest) < 3:
            continue
        read_only = "ro" in fields[5].split(",") or "ro" in rest[2].split(",")
        point = _unescape(fields[4])
        found[point] = Mount(point, rest[0], _unescape(rest[1]), read_only)
    return found


def look_at_mounts(root: Path = Path("/"), points: tuple[str, ...] = WRITABLE) -> Outcome:
    """Whether the places that must be writable are mounted so."""
    mounts = parse_mounts((root / "proc/self/mountinfo").read_text(errors="replace"))
    missing = [point for point in points if point not in mounts]
    closed = [
        f"{point} ({mounts[point].source})" for point in points if point in mounts and mounts[point].read_only
    ]
    if missing:
        return failed(f"{' and '.join(missing)} not mounted")
    if closed:
        return failed(f"{' and '.join(closed)} read-only, as after an error of the disk")
    return ok(f"{' and '.join(points)} mounted and writable")


def look_at_writing(directory: Path, *, deadline_s: float = PROBE_DEADLINE_S) -> Outcome:
    """Whether a file in `directory` can be written, is on the disk, and reads as it was written."""
    return within(
        deadline_s, lambda: _probe(directory), f"{directory} did not answer within {deadline_s:g} s"
    )


def look_at_entries(directory: Path, *, deadline_s: float = PROBE_DEADLINE_S) -> Outcome:
    """Whether the ESP can be read, without which no boot is ever blessed."""

    def read() -> Outcome:
        try:
            count = sum(path.name.endswith(".efi") for path in directory.iterdir())
        except OSError as error:
            return failed(f"{directory} cannot be read: {error.strerror}")
        return ok(f"{count} entries") if count else failed(f"{directory} holds no entry")

    return within(deadline_s, read, f"{directory} did not answer within {deadline_s:g} s")


def look_at_root(root_hash: str, expected: str | None, status: str) -> Outcome:
    """Whether / is opened under dm-verity with the hash that it should have; `status` is dmsetup's.

    `expected` is the hash of the manifest that this version was installed from, None where there is none.
    """
    if not root_hash:
        return failed("the kernel's command line names no root hash")
    if expected is not None and root_hash != expected:
        return failed(
            f"the root hash {root_hash[:16]}… is not that of the release ({expected[:16]}…)", final=True
        )
    words = status.split()
    # "0 1048576 verity V": V as long as every block that was read was right, then C.
    if "verity" not in words:
        return failed("the root is not opened through dm-verity", final=True)
    if words[-1] != "V":
        return failed("dm-verity found blocks of the root that are corrupted", final=True)
    return ok(f"root hash {root_hash[:16]}…")


def within(deadline_s: float, work: Callable[[], Outcome], late: str) -> Outcome:
    """What `work` finds, or a failure with the words `late`; a thread that hangs is left behind."""
    found: list[Outcome] = []

    def thread() -> None:
        try:
            found.append(work())
        except Exception as error:
            found.append(failed(f"{type(error).__name__}: {error}"))

    worker = threading.Thread(target=thread, daemon=True)
    worker.start()
    worker.join(deadline_s)
    return found[0] if found else failed(late, final=True)


def _probe(directory: Path) -> Outcome:
    path = directory / ".probe"
    content = os.urandom(64)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, content)
            os.fsync(descriptor)
            # The pages are clean now: let go of them, so that what is read comes from the disk.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
        back = path.read_bytes()
    except OSError as error:
        return failed(f"{directory} cannot be written: {error.strerror}")
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    return (
        ok("written and read back")
        if back == content
        else failed(f"{directory} does not keep what is written")
    )


def _unescape(text: str) -> str:
    for escape, char in _ESCAPES.items():
        text = text.replace(escape, char)
    return text
