"""The manifest of a release: what it consists of, and where its bytes are.

    targets/channels/CHANNEL/SHA256.VERSION.json    this document, signed for by the channel's role
    blobs/xx/SHA256                                 what it names, by the hash of the bytes as stored

A part is what a host needs whole: the root, the UKI, each extension. `full`, `index`, `pack` and `patches`
are the ways to come by it (image.content); `sha256` is of the part itself, and so the last word.

Formats: an addition that an older host may ignore keeps the number, so unknown fields are passed over; one
that it must not ignore raises it, and readers refuse it by name.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TypeVar

import msgspec

from skerry.image.release import version as versions
from skerry.image.release.errors import DocumentError, NewerFormatError

FORMAT = 1
ROOT, UKI, EXTENSION = "root", "uki", "extension:"
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PART = re.compile(r"root|uki|extension:[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_NAME = re.compile(r"[a-z][a-z0-9-]{0,63}", re.ASCII)

T = TypeVar("T")


class Blob(msgspec.Struct, frozen=True):
    """Stored bytes: their hash and their number."""

    sha256: str
    size: int

    def __post_init__(self) -> None:
        _check_hash(self.sha256)
        if self.size < 0:
            raise DocumentError(f"blob {self.sha256[:12]} has a size of {self.size}")

    @property
    def path(self) -> str:
        """Where it lies in a repository."""
        return f"blobs/{self.sha256[:2]}/{self.sha256}"


class Patch(msgspec.Struct, frozen=True):
    """Makes a part out of the same part of an older version, whose raw content has the hash `from_sha256`."""

    from_version: str
    from_sha256: str
    blob: Blob

    def __post_init__(self) -> None:
        versions.parse(self.from_version)
        _check_hash(self.from_sha256)


class Verity(msgspec.Struct, frozen=True):
    """dm-verity's parameters of a root: hash, salt in hex, number of 4 KiB blocks, the tree's UUID."""

    root_hash: str
    salt: str
    blocks: int
    uuid: str


class Part(msgspec.Struct, frozen=True):
    """One part: "root", "uki" or "extension:NAME"; `size` and `sha256` are of its raw content.

    `blocks_from` says, by the SHA-256 of the same part of an older release, how many bytes of the pack make
    this one from it, where that and the index are less than `full`: so no host asks in vain.
    """

    name: str
    size: int
    sha256: str
    full: Blob
    index: Blob
    pack: Blob
    patches: tuple[Patch, ...] = ()
    verity: Verity | None = None
    blocks_from: dict[str, int] = {}

    def __post_init__(self) -> None:
        if not _PART.fullmatch(self.name):
            raise DocumentError(f"{self.name!r} is not the name of a part")
        for sha256, needed in {self.sha256: 0, **self.blocks_from}.items():
            _check_hash(sha256)
            if needed < 0:
                raise DocumentError(f"{self.name} takes {needed} bytes of blocks from {sha256[:12]}")

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """All that is stored for it."""
        return (self.full, self.index, self.pack, *(patch.blob for patch in self.patches))


class Package(msgspec.Struct, frozen=True):
    """A Debian package in the image; `size` is what it takes installed, in bytes, 0 where not known."""

    name: str
    version: str
    size: int = 0


class Disk(msgspec.Struct, frozen=True):
    """Bytes of the partitions on a disk that this release made. They never grow on a host."""

    esp: int
    slot: int
    verity: int


class Manifest(msgspec.Struct, frozen=True):
    """A release. `published` in seconds since 1970; `minimum_version` is the oldest it can be installed from.

    `etc` is a tar.zst of the new version's /etc, for the preview of what would change.
    """

    name: str
    version: str
    suite: str
    architecture: str
    kernel: str
    parts: tuple[Part, ...]
    published: float = 0.0
    minimum_version: str | None = None
    notes: str = ""
    packages: tuple[Package, ...] = ()
    etc: Blob | None = None
    disk: Disk | None = None
    format: int = FORMAT

    def __post_init__(self) -> None:
        versions.parse(self.version)
        if self.minimum_version is not None:
            versions.parse(self.minimum_version)
        if not _NAME.fullmatch(self.name):
            raise DocumentError(f"{self.name!r} is not the name of an image")
        names = [part.name for part in self.parts]
        if len(set(names)) != len(names):
            raise DocumentError(f"{self.version} has a part twice")

    def part(self, name: str) -> Part:
        """A part by its name. Raises DocumentError where the release has none."""
        for part in self.parts:
            if part.name == name:
                return part
        raise DocumentError(f"release {self.version} has no {name}")

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Every blob of the release, once."""
        found = [blob for part in self.parts for blob in part.blobs]
        return tuple(dict.fromkeys([*found, *([self.etc] if self.etc else [])]))

    def encode(self) -> bytes:
        """The document; the same manifest always gives the same bytes."""
        return encode(self)


def decode(document: bytes) -> Manifest:
    """Read a manifest. Raises DocumentError, NewerFormatError."""
    return decode_document(document, Manifest, "manifest", FORMAT)


def target_path(channel: str, version: str) -> str:
    """Where a channel's manifest of a version is, as TUF names it (PATH below targets/, without the hash)."""
    return f"channels/{channel}/{version}.json"


def stored_path(path: str, sha256: str) -> str:
    """Where a target lies on disk and on servers: its hash is put before its name (consistent snapshots)."""
    target = PurePosixPath(path)
    return str(PurePosixPath("targets") / target.parent / f"{sha256}.{target.name}")


def encode(document: msgspec.Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def decode_document(document: bytes, kind: type[T], what: str, known: int) -> T:
    """Read a document that has a `format`, refusing those of a later one by name."""
    try:
        head = msgspec.json.decode(document, type=_Head)
        if head.format > known:
            raise NewerFormatError(
                f"this {what} has format {head.format}, and this version of Skerry knows {known}",
                hint="a version between this one and the latest knows both; on a workstation, update Skerry",
            )
        return msgspec.json.decode(document, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DocumentError(f"this is not a {what}: {error}") from error


class _Head(msgspec.Struct, frozen=True):
    format: int


def _check_hash(text: str) -> None:
    if not _SHA256.fullmatch(text):
        raise DocumentError(f"{text[:80]!r} is not a SHA-256 in hexadecimal")
