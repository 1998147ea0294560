"""skerry-etc VERSION: what the initrd starts, inside the new root, at the first boot of a version.

Merges /etc as /var/lib/skerry/etc/VERSION.plan says; the root's own /etc holds the new defaults, since
nothing is mounted over it yet. Fails where the merge fails: the initrd then reboots, and after a few tries
the old version starts, whose /etc nobody has touched. A few lines go to the kernel's log; the report, which
`skerry etc show` prints, stands beside the folder.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

MOST_CONFLICTS = 10
DEADLINE_S = 300  # emulated, on a machine with five times the load it bears, 15 s were measured
_ERROR, _WARNING, _NOTE = "<3>", "<4>", "<6>"  # sd-daemon(3), and so the kernel's log


def main(argv: list[str] | None = None) -> int:
    """0 where the version's /etc is made; 1 where it could not be."""
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.stderr.write("usage: skerry-etc VERSION\n")
        return 2
    os.umask(0o022)
    signal.alarm(DEADLINE_S)
    try:
        return merge(arguments[0])
    except Exception as error:  # whatever it is, the boot ends here, and this is all that is seen of it
        say(_ERROR, f"/etc of {arguments[0]} could not be merged: {type(error).__name__}: {error}")
        return 1
    finally:
        signal.alarm(0)


def merge(version: str, root: Path = Path("/")) -> int:
    from skerry.host.etc.hands import Hands
    from skerry.host.etc.stage import first_boot
    from skerry.host.etc.tree import shown

    directory = root / "var/lib/skerry/etc"
    report = first_boot(version, directory, root / "etc", time.time(), Hands())
    if report is None:
        say(_ERROR, f"there is no plan for {shown(version)} in {directory}")
        return 1
    counts = ", ".join(f"{number} {result}" for result, number in report.counts().items()) or "no change"
    say(_NOTE, f"/etc of {version} made from {report.from_version}: {counts}")
    for change in report.conflicts[:MOST_CONFLICTS]:
        say(_WARNING, f"/etc/{change.path}: {change.why}; by policy, {_taken(report.policy)}")
    if len(report.conflicts) > MOST_CONFLICTS:
        say(_WARNING, f"and {len(report.conflicts) - MOST_CONFLICTS} conflicts more; see `skerry etc show`")
    return 0


def _taken(policy: str) -> str:
    return "the new default counts" if policy == "theirs" else "yours stays"


def say(level: str, text: str) -> None:
    """One line, in one write, since each is a record of the kernel's log."""
    with contextlib.suppress(OSError):
        os.write(2, f"{level}skerry-etc: {text}\n".encode(errors="replace")[:900])


if __name__ == "__main__":
    sys.exit(main())
