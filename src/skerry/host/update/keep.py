"""Files that updates keep beside the journal, below /var/lib/skerry/update and /var/lib/skerry/extensions.

    manifests/VERSION.json          of the releases in the slots
    offer.json                      what the channel offered when it was last asked: Checked
    uki.efi                         the UKI on its way to the ESP
    ../extensions/VERSION/NAME.raw, NAME.verity, NAME.roothash     whole or not there: made in VERSION.new

Reads what is damaged as if it were not there: all of it can be had again.
"""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

import msgspec

from skerry.image.release import manifest as manifests
from skerry.kit.errors import SkerryError
from skerry.kit.files import sync_directory, write_atomic

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from skerry.image.release.manifest import Manifest

OFFER = "offer.json"
STALE_S = 7 * 86400.0  # what was fetched waits so long for the update to go on


class Checked(msgspec.Struct, frozen=True):
    """What a channel offered, when (seconds since 1970), or why nothing; `error` where it was not heard."""

    when: float
    channel: str
    version: str | None = None
    why: str = ""
    due: float | None = None
    error: str | None = None


class Keep:
    """The files of one host; `directory` is .../update, `extensions` .../extensions."""

    def __init__(self, directory: Path, extensions: Path) -> None:
        self.directory, self.extensions = directory, extensions
        self.uki = directory / "uki.efi"

    def manifest(self, version: str) -> Manifest | None:
        try:
            return manifests.decode((self.directory / "manifests" / f"{version}.json").read_bytes())
        except (OSError, SkerryError):
            return None

    def keep_manifest(self, manifest: Manifest) -> None:
        directory = self.directory / "manifests"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(directory / f"{manifest.version}.json", manifest.encode(), mode=0o600)

    def checked(self) -> Checked | None:
        with contextlib.suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode((self.directory / OFFER).read_bytes(), type=Checked)
        return None

    def keep_checked(self, checked: Checked) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(self.directory / OFFER, msgspec.json.encode(checked) + b"\n", mode=0o600)

    def has_extensions(self, version: str, names: Sequence[str]) -> bool:
        return all((self.extensions / version / f"{name}.roothash").exists() for name in names)

    def begin_extensions(self, version: str) -> Path:
        """An empty directory to put a version's extensions into."""
        self.extensions.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = self.extensions / f"{version}.new"
        if place.exists():
            shutil.rmtree(place)
        place.mkdir(mode=0o700)
        return place

    def end_extensions(self, version: str) -> None:
        """Give the directory its name, on the disk when this returns."""
        place, final = self.extensions / f"{version}.new", self.extensions / version
        sync_directory(place)
        if final.exists():
            shutil.rmtree(final)
        place.rename(final)
        sync_directory(self.extensions)

    def prune(self, versions: Collection[str], now: float) -> None:
        """Remove what belongs to versions other than these, and what nobody came back for."""
        self.uki.unlink(missing_ok=True)
        for path in (self.directory / "blobs").glob("*"):
            if path.stat().st_mtime < now - STALE_S:
                path.unlink(missing_ok=True)
        for path in (self.directory / "manifests").glob("*.json"):
            if path.stem not in versions:
                path.unlink(missing_ok=True)
        if self.extensions.is_dir():
            for path in self.extensions.iterdir():
                if path.name not in versions:
                    shutil.rmtree(path, ignore_errors=True)
