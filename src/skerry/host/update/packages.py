"""What changes between two releases' packages. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from skerry.image.release.manifest import Manifest


class PackageChange(msgspec.Struct, frozen=True):
    """`before` and `after` are versions, "" where it is not there; `grows` in bytes, installed."""

    name: str
    before: str = ""
    after: str = ""
    grows: int = 0


class PackageChanges(msgspec.Struct, frozen=True):
    """From one version of the system to another; sizes in bytes."""

    before: str
    after: str
    added: tuple[PackageChange, ...] = ()
    removed: tuple[PackageChange, ...] = ()
    changed: tuple[PackageChange, ...] = ()
    grows: int = 0
    kernel_before: str = ""
    kernel_after: str = ""

    @property
    def count(self) -> int:
        return len(self.added) + len(self.removed) + len(self.changed)


def compare(before: Manifest, after: Manifest) -> PackageChanges:
    """The packages added, removed and changed, each by name."""
    old = {package.name: package for package in before.packages}
    new = {package.name: package for package in after.packages}
    added = [PackageChange(n, "", new[n].version, new[n].size) for n in sorted(new.keys() - old.keys())]
    removed = [PackageChange(n, old[n].version, "", -old[n].size) for n in sorted(old.keys() - new.keys())]
    changed = [
        PackageChange(n, old[n].version, new[n].version, new[n].size - old[n].size)
        for n in sorted(old.keys() & new.keys())
        if old[n].version != new[n].version
    ]
    return PackageChanges(
        before.version,
        after.version,
        tuple(added),
        tuple(removed),
        tuple(changed),
        sum(one.grows for one in (*added, *removed, *changed)),
        before.kernel,
        after.kernel,
    )
