"""Everything that a repository's current metadata refers to, by path: what must be there, and may not go."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.image.release import channel as channels
from skerry.image.release import manifest as manifests
from skerry.image.release import roles

if TYPE_CHECKING:
    from pathlib import Path

    from skerry.image.release.manifest import Blob, Manifest
    from skerry.image.release.repository import Repository
    from skerry.image.release.state import State

COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class References:
    """`metadata` and `documents` are paths below the repository; `blobs` are by hash."""

    metadata: frozenset[str]
    documents: frozenset[str]
    blobs: dict[str, Blob]
    manifests: dict[tuple[str, str], Manifest]


def of(repository: Repository, state: State) -> References:
    """What `state` refers to. Raises DocumentError, MixAndMatchError where a document is not as it was."""
    metadata = {f"metadata/{number}.root.json" for number in range(1, state.root.signed.version + 1)}
    metadata.add("metadata/timestamp.json")
    for role, one in state.every().items():
        if role not in (roles.ROOT, roles.TIMESTAMP):
            metadata.add(f"metadata/{one.signed.version}.{role}.json")
    documents = set()
    blobs: dict[str, Blob] = {}
    found: dict[tuple[str, str], Manifest] = {}
    for name, signing in state.channels.items():
        for path, target in signing.signed.targets.items():
            documents.add(manifests.stored_path(path, target.hashes["sha256"]))
            if path != channels.target_path(name):
                version = path.rpartition("/")[2].removesuffix(".json")
                manifest = repository.manifest(state, name, version)
                found[name, version] = manifest
                blobs |= {blob.sha256: blob for blob in manifest.blobs}
    return References(frozenset(metadata), frozenset(documents), blobs, found)


def digest(path: Path) -> str:
    """The SHA-256 of a file, read piece by piece."""
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(COPY_BYTES):
            hashed.update(piece)
    return hashed.hexdigest()
