"""A repository's directory: static files, and the only code that writes them.

    metadata/N.root.json  N.targets.json  N.CHANNEL.json  N.snapshot.json  timestamp.json
    targets/channels/CHANNEL/SHA256.channel.json  SHA256.VERSION.json
    blobs/xx/SHA256
    .lock                                                held by who changes it; not served, not mirrored

A file that is named by its hash or number never changes. The one that does is timestamp.json, written last:
until then a reader sees the old repository, whole. What a killed publisher left is not referred to by
anything, and the next one writes over it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp  # type: ignore[attr-defined]

from skerry.image.release import channel as channels
from skerry.image.release import manifest as manifests
from skerry.image.release import roles
from skerry.image.release.errors import (
    BusyError,
    DocumentError,
    MixAndMatchError,
    PublishError,
    SignatureError,
)
from skerry.image.release.manifest import Blob, Manifest, stored_path
from skerry.image.release.state import State
from skerry.kit.files import sync_directory, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from skerry.image.release.channel import Channel
    from skerry.image.release.manifest import Disk

COPY_BYTES = 1 << 20


class Repository:
    """The repository in a directory, which may not be there yet."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def exists(self) -> bool:
        return self._metadata("1.root").exists()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Change it alone. Raises BusyError where another does."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BusyError(
                    f"{self.directory} is being changed by another `skerry release`",
                    hint="try again when it is done",
                ) from error
            yield

    # -- reading

    def read(self, trusted: bytes | None = None, *, unsigned: bool = False) -> State:
        """All of the metadata, verified from the root down; expiry is not looked at here.

        `trusted` is a root that this repository must descend from; its own first one, where None. With
        `unsigned`, the three roles below root need not be signed by the keys that it names now: so is a
        repository read whose root was changed and the rest not yet. Channels are always checked.
        Raises PublishError, DocumentError, SignatureError, MixAndMatchError.
        """
        root = self.read_root(trusted)
        timestamp = roles.read(self._data("timestamp"), Timestamp, "timestamp.json")
        meta = timestamp.signed.snapshot_meta
        data = self._data(f"{meta.version}.snapshot")
        _matches(meta, data, "snapshot")
        snapshot = roles.read(data, Snapshot, f"{meta.version}.snapshot.json")
        targets = self._delegated(snapshot.signed, roles.TARGETS)
        if not unsigned:
            roles.check(timestamp, roles.TIMESTAMP, root.signed)
            roles.check(snapshot, roles.SNAPSHOT, root.signed)
            roles.check(targets, roles.TARGETS, root.signed)
        delegated = {}
        for name in roles.channels(targets.signed):
            delegated[name] = self._delegated(snapshot.signed, name)
            roles.check(delegated[name], name, targets.signed)
        documents = {name: self._document(name, metadata.signed) for name, metadata in delegated.items()}
        return State(root, targets, delegated, snapshot, timestamp, documents)

    def read_root(self, trusted: bytes | None = None) -> Metadata[Root]:
        """The latest root, reached from the trusted one link by link."""
        if not self.exists:
            raise PublishError(
                f"{self.directory} holds no repository", hint="`skerry release init` makes one there"
            )
        root = roles.read(trusted or self._data("1.root"), Root, "the trusted root")
        roles.check(root, roles.ROOT, root.signed)
        while self._metadata(name := f"{root.signed.version + 1}.root").exists():
            following = roles.read(self._data(name), Root, f"{name}.json")
            try:
                if following.signed.version != root.signed.version + 1:
                    raise SignatureError(f"it calls itself version {following.signed.version}")
                roles.check(following, roles.ROOT, root.signed)
                roles.check(following, roles.ROOT, following.signed)
            except SignatureError as error:
                raise SignatureError(
                    f"{name}.json does not follow from the root before it: {error.message}",
                    hint="somebody else wrote to this repository, or the trusted root is of another one",
                ) from error
            root = following
        return root

    def root_bytes(self, number: int) -> bytes:
        """A root as it is stored, by its number."""
        return self._data(f"{number}.root")

    def manifest(self, state: State, channel: str, version: str) -> Manifest:
        """The manifest of a release. Raises PublishError where the channel does not have it."""
        path = manifests.target_path(channel, version)
        state.document(channel)
        if path not in state.channels[channel].signed.targets:
            raise PublishError(
                f"channel {channel} has no release {version}",
                hint="`skerry release list` shows what there is",
            )
        return manifests.decode(self._target(state.channels[channel].signed, path))

    def disks(self, state: State, channel: str) -> list[Disk | None]:
        """The disks that the releases of a channel made: those of the hosts that follow it."""
        entries = state.document(channel).releases
        return [self.manifest(state, channel, entry.version).disk for entry in entries]

    def blob(self, blob: Blob) -> Path:
        """Where a blob lies, or would."""
        return self.directory / blob.path

    # -- writing

    def add_blob(self, source: Path, blob: Blob) -> bool:
        """Put a file's content under its hash; False where it was there. Raises PublishError."""
        final = self.blob(blob)
        if final.exists() and final.stat().st_size == blob.size:
            return False
        final.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".", dir=final.parent)
        try:
            digest = hashlib.sha256()
            with os.fdopen(descriptor, "wb") as file, source.open("rb") as given:
                while piece := given.read(COPY_BYTES):
                    digest.update(piece)
                    file.write(piece)
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
            if digest.hexdigest() != blob.sha256 or Path(name).stat().st_size != blob.size:
                raise PublishError(f"{source} is not what its manifest says: {digest.hexdigest()[:12]}…")
            Path(name).rename(final)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        sync_directory(final.parent)
        return True

    def write_metadata(self, name: str, data: bytes) -> None:
        """Write `metadata/NAME.json`."""
        self._put(self._metadata(name), data)

    def write_target(self, path: str, data: bytes) -> None:
        """Write a target under its hash."""
        self._put(self.directory / stored_path(path, hashlib.sha256(data).hexdigest()), data)

    # -- inside

    def _metadata(self, name: str) -> Path:
        return self.directory / "metadata" / f"{name}.json"

    def _data(self, name: str) -> bytes:
        try:
            return self._metadata(name).read_bytes()
        except FileNotFoundError as error:
            raise MixAndMatchError(f"{name}.json is referred to and is not there") from error

    def _delegated(self, snapshot: Snapshot, role: str) -> Metadata[Targets]:
        meta = snapshot.meta.get(f"{role}.json")
        if meta is None:
            raise MixAndMatchError(f"the snapshot knows nothing of {role}")
        data = self._data(f"{meta.version}.{role}")
        _matches(meta, data, role)
        return roles.read(data, Targets, f"{meta.version}.{role}.json")

    def _document(self, name: str, signed: Targets) -> Channel:
        document = channels.decode(self._target(signed, channels.target_path(name)))
        if document.channel != name:
            raise DocumentError(f"the document of channel {name} calls itself {document.channel}")
        return document

    def _target(self, signed: Targets, path: str) -> bytes:
        target = signed.targets.get(path)
        if target is None:
            raise MixAndMatchError(f"{path} is not signed for")
        stored = self.directory / stored_path(path, target.hashes["sha256"])
        try:
            data = stored.read_bytes()
        except FileNotFoundError as error:
            raise MixAndMatchError(f"{stored} is referred to and is not there") from error
        _matches(target, data, path)
        return data

    def _put(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)


def _matches(meta: object, data: bytes, what: str) -> None:
    try:
        meta.verify_length_and_hashes(data)  # type: ignore[attr-defined]
    except LengthOrHashMismatchError as error:
        raise MixAndMatchError(f"{what} is not what is signed for: {error}") from error
