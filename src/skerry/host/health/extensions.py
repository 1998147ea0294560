"""System extensions: which a version has, and whether they are in place.

    /var/lib/skerry/extensions/VERSION/NAME.raw    an EROFS image, NAME.verity and NAME.roothash beside it
    /run/extensions/NAME.raw → …                   what systemd-sysext merges into /usr

They are linked before systemd-sysext.service by a shell script (usr/lib/skerry/bin/link-extensions): so a
machine without extensions pays nothing, and one with them does not wait for Python before its services.
See https://www.freedesktop.org/software/systemd/man/257/systemd-sysext.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.host.health.check import Outcome, failed, ok
from skerry.host.health.filesystems import parse_mounts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

DIRECTORY = "var/lib/skerry/extensions"
MERGED = "usr/lib/extension-release.d/extension-release."


def wanted(root: Path, version: str) -> tuple[str, ...]:
    """The extensions that this version was installed with, by name."""
    return tuple(sorted(path.stem for path in (root / DIRECTORY / version).glob("*.raw")))


def look(root: Path, version: str, names: Sequence[str], expected: Mapping[str, str]) -> Outcome:
    """Whether each is merged into /usr, and has the root hash that the release says (`expected`, by name)."""
    for name, root_hash in expected.items():
        path = root / DIRECTORY / version / f"{name}.roothash"
        if name in names and path.exists() and path.read_text().strip() != root_hash:
            return failed(f"{name} does not have the root hash of the release", final=True)
    missing = sorted(set(expected) - set(names))
    if missing:
        return failed(f"{', '.join(missing)} missing on the disk", final=True)
    mounts = parse_mounts((root / "proc/self/mountinfo").read_text(errors="replace"))
    usr = mounts.get("/usr")
    if usr is None or usr.kind != "overlay":
        return failed("nothing is merged into /usr")
    lost = [name for name in names if not (root / f"{MERGED}{name}").exists()]
    return failed(f"{', '.join(lost)} not merged into /usr") if lost else ok(f"{', '.join(names)} merged")
