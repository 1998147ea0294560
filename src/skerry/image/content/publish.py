"""What publishing a release stores: for each part the full blob, the index and pack of its blocks, patches.

    STORE/SHA256              a blob, by its own hash
    STORE/made/KEY.json       what was made of which content, so that publishing again costs nothing

Takes raw files and returns the manifest's parts; knows no repository and signs nothing.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from skerry.image.content import blocks, packing, verity
from skerry.image.content.errors import FormatError
from skerry.image.release.manifest import Blob, Part, Patch
from skerry.kit.files import write_atomic
from skerry.kit.progress import Phase, Progress, Reporter, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

MADE = 3  # raise it when the same content would now give other blobs
_CHUNK_BYTES = 1 << 20


class Raw(msgspec.Struct, frozen=True):
    """A part as it was built. Roots have a hash device and a root hash; `name` as in Part."""

    name: str
    path: Path
    hashes: Path | None = None
    root_hash: str | None = None


class Older(msgspec.Struct, frozen=True):
    """The same part of an earlier release, raw; newest first in lists."""

    name: str
    version: str
    path: Path


class Indexed(msgspec.Struct, frozen=True):
    """The same part of an earlier release, by its SHA-256, of which the index blob is at hand."""

    name: str
    sha256: str
    index: Path


class Published(msgspec.Struct, frozen=True):
    """A part, and where each blob that it names lies: the hash to the file."""

    part: Part
    files: dict[str, Path]


class _Made(msgspec.Struct, frozen=True):
    blobs: tuple[Blob, ...]


def image_parts(directory: Path, root_hash: str) -> tuple[Raw, ...]:
    """The parts of an image as the composer leaves it in its store: root.erofs, root.verity, skerry.efi."""
    return (
        Raw("root", directory / "root.erofs", directory / "root.verity", root_hash),
        Raw("uki", directory / "skerry.efi"),
    )


def image_older(directory: Path, version: str) -> tuple[Older, ...]:
    """The same of an earlier release."""
    return (
        Older("root", version, directory / "root.erofs"),
        Older("uki", version, directory / "skerry.efi"),
    )


def parts_of(
    files: Sequence[Raw],
    previous: Sequence[Older],
    store: Path,
    *,
    indexed: Sequence[Indexed] = (),
    level: int = packing.LEVEL,
    patches: bool = True,
    report: Reporter = silent,
) -> tuple[Published, ...]:
    """Make all blobs of these parts in `store`. Raises ContentError, OSError.

    Hosts with an earlier release have a patch where it is one of `previous`, and blocks where it is one of
    `previous` or `indexed`; others take the whole.
    """
    (store / "made").mkdir(parents=True, exist_ok=True)
    return tuple(
        _part(
            raw, [one for one in previous if one.name == raw.name],
            [one for one in indexed if one.name == raw.name], store, level, patches, report,
        )
        for raw in files
    )  # fmt: skip


def _part(
    raw: Raw,
    previous: Sequence[Older],
    indexed: Sequence[Indexed],
    store: Path,
    level: int,
    patches: bool,
    report: Reporter,
) -> Published:
    sha256 = sha256_of(raw.path)
    sealed = None if raw.hashes is None else verity.describe(raw.hashes, raw.root_hash or "")
    if sealed is not None and raw.hashes is not None:
        verity.check(raw.path, raw.hashes, sealed)  # what hosts would refuse must not be published
    salt = _salt(raw.name) if sealed is None else bytes.fromhex(sealed.salt)
    older = {one.version: sha256_of(one.path) for one in previous}

    def full() -> Iterator[Path]:
        with _new(store) as (file, path):
            packing.pack_file(raw.path, file, level=level, threads=os.cpu_count() or 1)
            file.flush()
            yield path

    def by_blocks() -> Iterator[Path]:
        with _new(store) as (file, path):
            index = blocks.make(raw.path, salt, [one.path for one in previous], file, level=level)
            with _new(store) as (other, index_path):
                other.write(index)
                other.flush()
                yield index_path
                file.flush()
                yield path

    work = _Work(store, raw.name, level, report)
    [whole] = work.make("full", [sha256], full)
    index, pack = work.make("blocks", [sha256, salt.hex(), *older.values()], by_blocks)
    made = []
    for one in previous if patches else ():
        if older[one.version] == sha256:
            continue  # the host sees that it has the same
        patch = _patch(work, one, raw, older[one.version], sha256)
        if patch.blob.size < whole.size:
            made.append(patch)
    digests = {one.sha256: _digests(one.index, salt) for one in indexed} | {
        older[one.version]: blocks.digests_of(one.path, one.path.stat().st_size, salt) for one in previous
    }
    digests.pop(sha256, None)
    reach = _blocks_from(store / index.sha256, whole.size, digests)
    size = raw.path.stat().st_size
    part = Part(raw.name, size, sha256, whole, index, pack, tuple(made), sealed, reach)
    return Published(part, {blob.sha256: store / blob.sha256 for blob in part.blobs})


def _blocks_from(index: Path, full_bytes: int, older: Mapping[str, Iterable[bytes]]) -> dict[str, int]:
    """How much of the pack each older part takes, by its SHA-256, where that wins against the whole."""
    new = blocks.read(index.read_bytes())
    found = {}
    for sha256, digests in sorted(older.items()):
        needed = blocks.locate(new, digests).pack_bytes(new)
        if index.stat().st_size + needed < full_bytes:
            found[sha256] = needed
    return found


def _digests(index: Path, salt: bytes) -> Iterator[bytes]:
    """The different blocks of an older part; none where its index is of another salt, or cannot be read."""
    try:
        old = blocks.read(index.read_bytes())
    except (OSError, FormatError):
        return
    if old.salt == salt:
        yield from old.digests


def _patch(work: _Work, old: Older, new: Raw, from_sha256: str, to_sha256: str) -> Patch:
    from skerry.image.content import delta

    def produce() -> Iterator[Path]:
        with _new(work.store) as (file, path):
            delta.make(old.path, new.path, file, from_sha256, to_sha256, level=work.level)
            file.flush()
            yield path

    [blob] = work.make(f"patch from {old.version}", [from_sha256, to_sha256], produce)
    return Patch(old.version, from_sha256, blob)


class _Work:
    """Makes blobs once for each content."""

    def __init__(self, store: Path, name: str, level: int, report: Reporter) -> None:
        self.store = store
        self.level = level
        self._name = name
        self._report = report

    def make(
        self, what: str, given: Sequence[str], produce: Callable[[], Iterator[Path]]
    ) -> tuple[Blob, ...]:
        step = f"{self._name}: {what}"
        kind = what.split()[0]
        key = hashlib.sha256(repr((MADE, kind, self.level, list(given))).encode()).hexdigest()[:32]
        note = self.store / "made" / f"{key}.json"
        found = self._found(note)
        if found is not None:
            self._report(Progress(step, Phase.REUSED))
            return found.blobs
        self._report(Progress(step, Phase.STARTED))
        blobs = []
        for path in produce():
            blob = Blob(sha256_of(path), path.stat().st_size)
            path.chmod(0o644)
            os.link(path, self.store / f".{path.name}.kept")
            (self.store / f".{path.name}.kept").replace(self.store / blob.sha256)
            blobs.append(blob)
        made = _Made(tuple(blobs))
        write_atomic(note, msgspec.json.encode(made))
        size = sum(blob.size for blob in blobs)
        self._report(Progress(step, Phase.DONE, note=f"{size / 1e6:.2f} MB"))
        return made.blobs

    def _found(self, note: Path) -> _Made | None:
        try:
            made = msgspec.json.decode(note.read_bytes(), type=_Made)
            whole = all((self.store / blob.sha256).stat().st_size == blob.size for blob in made.blobs)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return made if whole else None


@contextmanager
def _new(store: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A file in the making, gone afterwards; what is kept of it was linked."""
    with tempfile.NamedTemporaryFile(dir=store, prefix=".new-", delete=False) as file:
        path = Path(file.name)
        try:
            yield file, path
        finally:
            path.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _salt(name: str) -> bytes:
    """For parts without verity: fixed, so that nothing depends on who publishes."""
    return hashlib.sha256(f"skerry blocks {name}".encode()).digest()
