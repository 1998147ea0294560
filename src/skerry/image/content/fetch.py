"""Blobs from a repository, whole or in ranges, into a directory; continued where they were cut, at any byte.

    DIRECTORY/SHA256              a whole blob, verified
    DIRECTORY/SHA256-KEY          ranges of a blob, one after the other; KEY names which. Not verified here:
                                  a range has no hash of its own, what is made of it has
    DIRECTORY/….part              what came so far

Nothing that a server says about itself is relied on: not its lengths, not that it knows ranges, not that it
ever ends. Size and hash are the signed ones; what does not fit them is thrown away and asked for once more.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING

from skerry.image.content.errors import MismatchError, NoRoomError
from skerry.kit.progress import Phase, Progress, Reporter, silent
from skerry.kit.transport import InterruptedTransferError, RangeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import IO

    from skerry.image.release.manifest import Blob
    from skerry.kit.transport import Body, Transport

Span = tuple[int, int]  # from, to (exclusive)

GAP_BYTES = 8 * 1024  # so much unwanted is cheaper than another request
PROGRESS_BYTES = 64 * 1024  # who brings this much has not failed: the count of failures begins again
LONGEST_WAIT_S = 60.0
SPARE_BYTES = 8 << 20  # is left free on the disk
_CHUNK_BYTES = 1 << 20


class Fetcher:
    """Fetches what manifests name. `tries` is how often in a row a transfer may fail without getting on."""

    def __init__(
        self,
        transport: Transport,
        base_url: str,
        directory: Path,
        *,
        tries: int = 6,
        sleep: Callable[[float], None] = time.sleep,
        free: Callable[[Path], int] | None = None,
    ) -> None:
        self.directory = directory
        self.fetched_bytes = 0  # that came over the wire and were wanted, or lay between
        self._transport = transport
        self._base_url = base_url.rstrip("/")
        self._tries = tries
        self._sleep = sleep
        self._free = free or free_bytes

    def blob(self, blob: Blob, report: Reporter = silent, *, step: str = "download") -> Path:
        """A whole blob, verified. Raises TransportError, MismatchError, NoRoomError."""
        final = self.directory / blob.sha256
        if final.exists() and final.stat().st_size == blob.size and _sha256(final) == blob.sha256:
            return final
        partial = final.with_name(f"{final.name}.part")
        self._fill(partial, blob, [(0, blob.size)], report, step)
        if _sha256(partial) != blob.sha256:
            # Perhaps only what an earlier run left: a power cut may leave zeros where data were.
            partial.unlink()
            self._fill(partial, blob, [(0, blob.size)], report, step)
            if _sha256(partial) != blob.sha256:
                partial.unlink()
                raise MismatchError(
                    f"{self._url(blob)} is not what was signed: its SHA-256 is another",
                    hint="the server's copy is damaged: publish or mirror it again",
                )
        partial.replace(final)
        return final

    def ranges(
        self, blob: Blob, spans: Sequence[Span], report: Reporter = silent, *, step: str = "download"
    ) -> Path:
        """A file with the bytes of `spans` (ascending, apart) one after the other, unverified.

        Raises TransportError, NoRoomError.
        """
        key = hashlib.sha256(repr(list(spans)).encode()).hexdigest()[:16]
        final = self.directory / f"{blob.sha256}-{key}"
        if final.exists() and final.stat().st_size == sum(to - at for at, to in spans):
            return final
        partial = final.with_name(f"{final.name}.part")
        self._fill(partial, blob, spans, report, step)
        partial.replace(final)
        return final

    def forget(self, path: Path) -> None:
        """Remove a file that turned out to be wrong, so that it is fetched again."""
        path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove everything that was fetched, whole or not."""
        if self.directory.is_dir():
            for path in self.directory.iterdir():
                path.unlink(missing_ok=True)

    def _fill(self, partial: Path, blob: Blob, spans: Sequence[Span], report: Reporter, step: str) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        total = sum(to - at for at, to in spans)
        had = partial.stat().st_size if partial.exists() else 0
        if had > total:
            partial.unlink()
            had = 0
        self._room(total - had)
        report(Progress(step, Phase.STARTED, had, total))
        failures = 0
        with partial.open("ab") as file:
            while had < total:
                before = had
                try:
                    had = self._once(file, blob, spans, had, lambda done: report(
                        Progress(step, Phase.ADVANCED, done, total)
                    ), ranged=failures < self._tries - 1)  # fmt: skip
                except (InterruptedTransferError, RangeError):
                    file.flush()
                    had = file.tell()
                    failures = 1 if had - before >= PROGRESS_BYTES else failures + 1
                    if failures >= self._tries:
                        raise
                    self._sleep(min(2.0 ** (failures - 1), LONGEST_WAIT_S))
        report(Progress(step, Phase.DONE, total, total))

    def _once(
        self,
        file: IO[bytes],
        blob: Blob,
        spans: Sequence[Span],
        had: int,
        tell: Callable[[int], None],
        *,
        ranged: bool,
    ) -> int:
        """Ask once for as much of what is missing as one request brings; how much of all is there then."""
        missing = _after(spans, had)
        start, end = _first_request(missing)
        if not ranged:
            start, end = 0, missing[-1][1]
        with self._open(blob, start, end) as body:
            if body.start > start:
                raise RangeError(f"{self._url(blob)}: the server sent another range than asked for")
            at = body.start
            upto = missing[-1][1] if body.start == 0 else end  # all is coming: take all that is wanted of it
            for chunk in body.chunks():
                self.fetched_bytes += min(len(chunk), max(0, upto - at))
                for piece in _wanted(chunk, at, missing, upto):
                    file.write(piece)
                    had += len(piece)
                at += len(chunk)
                tell(had)
                if at >= upto:
                    break
        file.flush()
        if at < upto:
            raise InterruptedTransferError(f"{self._url(blob)}: the server sent too little")
        return had

    def _open(self, blob: Blob, start: int, end: int) -> AbstractContextManager[Body]:
        whole = start == 0 and end == blob.size
        return self._transport.open(self._url(blob), start=start, end=None if whole else end)

    def _url(self, blob: Blob) -> str:
        return f"{self._base_url}/{blob.path}"

    def _room(self, needed: int) -> None:
        free = self._free(self.directory)
        wanted = needed + SPARE_BYTES
        if needed and free < wanted:
            raise NoRoomError(
                f"{self.directory} has {free >> 20} MiB free, and {wanted >> 20} MiB are needed",
                hint="remove something from /var: `podman system prune`, `journalctl --vacuum-size=50M`",
            )


def free_bytes(directory: Path) -> int:
    """What may still be written to the file system of a directory."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def coalesced(spans: Sequence[Span], gap: int = GAP_BYTES) -> list[Span]:
    """Requests that bring all of `spans`, with at most `gap` unwanted bytes between two."""
    requests: list[Span] = []
    for at, to in spans:
        if requests and at - requests[-1][1] <= gap:
            requests[-1] = (requests[-1][0], to)
        else:
            requests.append((at, to))
    return requests


def _first_request(missing: Sequence[Span]) -> Span:
    start, end = missing[0]
    for at, to in missing[1:]:
        if at - end > GAP_BYTES:
            break
        end = to
    return start, end


def _after(spans: Sequence[Span], had: int) -> list[Span]:
    """What of `spans` is missing when the first `had` bytes are there."""
    left = []
    for at, to in spans:
        if had >= to - at:
            had -= to - at
        else:
            left.append((at + had, to))
            had = 0
    return left


def _wanted(chunk: bytes, at: int, spans: Sequence[Span], upto: int) -> Iterator[bytes]:
    """The pieces of a chunk, which begins at `at`, that lie in `spans` and before `upto`."""
    end = min(at + len(chunk), upto)
    for first, last in spans:
        if first >= end:
            return
        if last > at:
            yield chunk[max(first, at) - at : min(last, end) - at]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
