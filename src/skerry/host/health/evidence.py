"""What a boot that did not come to its end left behind: the kernel's last words.

systemd-pstore moves them from the firmware's variables to /var/lib/systemd/pstore, at the next boot:
dmesg.txt, newest chunk first or joined. The line that is wanted is the panic's, or that of our initrd.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

DIRECTORY = "var/lib/systemd/pstore"
MOST_BYTES = 256 * 1024
_WORDS = re.compile(r"skerry-initrd: .*|Kernel panic - not syncing: .*|watchdog: BUG: .*")


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
