"""What a machine says of itself, read from /proc, /etc and /usr; nothing is started for it.

Sizes that change by themselves are rounded, so that facts change when something has changed: free disk space
to an eighth of the disk. `boot_id` is made anew at each start of the machine, and lies in /run: the kernel's
own is shared by containers.
"""

from __future__ import annotations

import os
import socket
import uuid
from typing import TYPE_CHECKING

from skerry import __version__
from skerry.fleet.state.node import Facts, Role
from skerry.kit.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

BOOT_FILE = "run/skerry/boot-id"
STATE = "var/lib/skerry"


def read_facts(
    root: Path,
    *,
    metadata: Mapping[str, str],
    role: Role = Role.AGENT,
    addresses: Sequence[str] = (),
) -> Facts:
    """The facts of the machine whose root is `root`; what cannot be read is left out."""
    disk_bytes, free_bytes = _disk(root)
    release = os_release(root)
    return Facts(
        role=role,
        hostname=socket.gethostname(),
        addresses=tuple(addresses),
        metadata=dict(metadata),
        cpus=os.cpu_count() or 0,
        memory_bytes=_memory(root),
        disk_bytes=disk_bytes,
        disk_free_bytes=free_bytes,
        kernel=_text(root, "proc/sys/kernel/osrelease"),
        os_version=release.get("IMAGE_VERSION") or release.get("VERSION_ID", ""),
        skerry_version=__version__,
        boot_id=boot_id(root),
        architecture=os.uname().machine,
    )


def boot_id(root: Path) -> str:
    """A word for this run of the machine."""
    path = root / BOOT_FILE
    known = _text(root, BOOT_FILE)
    if len(known) == len(uuid.UUID(int=0).hex):
        return known
    fresh = uuid.uuid4().hex
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, fresh + "\n")
    except OSError:
        return ""
    return fresh


def os_release(root: Path) -> dict[str, str]:
    """os-release(5), the file of the system itself."""
    for place in ("etc/os-release", "usr/lib/os-release"):
        text = _text(root, place)
        if text:
            pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
            return {name: value.strip().strip("\"'") for name, _, value in pairs if value}
    return {}


def _memory(root: Path) -> int:
    for line in _text(root, "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        if name == "MemTotal":
            return int(value.split()[0]) * 1024
    return 0


def _disk(root: Path) -> tuple[int, int]:
    """Size and free space of the disk that holds the state, the latter rounded down to an eighth."""
    for place in (root / STATE, root):
        try:
            stat = os.statvfs(place)
        except OSError:
            continue
        size = stat.f_blocks * stat.f_frsize
        step = max(size // 8, 1)
        return size, stat.f_bavail * stat.f_frsize // step * step
    return 0, 0


def _text(root: Path, place: str) -> str:
    try:
        return (root / place).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
