"""From an image that was built here to a release: its manifest, and the blobs that it names.

The composer knows images, image.content makes what is downloaded, image.release signs; none of them knows the
others, so here is where they meet.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.image.compose import etc_defaults
from skerry.image.compose.build import Store
from skerry.image.compose.errors import ComposeError
from skerry.image.release.manifest import ROOT, UKI, Blob, Disk, Manifest, Package, Part
from skerry.image.release.references import digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from skerry.image.compose.build import Image
    from skerry.image.release.repository import Repository
    from skerry.image.release.state import State
    from skerry.kit.progress import Reporter


@dataclass(frozen=True, slots=True)
class Made:
    """A release that is ready to be published. `files` has the content of each of its blobs."""

    manifest: Manifest
    disks: tuple[Disk | None, ...]
    files: Mapping[Blob, Path]

    @property
    def stored_bytes(self) -> int:
        return sum(blob.size for blob in self.files)

    def store(self, repository: Repository) -> int:
        """Put the blobs in place; returns how many bytes were not there yet."""
        return sum(blob.size for blob, path in self.files.items() if repository.add_blob(path, blob))


@contextlib.contextmanager
def release_of(
    label: str,
    repository: Repository,
    state: State,
    channel: str,
    *,
    notes: str,
    minimum_version: str | None,
    patches: int,
    report: Reporter,
) -> Iterator[Made]:
    """The release that an image makes in a channel, with patches from so many of its last releases.

    Its blobs' files are gone when the context ends. Raises ComposeError.
    """
    store = Store()
    image = store.read(label)
    repository.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".publish-", dir=repository.directory) as name:
        work = Path(name)
        etc = work / "etc.tar.zst"
        etc_defaults.write_etc(store.path(label, "tree.tar"), etc)
        etc_blob = Blob(digest(etc), etc.stat().st_size)
        parts, files = _parts(store, image, work)
        manifest = Manifest(
            name=image.name,
            version=image.version,
            suite=image.suite,
            architecture=image.architecture,
            kernel=image.kernel,
            parts=parts,
            minimum_version=minimum_version,
            notes=notes,
            packages=_packages(store.path(label, "packages.json")),
            etc=etc_blob,
            disk=_disk(store.path(label, "disk.raw"), image),
        )
        yield Made(manifest, tuple(repository.disks(state, channel)), {**files, etc_blob: etc})


def _packages(file: Path) -> tuple[Package, ...]:
    return tuple(
        Package(one["name"], one["version"], int(one.get("size", 0))) for one in json.loads(file.read_text())
    )


def _disk(file: Path, image: Image) -> Disk:
    sizes = etc_defaults.partitions(file)
    try:
        return Disk(esp=sizes["esp"][0], slot=sizes[image.label][0], verity=sizes[f"{image.label}_verity"][0])
    except KeyError as error:
        raise ComposeError(f"{file} has no partition {error}", hint="build the image again") from error


def _parts(store: Store, image: Image, work: Path) -> tuple[tuple[Part, ...], dict[Blob, Path]]:
    """Whole downloads only."""
    import zstandard

    from skerry.image.content.verity import describe

    empty = work / "empty"
    empty.write_bytes(b"")
    nothing = Blob(digest(empty), 0)
    files = {nothing: empty}
    parts = []
    for name, file in ((ROOT, "root.erofs"), (UKI, "skerry.efi")):
        raw, packed = store.path(image.label, file), work / f"{name}.zst"
        with raw.open("rb") as source, packed.open("wb") as target:
            zstandard.ZstdCompressor(level=9, threads=2, write_checksum=True).copy_stream(
                source, target, size=raw.stat().st_size
            )
        full = Blob(digest(packed), packed.stat().st_size)
        files[full] = packed
        verity = None
        if name == ROOT:
            verity = describe(store.path(image.label, "root.verity"), image.root_hash)
        parts.append(Part(name, raw.stat().st_size, digest(raw), full, nothing, nothing, (), verity))
    return tuple(parts), files
