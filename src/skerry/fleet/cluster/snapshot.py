"""The store in a file: what stands at one revision, checked when it is read.

    skerry-<revision>.snapshot   gzip of lines of JSON:
    {"snapshot": 1, "cluster": …, "taken": seconds since 1970, "revision": …, "leases": {id: seconds left}}
    {"key": …, "value": base64, "create_revision": …, "mod_revision": …, "version": …, "lease": …}  each entry
    {"entries": how many, "sha256": of all lines before this one}

It holds what the store holds, tokens and secrets as well: mode 0600. It is not etcd's own snapshot: it can be
taken from any driver, and read by any version.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import logging
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from skerry.fleet.cluster.errors import SnapshotError
from skerry.fleet.cluster.transfer import Picture, take_picture
from skerry.fleet.store.errors import StoreError
from skerry.fleet.store.interface import Entry
from skerry.kit.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from skerry.fleet.store.interface import Store
    from skerry.kit.clock import Clock

VERSION = 1
NAME = re.compile(r"skerry-(\d+)\.snapshot", re.ASCII)
KEEP = 7
EVERY_S = 6 * 3600.0

log = logging.getLogger(__name__)


class _Head(msgspec.Struct, frozen=True):
    snapshot: int
    cluster: str
    taken: float
    revision: int
    leases: dict[int, float] = {}


class _Tail(msgspec.Struct, frozen=True):
    entries: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a file holds; `taken` is in seconds since 1970."""

    cluster: str
    taken: float
    picture: Picture


def write_picture(picture: Picture, path: Path, cluster: str, clock: Clock) -> None:
    """Write what stood; the file is whole or not there. Raises SnapshotError."""
    head = _Head(VERSION, cluster, clock.now(), picture.revision, picture.leases)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(path, head, picture)
    except OSError as error:
        raise SnapshotError(f"{path} cannot be written: {error.strerror}") from error


def read_snapshot(path: Path) -> Snapshot:
    """Raises SnapshotError for a file that is none, is damaged or newer."""
    try:
        lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
        head = msgspec.json.decode(lines[0], type=_Head)
        if head.snapshot > VERSION:
            raise SnapshotError(
                f"{path} has format {head.snapshot}, this version of Skerry reads up to {VERSION}",
                hint="restore it with the version that wrote it, or a newer one",
            )
        tail = msgspec.json.decode(lines[-1], type=_Tail)
        sha256 = hashlib.sha256(b"".join(lines[:-1])).hexdigest()
        if sha256 != tail.sha256 or len(lines) != tail.entries + 2:
            raise SnapshotError(f"{path} is damaged: its content has another hash than it says")
        decoder = msgspec.json.Decoder(Entry)
        entries = tuple(decoder.decode(line) for line in lines[1:-1])
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            raise SnapshotError(f"{path} is no snapshot") from error
        raise SnapshotError(f"{path} cannot be read: {error.strerror}") from error
    except (EOFError, zlib.error, IndexError, msgspec.DecodeError) as error:
        raise SnapshotError(f"{path} is damaged: {error}") from error
    return Snapshot(head.cluster, head.taken, Picture(head.revision, entries, head.leases))


def snapshots(directory: Path) -> list[Path]:
    """The snapshots in a directory, the oldest first."""
    found = [(int(match[1]), path) for path in directory.glob("*") if (match := NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


async def keep_snapshots(
    store: Store,
    directory: Path,
    cluster: str,
    clock: Clock,
    *,
    every_s: float = EVERY_S,
    keep: int = KEEP,
) -> None:
    """Write one now and then, of a store that has changed, and remove the oldest; for ever.

    Every server keeps its own. A failure is said, and the next one comes in its time.
    """
    while True:
        try:
            await next_snapshot(store, directory, cluster, clock, keep=keep)
        except (StoreError, SnapshotError, OSError) as error:
            log.error("No snapshot of the store was taken: %s", error)  # noqa: TRY400  a sentence is enough
        await clock.sleep(every_s)


async def next_snapshot(
    store: Store, directory: Path, cluster: str, clock: Clock, *, keep: int = KEEP
) -> Path | None:
    """The snapshot that was written, None where there is one of this revision. Raises SnapshotError."""
    revision = (await store.list(".")).revision
    if (directory / _name(revision)).exists():
        return None
    return await snapshot_now(store, directory, cluster, clock, keep=keep)


async def snapshot_now(
    store: Store, directory: Path, cluster: str, clock: Clock, *, keep: int = KEEP
) -> Path:
    """The snapshot that was written; the oldest beside it go. Raises SnapshotError, StoreError.

    The timer and a person may want one at the same moment: each is written apart, and put there whole.
    """
    picture = await take_picture(store)
    path = directory / _name(picture.revision)
    await asyncio.to_thread(write_picture, picture, path, cluster, clock)
    others = [other for other in snapshots(directory) if other != path]
    for old in others[: max(len(others) + 1 - keep, 0)]:
        old.unlink(missing_ok=True)
    return path


def _name(revision: int) -> str:
    return f"skerry-{revision}.snapshot"


def _write(path: Path, head: _Head, picture: Picture) -> None:
    encode = msgspec.json.encode
    lines: Sequence[bytes] = [encode(head), *(encode(entry) for entry in picture.entries)]
    body = b"".join(line + b"\n" for line in lines)
    tail = encode(_Tail(len(picture.entries), hashlib.sha256(body).hexdigest())) + b"\n"
    write_atomic(path, gzip.compress(body + tail, 6, mtime=0), mode=0o600)
