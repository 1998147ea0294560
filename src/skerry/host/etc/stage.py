"""The folders of /var/lib/skerry/etc, one of each version, and how a new version's comes to be.

    VERSION/              the version's /etc, bound over /etc by the initrd
    VERSION.defaults/     its defaults as the image has them: the base of the next merge
    VERSION.plan          {"format": 1, "from": …, "policy": …, "provisioned": […]}: merge at the first boot
    VERSION.report.json   what the merge did
    VERSION.new/ .defaults.new/ .old/ .gone/   while something is done; swept afterwards

Staging writes only the plan. The merge runs before anything reads /etc, and may be cut off anywhere: the plan
leaves last, and until then all is made anew. The folder it comes from is never changed, so that going
back brings all of it back.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from skerry.host.etc.actions import Policy
from skerry.host.etc.carry_out import carry_out
from skerry.host.etc.document import FORMAT, read_document
from skerry.host.etc.errors import PlanError
from skerry.host.etc.hands import Hands
from skerry.host.etc.plan import plan
from skerry.host.etc.report import Report, make_report
from skerry.host.etc.scan import scan_directory, scan_tar

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import IO

    from skerry.kit.clock import Clock

DIRECTORY = Path("/var/lib/skerry/etc")
ETC = Path("/etc")
_VERSION = r"\d+(?:\.\d+)*"
_OWN = re.compile(rf"(?P<version>{_VERSION})(?P<tail>\.defaults|\.plan|\.report\.json)?")
_STRAY = re.compile(rf"new|{_VERSION}(?:\.new|\.old|\.gone|\.defaults\.new|\.defaults\.gone)|\..*")


class MergePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What staging leaves for the first boot. `provisioned`: paths below /etc that are the cloud-config's."""

    from_version: str = msgspec.field(name="from")
    policy: Policy
    provisioned: tuple[str, ...] = ()
    format: int = FORMAT


class Stager:
    """What an update asks of /etc: preview, stage, unstage, prune. `etc` is the running version's."""

    def __init__(
        self,
        clock: Clock,
        directory: Path = DIRECTORY,
        etc: Path = ETC,
        provisioned: Collection[str] | None = None,
        hands: Hands | None = None,
    ) -> None:
        self.clock, self.directory, self.etc = clock, directory, etc
        self.hands = hands or Hands()
        self._provisioned = provisioned

    def provisioned(self) -> Collection[str]:
        """The paths that the cloud-config of this machine gives."""
        if self._provisioned is None:
            from skerry.host.etc.provisioned import provisioned_paths

            self._provisioned = provisioned_paths()
        return self._provisioned

    def preview(
        self, defaults: Path | IO[bytes], version: str, from_version: str, policy: Policy = Policy.MINE
    ) -> Report:
        """What the first boot of `version` would do, were it now; `defaults` is a directory or a tar archive.

        Changes nothing. Raises EtcError.
        """
        old = scan_directory(self._defaults(from_version))
        new = scan_directory(defaults) if isinstance(defaults, Path) else scan_tar(defaults)
        actions = plan(old, scan_directory(self.etc), new, policy, self.provisioned())
        return make_report(actions, version, from_version, policy, self.clock.now())

    def stage(self, version: str, from_version: str, policy: Policy = Policy.MINE) -> None:
        """Have the first boot of `version` merge. Durable on return. Raises PlanError."""
        self._defaults(from_version)
        if not (self.directory / from_version).is_dir():
            raise PlanError(f"{self.directory / from_version}, the /etc of this version, is not there")
        if version == from_version:
            raise PlanError(f"{version} is running: its /etc cannot be merged into itself")
        merge = MergePlan(from_version, policy, tuple(sorted(map(_plain, self.provisioned()))))
        self.hands.write(self.directory / f"{version}.plan", msgspec.json.encode(merge) + b"\n")

    def unstage(self, version: str) -> None:
        """Take the plan back, of an update that is given up. What an earlier try left stays for `prune`."""
        self.hands.remove(self.directory / f"{version}.plan")

    def prune(self, keep: Collection[str]) -> tuple[str, ...]:
        """Remove the folders of all versions but `keep`, and strays; returns the names that left."""
        return prune(keep, self.directory, self.hands)

    def _defaults(self, version: str) -> Path:
        defaults = self.directory / f"{version}.defaults"
        if not defaults.is_dir():
            raise PlanError(
                f"the defaults of {version} are not in {self.directory}",
                hint="restart this machine: a boot of the version puts them there",
            )
        return defaults


def read_plan(path: Path) -> MergePlan | None:
    """The plan in a file; None where there is none. Raises PlanError."""
    return read_document(path, MergePlan, PlanError)


def first_boot(version: str, directory: Path, defaults: Path, now: float, hands: Hands) -> Report | None:
    """Make the folder of `version` as its plan says; None where there is no plan.

    `defaults` is the new image's own /etc. Where this was cut off, calling it again comes to the same end.
    Raises EtcError, OSError.
    """
    plan_file, folder = directory / f"{version}.plan", directory / version
    merge = read_plan(plan_file)
    if merge is None:
        return None
    old, yours = directory / f"{merge.from_version}.defaults", directory / merge.from_version
    for needed in (old, yours):
        if not needed.is_dir():
            raise PlanError(f"{needed} is not there, and {version} is to be merged with it")
    trees = scan_directory(old), scan_directory(yours), scan_directory(defaults)
    # A conflict that came after planning is no reason to fail a boot.
    policy = Policy.MINE if merge.policy is Policy.REFUSE else merge.policy
    actions = plan(*trees, policy, merge.provisioned)
    made, copied = directory / f"{version}.new", directory / f"{version}.defaults.new"
    for stray in (made, copied):
        hands.remove(stray)
    notes = carry_out(actions, trees[1], trees[2], made, hands)
    hands.copy(defaults, copied)
    hands.sync()
    report = make_report(actions, version, merge.from_version, policy, now, notes)
    hands.remove(directory / f"{version}.defaults")
    hands.rename(copied, directory / f"{version}.defaults")
    if folder.exists():
        hands.remove(directory / f"{version}.old")
        hands.rename(folder, directory / f"{version}.old")
    hands.rename(made, folder)
    hands.write(directory / f"{version}.report.json", report.encode())
    hands.sync()
    hands.remove(plan_file)
    hands.sync()
    hands.remove(directory / f"{version}.old")
    return report


def leftovers(names: Iterable[str], keep: Collection[str]) -> tuple[str, ...]:
    """Of the names in the directory those to remove: all of versions not in `keep`, and strays.

    The folder of an earlier try stays while a plan says that the merge did not end. Unknown names stay.
    """
    names = set(names)
    found = []
    for name in sorted(names):
        own, earlier = _OWN.fullmatch(name), name.removesuffix(".old")
        wanted = name != earlier and earlier in keep and f"{earlier}.plan" in names
        if own is not None:
            if own["version"] not in keep:
                found.append(name)
        elif _STRAY.fullmatch(name) and not wanted:
            found.append(name)
    return tuple(found)


def prune(keep: Collection[str], directory: Path = DIRECTORY, hands: Hands | None = None) -> tuple[str, ...]:
    """Remove the folders of all versions but `keep`, and strays; returns the names that left.

    Give it the versions of both slots. A folder goes by a rename first, so that no half of it looks whole.
    """
    if not keep:
        raise ValueError("the running version's /etc is always kept")
    hands = hands or Hands()
    gone = leftovers((path.name for path in directory.iterdir()), keep)
    for name in gone:
        place = directory / name
        if place.is_dir() and not name.endswith((".gone", ".new", ".old")):
            hands.remove(directory / f"{name}.gone")
            hands.rename(place, directory / f"{name}.gone")
            place = directory / f"{name}.gone"
        hands.remove(place)
    return gone


def _plain(path: str) -> str:
    """A path as JSON can hold it; others cannot be in a cloud-config, which is UTF-8."""
    return path.encode(errors="replace").decode()
