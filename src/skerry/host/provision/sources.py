"""Where a cloud-config comes from, in the order in which they are asked; the first that has one wins.

    1 credential  `skerry.cloud-config`, a credential of the system: systemd reads it from SMBIOS type 11
                  (io.systemd.credential:NAME=…, io.systemd.credential.binary:NAME=BASE64), from QEMU's fw_cfg
                  (opt/io.systemd.credentials/NAME), or takes it from nspawn's --set-credential
    2 fw_cfg      QEMU's `-fw_cfg name=opt/skerry/cloud-config,file=…`
    3 volume      a NoCloud volume: ISO 9660 or FAT with the label cidata, file user-data, and
                  beside it meta-data, whose hostname counts where the document gives none
    4 esp         the file skerry/cloud-config on the EFI system partition
    5 kept        the last document that was applied, so that a source may be taken away

os/rootfs/usr/lib/skerry/bin/provision-wanted looks at the same places before Python starts.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from skerry.host.provision.document import LARGEST_BYTES
from skerry.host.provision.errors import SourceError
from skerry.kit.errors import SkerryError
from skerry.kit.run import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CREDENTIAL = "skerry.cloud-config"
CREDENTIALS = "/run/credentials/@system"
FW_CFG = "/sys/firmware/qemu_fw_cfg/by_name/opt/skerry/cloud-config/raw"
LABELS = "/dev/disk/by-label"
VOLUMES = ("cidata", "CIDATA")
ESP_FILES = ("/efi/skerry/cloud-config", "/boot/skerry/cloud-config", "/boot/efi/skerry/cloud-config")
STATE = "/var/lib/skerry/provision"
KEPT = f"{STATE}/document"
MOUNT_S = 20


@dataclass(frozen=True, slots=True)
class Found:
    """A document and where it is from. `hostname` is from the meta-data of a NoCloud volume."""

    source: str
    data: bytes = field(repr=False)
    hostname: str | None = None


class Source(Protocol):
    """One place. `fetch` gives None where there is no document, and raises SourceError."""

    @property
    def name(self) -> str: ...

    def fetch(self) -> Found | None: ...


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file that is there, or is not."""

    name: str
    path: Path

    def fetch(self) -> Found | None:
        data = read_bounded(self.path)
        return None if data is None or not data.strip() else Found(self.name, data)


@dataclass(frozen=True, slots=True)
class KeptSource:
    """The last document that was applied, with the hostname that came beside it."""

    directory: Path
    name: str = "kept"

    def fetch(self) -> Found | None:
        data = read_bounded(self.directory / "document")
        if data is None:
            return None
        return Found(self.name, data, _hostname(read_bounded(self.directory / "meta-data") or b""))


@dataclass(frozen=True, slots=True)
class VolumeSource:
    """A NoCloud volume, mounted read-only at a place of our own for as long as it is read."""

    name: str
    device: Path

    def fetch(self) -> Found | None:
        if not self.device.exists():
            return None
        with _mounted(self.device) as place:
            return read_no_cloud(place, self.name)


def read_no_cloud(place: Path, name: str) -> Found | None:
    """The document on a NoCloud volume that is at `place`."""
    data = read_bounded(place / "user-data")
    if data is None or not data.strip():
        return None
    return Found(name, data, _hostname(read_bounded(place / "meta-data") or b""))


def on_this_machine(root: Path = Path("/")) -> tuple[Source, ...]:
    """All sources, in order."""

    def at(path: str) -> Path:
        return root / path.lstrip("/")

    return (
        FileSource("credential", at(f"{CREDENTIALS}/{CREDENTIAL}")),
        FileSource("fw_cfg", at(FW_CFG)),
        *(VolumeSource("volume", at(f"{LABELS}/{label}")) for label in VOLUMES),
        *(FileSource("esp", at(path)) for path in ESP_FILES),
        KeptSource(at(STATE)),
    )


def first(sources: Sequence[Source]) -> tuple[Found | None, tuple[str, ...]]:
    """The document of the first source that has one, and notes on the others that do.

    The kept document is not worth a note where another is present.
    """
    chosen: Found | None = None
    notes: list[str] = []
    for source in sources:
        if chosen is not None and source.name == "kept":
            continue
        try:
            found = source.fetch()
        except SourceError as error:
            notes.append(f"{source.name}: {error.message}")
            continue
        if found is None:
            continue
        if chosen is None:
            chosen = found
        elif found.data != chosen.data:
            notes.append(f"{source.name} has a document too; the one of {chosen.source} is taken")
    return chosen, tuple(notes)


def read_bounded(path: Path) -> bytes | None:
    """A file's content; None where it does not exist. Raises SourceError."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > LARGEST_BYTES:
        raise SourceError(f"{path} is larger than {LARGEST_BYTES // 1024**2} MiB")
    return data


@contextlib.contextmanager
def _mounted(device: Path) -> Iterator[Path]:
    """The device's file system at a private place, read-only, without devices, programs or set-uid."""
    place = Path(tempfile.mkdtemp(prefix="skerry-cidata.", dir="/run" if os.geteuid() == 0 else None))
    options = "ro,nodev,nosuid,noexec"
    try:
        run(["mount", "-t", "iso9660,vfat", "-o", options, str(device), str(place)], timeout_s=MOUNT_S)
    except SkerryError as error:
        place.rmdir()
        raise SourceError(f"cannot mount {device}: {error.message}") from error
    try:
        yield place
    finally:
        with contextlib.suppress(SkerryError):
            run(["umount", str(place)], timeout_s=MOUNT_S)
        with contextlib.suppress(OSError):
            place.rmdir()


def _hostname(meta_data: bytes) -> str | None:
    """`local-hostname` or `hostname` of a meta-data document, which is YAML (or JSON, which is YAML)."""
    from skerry.host.provision.document import HEADER, read
    from skerry.host.provision.values import text

    tree = read(f"{HEADER}\n".encode() + meta_data, "meta-data").tree
    if tree is None:
        return None
    return text(tree, "local_hostname") or text(tree, "hostname")
