"""A small signed repository for tests: real keys, real metadata, blobs of a few bytes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from skerry.image.release import changes, roles
from skerry.image.release.client import Client
from skerry.image.release.keys import Keyring
from skerry.image.release.manifest import Blob, Disk, Manifest, Part, Patch
from skerry.image.release.publisher import Written, carry_out
from skerry.image.release.repository import Repository
from skerry.kit.transport import UrlTransport

if TYPE_CHECKING:
    from pathlib import Path

    from fakes.clock import FakeClock
    from skerry.image.release.rollout import Wave
    from skerry.image.release.state import State

MIB = 1 << 20
DISK = Disk(esp=512 * MIB, slot=512 * MIB, verity=8 * MIB)


_MADE: dict[tuple[tuple[str, ...], float], dict[Path, bytes]] = {}  # keys are made once in a run


def blob_of(content: bytes) -> Blob:
    return Blob(hashlib.sha256(content).hexdigest(), len(content))


class Releases:
    """A repository in `directory`/repository, and the keys of all of its roles in `directory`/keys.

    2 of 3 keys for root; one for every other role. Time is `clock`'s.
    """

    def __init__(self, directory: Path, clock: FakeClock, *, channels: tuple[str, ...] = ("stable",)) -> None:
        self.directory = directory
        self.clock = clock
        self.keyring = Keyring(directory / "keys", lambda _: "a passphrase", rounds=1)
        self.repository = Repository(directory / "repository")
        key = (channels, clock.now())
        if key not in _MADE:
            self._make(channels)
            _MADE[key] = {
                path.relative_to(directory): path.read_bytes()
                for path in directory.rglob("*")
                if path.is_file()
            }
        for name, content in _MADE[key].items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)
        self.first_root = (self.repository.directory / "metadata" / "1.root.json").read_bytes()

    def _make(self, channels: tuple[str, ...]) -> None:
        names = {role: [role] for role in (*roles.TOP_LEVEL, *channels)}
        names[roles.ROOT] = ["root-1", "root-2", "root-3"]
        keys = {role: [self.keyring.make(name) for name in named] for role, named in names.items()}
        thresholds = {role: 2 if role == roles.ROOT else 1 for role in names}
        self.apply(changes.create(keys, thresholds, channels, self.clock.now(), {}))

    @property
    def url(self) -> str:
        return self.repository.directory.as_uri()

    def state(self) -> State:
        return self.repository.read()

    def apply(self, change: changes.Change) -> Written:
        return carry_out(self.repository, change, self.keyring, self.clock.now())

    def manifest(self, version: str, *, root: bytes = b"", patches: tuple[Patch, ...] = ()) -> Manifest:
        """A release whose blobs are in the repository."""
        parts = []
        for name in ("root", "uki"):
            raw = root or f"{name} of {version}".encode()
            stored = [blob_of(f"{kind} of ".encode() + raw) for kind in ("full", "index", "pack")]
            for kind, blob in zip(("full", "index", "pack"), stored, strict=True):
                source = self.directory / "source"
                source.write_bytes(f"{kind} of ".encode() + raw)
                self.repository.add_blob(source, blob)
            full, index, pack = stored
            digest = hashlib.sha256(raw).hexdigest()
            parts.append(Part(name, len(raw), digest, full, index, pack, patches if name == "root" else ()))
        return Manifest(
            name="skerry", version=version, suite="trixie", architecture="amd64", kernel="6.12.0",
            parts=tuple(parts), disk=DISK,
        )  # fmt: skip

    def publish(
        self, version: str, channel: str = "stable", waves: tuple[Wave, ...] | None = None
    ) -> Manifest:
        manifest = self.manifest(version)
        self.apply(changes.publish(self.state(), channel, manifest, waves, self.clock.now(), []))
        return manifest

    def refresh(self) -> Written:
        return self.apply(changes.Change("refreshed"))

    def client(self, directory: Path | None = None, *, url: str | None = None) -> Client:
        """A host's client, whose image was sealed with the first root."""
        where = directory or self.directory / "client"
        return Client(where, UrlTransport(), url or self.url, self.first_root, self.clock)
