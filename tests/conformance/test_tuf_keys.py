"""Whose signatures the client of hosts believes, and how it follows new keys; see test_tuf_client.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from fakes.attacked import rotate
from fakes.releases import Releases
from skerry.image.release import roles
from skerry.image.release.client import Client
from skerry.image.release.errors import (
    NotPublishedError,
    RollbackError,
    SignatureError,
    TrustError,
)
from skerry.kit.transport import UrlTransport

if TYPE_CHECKING:
    from pathlib import Path

    from fakes.attacked import Scene


# -- keys and thresholds


def test_a_repository_of_other_keys_is_refused(scene: Scene, tmp_path: Path) -> None:
    other = Releases(tmp_path / "other", scene.clock)
    other.publish("2026.10.0")
    scene.served = other.repository.directory
    with pytest.raises(SignatureError, match=r"timestamp is not signed by the keys .* \(wrong keys\)"):
        scene.look()


def test_a_channels_key_signs_for_no_other_channel(scene: Scene) -> None:
    def bump(metadata: Metadata) -> None:
        metadata.signed.version += 1

    scene.resign_above("stable", scene.forge("stable", bump, keys=("beta",)))
    with pytest.raises(SignatureError, match="stable"):
        scene.look()


def test_what_another_channel_signs_for_is_not_found(scene: Scene) -> None:
    def reach_over(metadata: Metadata[Targets]) -> None:
        path = "channels/stable/2026.12.0.json"
        metadata.signed.targets[path] = TargetFile.from_data(path, b"{}", ["sha256"])
        metadata.signed.version += 1

    scene.resign_above("beta", scene.forge("beta", reach_over))
    client = scene.client()
    client.refresh()
    with pytest.raises(NotPublishedError):
        client.manifest("stable", "2026.12.0")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (("root-1",), r"1 good signatures of the 2 it needs"),
        (("targets",), "wrong keys"),
    ],
)
def test_a_root_below_its_threshold_is_refused(scene: Scene, keys: tuple[str, ...], said: str) -> None:
    def bump(metadata: Metadata) -> None:
        metadata.signed.version += 1

    scene.forge("root", bump, keys=keys)
    with pytest.raises(SignatureError, match=said):
        scene.look()


def test_one_key_that_signs_twice_counts_once(scene: Scene) -> None:
    """A second entry for the same signature must not reach a threshold of two."""

    def bump(metadata: Metadata) -> None:
        metadata.signed.version += 1

    data = scene.forge("root", bump, keys=("root-1",))
    metadata: Metadata[Root] = Metadata.from_bytes(data)
    one = next(iter(metadata.signatures.values()))
    other = next(keyid for keyid in metadata.signed.roles["root"].keyids if keyid != one.keyid)
    metadata.signatures[other] = type(one)(other, one.signature)
    (scene.metadata / "2.root.json").write_bytes(roles.write(metadata))
    with pytest.raises(SignatureError):
        scene.look()


def test_a_root_that_skips_one_is_refused(scene: Scene) -> None:
    def jump(metadata: Metadata) -> None:
        metadata.signed.version += 2

    data = scene.forge("root", jump, keys=("root-1", "root-2"))
    (scene.metadata / "2.root.json").write_bytes(data)
    with pytest.raises(TrustError):
        scene.look()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"signed": {}, "signatures": []}', b"\xff" * 100])
@pytest.mark.parametrize("role", ["timestamp", "root"])
def test_rubbish_is_refused(scene: Scene, role: str, damage: bytes) -> None:
    name = "timestamp.json" if role == "timestamp" else "2.root.json"
    (scene.metadata / name).write_bytes(damage)
    with pytest.raises(TrustError):
        scene.look()


def test_the_trusted_root_itself_is_checked(scene: Scene) -> None:
    tampered = scene.releases.first_root.replace(b'"threshold":2', b'"threshold":1')
    client = Client(scene.host, UrlTransport(), scene.served.as_uri(), tampered, scene.clock)
    with pytest.raises(SignatureError, match="trusted root that was given"):
        client.refresh()


# -- rotation


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp", "stable"])
@pytest.mark.parametrize("stolen", [False, True])
def test_hosts_follow_new_keys(scene: Scene, role: str, *, stolen: bool) -> None:
    scene.look()
    rotate(scene, role, stolen=stolen)
    scene.releases.publish("2026.11.0")
    scene.serve()
    assert scene.look() == ["2026.10.0", "2026.11.0"]
    newcomer = scene.client(host=scene.host.with_name("newcomer"))
    newcomer.refresh()
    assert len(newcomer.channel("stable").releases) == 2


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp", "stable"])
def test_old_keys_are_worth_nothing_after_they_were_replaced(scene: Scene, role: str) -> None:
    rotate(scene, role)
    scene.serve()
    scene.look()

    def bump(metadata: Metadata) -> None:
        metadata.signed.version += 1

    data = scene.forge(role, bump, keys=(role,))
    if role == "snapshot":
        scene.point_timestamp_at(data)
    elif role != "timestamp":
        scene.resign_above(role, data)
    with pytest.raises(SignatureError, match="wrong keys"):
        scene.look()


def test_roots_are_followed_one_by_one(scene: Scene) -> None:
    for role in ("root", "timestamp", "root", "targets", "root"):
        rotate(scene, role)
    scene.serve()
    assert scene.look() == ["2026.10.0"]


def test_a_missing_link_stops_the_chain(scene: Scene) -> None:
    rotate(scene, "root")
    rotate(scene, "timestamp", stolen=True)
    scene.serve()
    (scene.metadata / "2.root.json").unlink()
    with pytest.raises(SignatureError):
        scene.look()


def test_a_newer_root_that_was_seen_is_not_forgotten(scene: Scene) -> None:
    """A server that keeps the new root to itself would else bring stolen keys back."""
    old = scene.kept("old")
    rotate(scene, "timestamp", stolen=True)
    scene.serve()
    scene.look()
    (old / "metadata" / "2.root.json").unlink(missing_ok=True)
    scene.served = old
    scene.forge("timestamp", lambda metadata: setattr(metadata.signed, "version", 99), keys=("timestamp",))
    with pytest.raises(SignatureError, match="wrong keys"):
        scene.look()


def test_fast_forward_is_recovered_from(scene: Scene) -> None:
    """Stolen online keys wrote the largest versions; new keys make the host forget those."""

    def leap(metadata: Metadata) -> None:
        metadata.signed.version = 2**31 - 2

    snapshot = scene.forge("snapshot", leap)
    scene.point_timestamp_at(snapshot, 2**31 - 1)
    assert scene.look() == ["2026.10.0"]
    scene.releases.publish("2026.11.0")
    scene.serve()
    with pytest.raises(RollbackError):
        scene.look()
    rotate(scene, "snapshot", stolen=True)
    rotate(scene, "timestamp", stolen=True)
    scene.serve()
    assert scene.look() == ["2026.10.0", "2026.11.0"]
