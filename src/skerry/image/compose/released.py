"""From an image that was built here to a release: its manifest, and the blobs that it names.

image.content makes what is downloaded and image.release signs; neither knows images, so here is where
they meet.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.image.compose import etc_defaults
from skerry.image.compose.build import Store
from skerry.image.compose.errors import ComposeError
from skerry.image.content import packing, publish
from skerry.image.release import version as versions
from skerry.image.release.errors import DocumentError, MixAndMatchError
from skerry.image.release.manifest import EXTENSION, ROOT, UKI, Blob, Disk, Manifest, Package, Part
from skerry.image.release.references import digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from skerry.image.compose.build import Image
    from skerry.image.release.repository import Repository
    from skerry.image.release.state import State
    from skerry.kit.progress import Reporter

REACH = 100  # so many releases before may be updated by blocks; each takes 80 bytes of a manifest
FILES = {ROOT: "root.erofs", UKI: "skerry.efi"}


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


def version_of(label: str) -> str:
    """The version of an image that was built here. Raises ComposeError where there is none."""
    return Store().read(label).version


def release_of(
    label: str,
    repository: Repository,
    state: State,
    channel: str,
    *,
    notes: str,
    minimum_version: str | None,
    patches: int,
    extensions: Sequence[Path],
    report: Reporter,
    level: int = packing.LEVEL,
    store: Store | None = None,
) -> Made:
    """The release that an image makes, with patches from so many of the channel's last releases.

    And from the newest of every other channel, so that hosts there have one when it is promoted. What was
    made once is kept in the cache. Raises ComposeError, ContentError, DocumentError.
    """
    store = store or Store()
    image = store.read(label)
    work = store.cache / "releases"
    work.mkdir(parents=True, exist_ok=True)
    raw = [*publish.image_parts(store.path(label), image.root_hash), *map(_extension, extensions)]
    older = list(_older(repository, state, channel, patches, store, work))
    indexed = _indexed(repository, state)
    made = publish.parts_of(raw, older, work, indexed=indexed, level=level, report=report)
    files = {blob: one.files[blob.sha256] for one in made for blob in one.part.blobs}
    etc = _etc(store.path(label, "tree.tar"), work)
    files[etc] = work / etc.sha256
    manifest = Manifest(
        name=image.name,
        version=image.version,
        suite=image.suite,
        architecture=image.architecture,
        kernel=image.kernel,
        parts=tuple(one.part for one in made),
        minimum_version=minimum_version,
        notes=notes,
        packages=_packages(store.path(label, "packages.json")),
        etc=etc,
        disk=_disk(store.path(label, "disk.raw"), image),
    )
    return Made(manifest, tuple(repository.disks(state, channel)), files)


def _older(
    repository: Repository, state: State, channel: str, patches: int, store: Store, work: Path
) -> Iterator[publish.Older]:
    """The raw parts of the releases that hosts may come from, the newest first."""
    if not patches:
        return
    wanted = {entry.version: channel for entry in state.document(channel).releases[-patches:]}
    for name, document in state.documents.items():
        if document.newest is not None:
            wanted.setdefault(document.newest.version, name)
    for version in sorted(wanted, key=versions.parse, reverse=True):
        manifest = repository.manifest(state, wanted[version], version)
        for part in manifest.parts:
            yield publish.Older(part.name, version, _raw(repository, manifest, part, store, work))


def _indexed(repository: Repository, state: State) -> list[publish.Indexed]:
    """The parts of the last releases of all channels, by what their indexes say of them."""
    where = {entry.version: name for name, document in state.documents.items() for entry in document.releases}
    last = sorted(where, key=versions.parse, reverse=True)[:REACH]
    manifests = [repository.manifest(state, where[version], version) for version in last]
    return [
        publish.Indexed(part.name, part.sha256, repository.blob(part.index))
        for manifest in manifests
        for part in manifest.parts
    ]


def _raw(repository: Repository, manifest: Manifest, part: Part, store: Store, work: Path) -> Path:
    """A part of an earlier release as it was built: of the image if it is still here, else unpacked."""
    if part.name in FILES:
        built = store.path(f"{manifest.name}_{manifest.version}", FILES[part.name])
        if built.is_file() and built.stat().st_size == part.size and digest(built) == part.sha256:
            return built
    file = work / "raw" / part.sha256
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        _unpack(repository.blob(part.full), part, file)
    return file


def _unpack(packed: Path, part: Part, file: Path) -> None:
    import zstandard

    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".", delete=False) as fresh:
        path = Path(fresh.name)
        try:
            with packed.open("rb") as source:
                zstandard.ZstdDecompressor(max_window_size=1 << 31).copy_stream(source, fresh)
            fresh.flush()
            if digest(path) != part.sha256:
                raise MixAndMatchError(
                    f"{packed} is not the {part.name} that its manifest names",
                    hint="`skerry release verify` tells what is damaged; --patches 0 publishes without it",
                )
            path.rename(file)
        except (OSError, zstandard.ZstdError) as error:
            raise DocumentError(f"{packed} cannot be unpacked: {error}") from error
        finally:
            path.unlink(missing_ok=True)


def _extension(file: Path) -> publish.Raw:
    """NAME.raw, NAME.verity and NAME.roothash, as `skerry image extension build` leaves them."""
    try:
        root_hash = file.with_suffix(".roothash").read_text().strip()
    except OSError as error:
        raise ComposeError(
            f"{file} is no extension: {error}", hint="`skerry image extension build` makes them"
        ) from error
    return publish.Raw(f"{EXTENSION}{file.stem}", file, file.with_suffix(".verity"), root_hash)


def _etc(tree: Path, work: Path) -> Blob:
    with tempfile.NamedTemporaryFile(dir=work, prefix=".etc-", delete=False) as fresh:
        path = Path(fresh.name)
    try:
        etc_defaults.write_etc(tree, path)
        blob = Blob(digest(path), path.stat().st_size)
        path.chmod(0o644)
        path.rename(work / blob.sha256)
    finally:
        path.unlink(missing_ok=True)
    return blob


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
