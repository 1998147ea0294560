"""A whole copy of a repository from any URL into a directory: verified, incremental, and always servable.

    blobs → documents → channels, targets → snapshot → roots → timestamp

What is there is not fetched again, a blob that was cut goes on where it ended, and until the timestamp is
written the directory is the copy that it was. Everything is verified like on a host, from a root that is
given: a mirror that was lied to stays as it was. `DIRECTORY/.mirror` keeps what the copy trusts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from tuf.api.metadata import Root, Targets  # type: ignore[attr-defined]

from skerry.image.release import channel as channels
from skerry.image.release import manifest as manifests
from skerry.image.release import roles
from skerry.image.release.client import Client
from skerry.image.release.errors import EndlessDataError, MixAndMatchError, SignatureError
from skerry.image.release.references import digest
from skerry.kit.files import sync_directory
from skerry.kit.progress import Phase, Progress, Reporter, silent
from skerry.kit.transport import InterruptedTransferError, RangeError, read

if TYPE_CHECKING:
    from pathlib import Path

    from skerry.image.release.manifest import Blob, Manifest
    from skerry.image.release.repository import Repository
    from skerry.kit.clock import Clock
    from skerry.kit.transport import Transport

STATE = ".mirror"
TRIES = 5
MAX_ROOT_BYTES = 512_000


class Mirrored(msgspec.Struct, frozen=True):
    """What a run came to; `fetched_bytes` of blobs, `held_bytes` of those that were there."""

    releases: int
    blobs: int
    fetched: int
    fetched_bytes: int
    held_bytes: int


def mirror(
    repository: Repository,
    transport: Transport,
    url: str,
    trusted: bytes,
    clock: Clock,
    *,
    check: bool = False,
    dry_run: bool = False,
    report: Reporter = silent,
) -> Mirrored:
    """Bring the copy up to date. `check` reads the blobs that are there, too, and fetches damaged ones again.

    Raises TrustError, TransportError, BusyError.
    """
    with repository.lock():
        state = repository.directory / STATE
        client = Client(state, transport, url, trusted, clock)
        client.refresh()
        targets = roles.read((state / "targets.json").read_bytes(), Targets, "targets.json")
        names = roles.channels(targets.signed)
        found: list[Manifest] = []
        documents: dict[str, bytes] = {}
        for name in names:
            document = client.channel(name)
            documents[channels.target_path(name)] = client.document_bytes(channels.target_path(name))
            for entry in document.releases:
                found.append(client.manifest(name, entry.version))
                path = manifests.target_path(name, entry.version)
                documents[path] = client.document_bytes(path)
        blobs = {blob.sha256: blob for manifest in found for blob in manifest.blobs}
        missing = [blob for blob in blobs.values() if not _have(repository, blob, check=check)]
        fetched = sum(blob.size for blob in missing)
        if not dry_run:
            _fetch_all(repository, transport, url, missing, report)
            for path, data in documents.items():
                repository.write_target(path, data)
            _metadata(repository, transport, url, trusted, state, names)
    held = sum(blob.size for blob in blobs.values()) - fetched
    return Mirrored(len(found), len(blobs), len(missing), fetched, held)


def _have(repository: Repository, blob: Blob, *, check: bool) -> bool:
    path = repository.blob(blob)
    if not path.is_file() or path.stat().st_size != blob.size:
        return False
    return not check or digest(path) == blob.sha256


def _fetch_all(
    repository: Repository, transport: Transport, url: str, missing: list[Blob], report: Reporter
) -> None:
    total, done = sum(blob.size for blob in missing), 0
    report(Progress("blobs", Phase.STARTED, total=total))
    for blob in missing:
        path = repository.blob(blob)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{blob.sha256}.partial")
        _fetch(transport, f"{url.rstrip('/')}/{blob.path}", blob, partial)
        partial.chmod(0o644)
        partial.rename(path)
        sync_directory(path.parent)
        done += blob.size
        report(Progress("blobs", Phase.ADVANCED, done=done, total=total))
    report(Progress("blobs", Phase.DONE, note=f"{len(missing)} fetched"))


def _fetch(transport: Transport, url: str, blob: Blob, partial: Path) -> None:
    """One blob, from where it was cut; several tries while each brings something."""
    for left in reversed(range(TRIES)):
        have = partial.stat().st_size if partial.exists() else 0
        try:
            if have < blob.size or not blob.size:
                _append(transport, url, blob, partial, have)
            break
        except RangeError:
            partial.unlink(missing_ok=True)
            if not left:
                raise
        except InterruptedTransferError:
            if not left:
                raise
    if digest(partial) != blob.sha256:
        partial.unlink()
        raise MixAndMatchError(
            f"{url} is not the blob that its manifest names",
            hint="the server's copy is damaged; `skerry release verify` tells its operator",
        )


def _append(transport: Transport, url: str, blob: Blob, partial: Path, have: int) -> None:
    with transport.open(url, start=have) as body, partial.open("r+b" if have else "wb") as file:
        file.seek(body.start)
        file.truncate()
        at = body.start
        for chunk in body.chunks():
            at += len(chunk)
            if at > blob.size:
                raise EndlessDataError(f"{url} goes on after the {blob.size} bytes that it has")
            file.write(chunk)
    if at < blob.size:
        raise InterruptedTransferError(f"{url} ended after {at} of {blob.size} bytes")


def _metadata(
    repository: Repository,
    transport: Transport,
    url: str,
    trusted: bytes,
    state: Path,
    names: tuple[str, ...],
) -> None:
    for role in (*names, roles.TARGETS, roles.SNAPSHOT):
        data = (state / f"{role}.json").read_bytes()
        version = roles.version_of(data)
        repository.write_metadata(f"{version}.{role}", data)
    for number, data in _all_roots(transport, url, trusted, state).items():
        repository.write_metadata(f"{number}.root", data)
    repository.write_metadata(roles.TIMESTAMP, (state / "timestamp.json").read_bytes())


def _all_roots(transport: Transport, url: str, trusted: bytes, state: Path) -> dict[int, bytes]:
    """Every root from the first on: there are hosts that were sealed with each of them."""
    latest = (state / "root.json").read_bytes()
    known = {roles.version_of(trusted): trusted, roles.version_of(latest): latest}
    found: dict[int, bytes] = {}
    for number in range(1, max(known) + 1):
        kept = state / "root_history" / f"{number}.root.json"
        if number in known:
            found[number] = known[number]
        elif kept.exists():
            found[number] = kept.read_bytes()
        else:
            found[number] = read(
                transport, f"{url.rstrip('/')}/metadata/{number}.root.json", limit=MAX_ROOT_BYTES
            )
    before: Root | None = None
    for number, data in found.items():
        metadata = roles.read(data, Root, f"{number}.root.json")
        if metadata.signed.version != number:
            raise SignatureError(f"{number}.root.json calls itself version {metadata.signed.version}")
        roles.check(metadata, roles.ROOT, metadata.signed)
        if before is not None:
            roles.check(metadata, roles.ROOT, before)
        before = metadata.signed
    return found
