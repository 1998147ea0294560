"""Which boot this is: its id, its version, whether boot counting tries it, and what it could fall back to.

Reads files only, below a root that a test can lay out: procfs, os-release, the EFI variable that systemd-boot
leaves (4 bytes of attributes, then UTF-16), and the names in EFI/Linux. These are read only where it
matters, for they lie on a file system that is mounted when it is looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from skerry.host.health.decide import Trial
from skerry.host.update.entries import Entry, parse, version_of
from skerry.host.update.machine import Tried
from skerry.image.release.version import is_newer
from skerry.kit.errors import SkerryError

COUNT_PATH = "sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
ENTRIES = "efi/EFI/Linux"
_ROOT_HASH = re.compile(r"\bskerry\.verity=([0-9a-f]{64}),")
_IMAGE = re.compile(r"\bskerry\.image=(\S+)")


@dataclass(frozen=True, slots=True)
class Boot:
    """`label` is NAME_VERSION, `counted` the entry's file name where its tries are counted, else ""."""

    id: str
    version: str
    label: str = ""
    root_hash: str = ""
    counted: str = ""
    container: bool = False


def read_boot(root: Path = Path("/")) -> Boot:
    """The boot that is running."""
    release = _pairs(_read(root / "usr/lib/os-release") or _read(root / "etc/os-release"))
    words = _read(root / "proc/cmdline")
    image, root_hash = _IMAGE.search(words), _ROOT_HASH.search(words)
    return Boot(
        id=_read(root / "proc/sys/kernel/random/boot_id").strip(),
        # What was booted, as updates name it; a container has only what its tree says.
        version=version_of(image[1]) if image else release.get("IMAGE_VERSION", ""),
        label=image[1] if image else "",
        root_hash=root_hash[1] if root_hash else "",
        counted=_efi_text(root / COUNT_PATH).replace("\\", "/").rpartition("/")[2],
        container=(root / "run/systemd/container").exists(),
    )


def entries(root: Path = Path("/")) -> tuple[Entry, ...]:
    """The entries on the ESP. Raises OSError where that cannot be read."""
    found = (parse(path.name) for path in sorted((root / ENTRIES).iterdir()))
    return tuple(entry for entry in found if entry is not None)


def still_counted(boot: Boot, root: Path = Path("/")) -> bool:
    """Whether the entry of this boot still has its counter, so that the boot is not blessed."""
    return bool(boot.counted) and (root / ENTRIES / boot.counted).exists()


def trial_of(boot: Boot, found: tuple[Entry, ...] | None, *, otherwise: bool = False) -> Trial:
    """Whether this boot is on trial by its counter, and whether another version could be booted instead.

    Where the entries cannot be read (`found` is None), `otherwise` says whether there is one.
    """
    counted = parse(boot.counted)
    if counted is None or counted.left is None:
        return Trial.NO
    if found is None:
        return Trial.WITH_FALLBACK if otherwise else Trial.WITHOUT_FALLBACK
    others = [entry for entry in found if entry.label != counted.label]
    would_boot = (other.tried is not Tried.OUT or _newer(other.label, counted.label) for other in others)
    return Trial.WITH_FALLBACK if any(would_boot) else Trial.WITHOUT_FALLBACK


def _newer(label: str, than: str) -> bool:
    """Of entries that are all counted out the newest is booted: as when an older version was tried."""
    try:
        return is_newer(version_of(label), version_of(than))
    except SkerryError:
        return False


def _efi_text(path: Path) -> str:
    try:
        return path.read_bytes()[4:].decode("utf-16-le", errors="replace").rstrip("\0")
    except OSError:
        return ""


def _pairs(text: str) -> dict[str, str]:
    lines = (line.partition("=") for line in text.splitlines() if "=" in line and line[0] != "#")
    return {name: value.strip("\"'") for name, _, value in lines}


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
