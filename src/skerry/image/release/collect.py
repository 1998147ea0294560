"""`gc`: removes what nothing refers to, and only after a time.

A reader that came before the last publish still asks for files of that moment, and a publisher puts blobs in
place before anything refers to them: so what is younger than `older_than` seconds stays.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from skerry.image.release import references

if TYPE_CHECKING:
    from skerry.image.release.repository import Repository

GRACE_S = 2 * 86400.0
# Nothing else is ever removed: a repository may share its directory with other things that are served.
_OURS = re.compile(
    r"metadata/(\d+\.[a-z][a-z0-9-]*|timestamp)\.json|metadata/\..+"
    r"|targets/channels/[a-z0-9-]+/(\..+|[0-9a-f]{64}\.[0-9a-z.]+\.json)"
    r"|blobs/[0-9a-f]{2}/(\..+|[0-9a-f]{64})",
    re.ASCII,
)


class Collected(msgspec.Struct, frozen=True):
    """What was, or would be, removed."""

    files: tuple[str, ...]
    freed_bytes: int
    kept: int


def collect(repository: Repository, now: float, *, older_than: float = GRACE_S, dry_run: bool) -> Collected:
    """Remove what nothing refers to. Raises PublishError and its like where the repository cannot be read."""
    with repository.lock():
        wanted = references.of(repository, repository.read())
        keep = {*wanted.metadata, *wanted.documents, *(blob.path for blob in wanted.blobs.values())}
        gone, freed, kept = [], 0, 0
        for path in sorted(repository.directory.rglob("*")):
            name = path.relative_to(repository.directory).as_posix()
            if not _OURS.fullmatch(name) or not path.is_file():
                continue
            if name in keep or now - path.stat().st_mtime < older_than:
                kept += 1
                continue
            gone.append(name)
            freed += path.stat().st_size
            if not dry_run:
                path.unlink()
    return Collected(tuple(gone), freed, kept)
