"""A repository of releases, a host that trusts it, and an attacker who holds keys and the web server."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tuf.api.metadata import Metadata, MetaFile

from fakes.clock import FakeClock
from fakes.releases import Releases
from skerry.image.release import changes, roles
from skerry.image.release.client import Client, FlooredClock
from skerry.kit.transport import UrlTransport

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


DAY = 86400.0


class Clock(FakeClock):
    """Turned by hand, without waiting for anybody."""

    def turn(self, seconds: float) -> None:
        self._passed += seconds


class Scene:
    """A repository with one release, a host that trusts it, and an attacker who holds the web server.

    The host asks `served`, which starts as a copy of the repository; `serve` copies it anew.
    """

    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self.releases = Releases(directory, self.clock, channels=("stable", "beta"))
        self.releases.publish("2026.10.0")
        self.served = directory / "served"
        self.host = directory / "host"
        self.serve()

    @property
    def metadata(self) -> Path:
        return self.served / "metadata"

    def serve(self) -> None:
        shutil.rmtree(self.served, ignore_errors=True)
        shutil.copytree(self.releases.repository.directory, self.served)

    def kept(self, name: str) -> Path:
        """A copy of what is served now, for later."""
        copy = self.served.with_name(name)
        shutil.copytree(self.served, copy)
        return copy

    def client(self, clock: FakeClock | FlooredClock | None = None, host: Path | None = None) -> Client:
        return Client(
            host or self.host, UrlTransport(), self.served.as_uri(), self.releases.first_root,
            clock or self.clock,
        )  # fmt: skip

    def look(self) -> list[str]:
        """What a host does: refresh, read the channel; the versions in it."""
        client = self.client()
        client.refresh()
        return [entry.version for entry in client.channel("stable").releases]

    def forge(self, role: str, change: Callable[[Metadata], None], *, keys: tuple[str, ...] = ()) -> bytes:
        """Alter the served metadata of a role, signed with stolen keys: the role's own, or those named."""
        file = self.file(role)
        metadata: Metadata = Metadata.from_bytes(file.read_bytes())
        change(metadata)
        metadata.signatures.clear()
        for one in self.releases.keyring.list():
            if one.name in (keys or (role,)):
                roles.sign(metadata, self.releases.keyring.signers([one.key.keyid]))
        data = roles.write(metadata)
        name = file.name if role == "timestamp" else f"{metadata.signed.version}.{role}.json"
        (self.metadata / name).write_bytes(data)
        return data

    def file(self, role: str) -> Path:
        """The served metadata of a role, the latest."""
        if role == "timestamp":
            return self.metadata / "timestamp.json"
        found = self.metadata.glob(f"*.{role}.json")
        return max(found, key=lambda path: int(path.name.split(".")[0]))

    def resign_above(self, role: str, data: bytes) -> None:
        """Let a stolen snapshot key, and a stolen timestamp key, stand for forged metadata of `role`."""

        def name_it(metadata: Metadata) -> None:
            version = roles.version_of(data)
            metadata.signed.meta[f"{role}.json"] = MetaFile.from_data(version, data, ["sha256"])
            metadata.signed.version += 1

        snapshot = self.forge("snapshot", name_it)
        self.point_timestamp_at(snapshot)

    def point_timestamp_at(self, snapshot: bytes, version: int | None = None) -> None:
        def name_it(metadata: Metadata) -> None:
            number = roles.version_of(snapshot)
            metadata.signed.snapshot_meta = MetaFile.from_data(number, snapshot, ["sha256"])
            metadata.signed.version = version or metadata.signed.version + 1

        self.forge("timestamp", name_it)


def rotate(scene: Scene, role: str, *, stolen: bool = False) -> None:
    """New keys for a role, as `skerry release keys rotate` makes them."""
    count = 3 if role == "root" else 1
    ring = scene.releases.keyring
    number = len(ring.list())
    fresh = [ring.make(f"{role}-{number + one}") for one in range(count)]
    threshold = 2 if role == "root" else 1
    change = changes.rotate(scene.releases.state(), role, fresh, threshold, scene.clock.now(), stolen=stolen)
    scene.releases.apply(change)
