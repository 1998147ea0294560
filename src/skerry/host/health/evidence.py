"""What a boot that did not come to its end left behind: the kernel's last words, or the watchdog's.

systemd-pstore moves them from the firmware's variables to /var/lib/systemd/pstore, at the next boot:
dmesg.txt, newest chunk first or joined. The line that is wanted is the panic's, or that of our initrd. A hang
leaves none; some watchdogs tell in the next boot that they ended it (linux/watchdog.h, WDIOF_CARDRESET).
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

DIRECTORY = "var/lib/systemd/pstore"
MOST_BYTES = 256 * 1024
BOOT_STATUS = "sys/class/watchdog/*/bootstatus"
CARD_RESET = 0x20
HUNG = "it hung, and the watchdog reset the machine"
_WORDS = re.compile(r"skerry-initrd: .*|Kernel panic - not syncing: .*|watchdog: BUG: .*")


def cause(root: Path, since: float) -> str | None:
    """Why the last boot ended before its time, after `since` (seconds since 1970), or None."""
    return last_words(root, since) or (HUNG if _was_reset(root) else None)


def last_words(root: Path, since: float) -> str | None:
    """The cause of the last panic that was found after `since` (seconds since 1970), or None."""
    found = [path for path in (root / DIRECTORY).rglob("dmesg*.txt") if path.stat().st_mtime >= since]
    for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        with path.open("rb") as file:
            words = _WORDS.findall(file.read(MOST_BYTES).decode(errors="replace"))
        if words:
            ours = [line for line in words if line.startswith("skerry-initrd")]
            return str((ours or words)[-1]).strip()[:200]
    return None


def _was_reset(root: Path) -> bool:
    """Whether a watchdog says that this boot is its doing."""
    for path in root.glob(BOOT_STATUS):
        with contextlib.suppress(OSError, ValueError):
            if int(path.read_text()) & CARD_RESET:
                return True
    return False
