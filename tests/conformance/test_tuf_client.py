"""TUF's attacks on the client that hosts use: each is refused, with its reason; and what is no attack is not.

Real keys, real repositories, the real client and transport, over file:// and over loopback; time is a fake.
The attacks are those of https://theupdateframework.io/docs/security/ and of the specification's 1.5.2.
"""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

import pytest
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets

from fakes.clock import FakeClock
from fakes.releases import Releases
from skerry.image.release import changes, roles
from skerry.image.release.client import Client, FlooredClock, TufClient, trusted_time
from skerry.image.release.errors import (
    EndlessDataError,
    KeepError,
    MixAndMatchError,
    NotPublishedError,
    RollbackError,
    SignatureError,
    StaleError,
    TrustError,
)
from skerry.kit.transport import InterruptedTransferError, TransportError, UrlTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_an_honest_repository_is_trusted_again_and_again(scene: Scene) -> None:
    assert scene.look() == ["2026.10.0"]
    scene.releases.publish("2026.11.0")
    scene.serve()
    assert scene.look() == scene.look() == ["2026.10.0", "2026.11.0"]


# -- rollback


def test_an_older_copy_is_refused(scene: Scene) -> None:
    old = scene.kept("old")
    scene.releases.publish("2026.11.0")
    scene.serve()
    scene.look()
    scene.served = old
    with pytest.raises(RollbackError, match=r"version 2 is offered, and 3 was seen before \(rollback\)"):
        scene.look()


def test_a_stolen_timestamp_key_cannot_bring_back_an_older_snapshot(scene: Scene) -> None:
    old = scene.file("snapshot").read_bytes()
    scene.releases.publish("2026.11.0")
    scene.serve()
    scene.look()
    scene.point_timestamp_at(old)
    with pytest.raises(RollbackError):
        scene.look()


def test_stolen_online_keys_cannot_bring_back_an_older_channel(scene: Scene) -> None:
    old = scene.file("stable").read_bytes()
    scene.releases.publish("2026.11.0")
    scene.serve()
    scene.look()
    scene.resign_above("stable", old)
    with pytest.raises(RollbackError, match="rollback"):
        scene.look()


def test_what_was_not_seen_before_cannot_be_refused_but_is_not_older_either(scene: Scene) -> None:
    """A host that was never here accepts the oldest copy whose time is not over: expiry bounds that."""
    old = scene.kept("old")
    scene.releases.publish("2026.11.0")
    scene.served = old
    assert scene.look() == ["2026.10.0"]
    scene.clock.turn(4 * DAY)
    with pytest.raises(StaleError):
        scene.client(host=scene.host.with_name("another")).refresh()


# -- freeze, expiry


def test_a_frozen_repository_is_noticed(scene: Scene) -> None:
    scene.look()
    scene.clock.turn(3 * DAY + 1)
    with pytest.raises(StaleError, match="stale: its timestamp expired on 2023-11-17") as refused:
        scene.look()
    assert refused.value.role == "timestamp"
    assert "skerry release refresh" in (refused.value.hint or "")
    assert "freeze" in (refused.value.hint or "")


def test_a_refresh_thaws_it(scene: Scene) -> None:
    scene.look()
    scene.clock.turn(3 * DAY + 1)
    scene.releases.refresh()
    scene.serve()
    assert scene.look() == ["2026.10.0"]


@pytest.mark.parametrize(
    ("role", "signer"),
    [("snapshot", ()), ("targets", ()), ("stable", ()), ("root", ("root-1", "root-2"))],
)
def test_every_role_expires(scene: Scene, role: str, signer: tuple[str, ...]) -> None:
    def end(metadata: Metadata) -> None:
        metadata.signed.version += 1
        metadata.signed.expires = roles.until(scene.clock.now(), -3600)

    data = scene.forge(role, end, keys=signer)
    if role == "snapshot":
        scene.point_timestamp_at(data)
    elif role != "root":
        scene.resign_above(role, data)
    with pytest.raises(StaleError, match=f"{role} expired on 2023-11-14") as refused:
        scene.look()
    assert refused.value.role == role


def test_a_clock_in_1970_does_not_thaw_old_metadata(scene: Scene) -> None:
    scene.look()
    scene.clock.turn(2 * DAY)
    scene.releases.refresh()
    scene.serve()
    scene.look()
    seen = trusted_time(scene.host)
    assert seen == scene.clock.now()
    woken = FlooredClock(FakeClock(now=0.0), seen)
    scene.client(woken).refresh()
    late = FlooredClock(FakeClock(now=0.0), seen + 4 * DAY)
    with pytest.raises(StaleError):
        scene.client(late).refresh()


def test_a_clock_in_2038_is_suspected_before_the_repository(scene: Scene) -> None:
    with pytest.raises(
        StaleError, match=r"this machine's clock says 2038.*one of them is far off"
    ) as refused:
        scene.client(FakeClock(now=2_145_916_800.0)).refresh()
    assert "timedatectl" in (refused.value.hint or "")


# -- mix and match


def test_a_snapshot_of_another_moment_is_refused(scene: Scene) -> None:
    old = scene.file("snapshot").read_bytes()
    scene.releases.publish("2026.11.0")
    scene.serve()
    scene.file("snapshot").write_bytes(old)
    with pytest.raises(MixAndMatchError, match="mix and match"):
        scene.look()


def test_a_channel_of_another_moment_is_refused(scene: Scene) -> None:
    old = scene.file("stable").read_bytes()
    scene.releases.publish("2026.11.0")
    scene.serve()
    scene.file("stable").write_bytes(old)
    with pytest.raises(MixAndMatchError):
        scene.look()


def test_a_document_of_another_moment_is_refused(scene: Scene) -> None:
    folder = scene.served / "targets" / "channels" / "stable"
    for file in folder.glob("*.channel.json"):
        file.write_bytes(file.read_bytes().replace(b"2026.10.0", b"2026.09.0"))
    with pytest.raises(MixAndMatchError):
        scene.look()


def test_a_snapshot_that_leaves_a_channel_out_is_refused(scene: Scene) -> None:
    scene.look()

    def leave_out(metadata: Metadata[Snapshot]) -> None:
        del metadata.signed.meta["stable.json"]
        metadata.signed.version += 1

    scene.point_timestamp_at(scene.forge("snapshot", leave_out))
    with pytest.raises(MixAndMatchError, match="leaves out"):
        scene.look()


def test_a_document_of_another_channel_is_refused(scene: Scene) -> None:
    """Whoever signs for a channel could sign for another's document; it says whose it is."""
    beta = next((scene.served / "targets" / "channels" / "beta").glob("*.channel.json")).read_bytes()

    def sign_for_beta(metadata: Metadata[Targets]) -> None:
        path = "channels/stable/channel.json"
        metadata.signed.targets[path] = TargetFile.from_data(path, beta, ["sha256"])
        metadata.signed.version += 1

    data = scene.forge("stable", sign_for_beta)
    digest = Metadata.from_bytes(data).signed.targets["channels/stable/channel.json"].hashes["sha256"]
    (scene.served / "targets" / "channels" / "stable" / f"{digest}.channel.json").write_bytes(beta)
    scene.resign_above("stable", data)
    with pytest.raises(MixAndMatchError, match="calls itself beta"):
        scene.look()


# -- endless data


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "stable"])
def test_metadata_longer_than_it_may_be_is_refused(scene: Scene, role: str) -> None:
    file = scene.file(role)
    file.write_bytes(file.read_bytes() + b" " * 100_000)
    with pytest.raises(EndlessDataError, match="endless data"):
        scene.look()


def test_a_document_longer_than_signed_is_refused(scene: Scene) -> None:
    file = next((scene.served / "targets" / "channels" / "stable").glob("*.channel.json"))
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(EndlessDataError):
        scene.look()


def test_of_an_endless_answer_only_so_much_is_read(scene: Scene) -> None:
    class Endless:
        start, total = 0, None

        def chunks(self) -> Iterator[bytes]:
            while True:
                yield b"x" * 4096

    class Server:
        @contextlib.contextmanager
        def open(self, url: str, *, start: int = 0, end: int | None = None) -> Iterator[Endless]:
            yield Endless()

    client = Client(scene.host, Server(), "https://x", scene.releases.first_root, scene.clock)
    with pytest.raises(EndlessDataError):
        client.refresh()
    assert client.bytes_fetched < 600_000


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


def rotate(scene: Scene, role: str, *, stolen: bool = False) -> None:
    """New keys for a role, as `skerry release keys rotate` makes them."""
    count = 3 if role == "root" else 1
    ring = scene.releases.keyring
    number = len(ring.list())
    fresh = [ring.make(f"{role}-{number + one}") for one in range(count)]
    threshold = 2 if role == "root" else 1
    change = changes.rotate(scene.releases.state(), role, fresh, threshold, scene.clock.now(), stolen=stolen)
    scene.releases.apply(change)


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


# -- what is no attack


def test_a_network_that_fails_is_said_to_be_that(scene: Scene) -> None:
    scene.served = scene.served.with_name("nowhere")
    with pytest.raises(TransportError):
        scene.look()


def test_a_disk_that_takes_nothing_is_said_to_be_that(scene: Scene) -> None:
    scene.host.write_bytes(b"not a directory")
    with pytest.raises(KeepError, match="cannot be kept in"):
        scene.look()


def test_a_failure_in_the_middle_leaves_trust_as_it_was(scene: Scene) -> None:
    scene.look()
    scene.releases.publish("2026.11.0")
    scene.serve()

    class Failing(UrlTransport):
        @contextlib.contextmanager
        def open(self, url: str, *, start: int = 0, end: int | None = None) -> Iterator[object]:
            if "stable" in url:
                raise InterruptedTransferError("the cable is out")
            with super().open(url, start=start, end=end) as body:
                yield body

    client = Client(scene.host, Failing(), scene.served.as_uri(), scene.releases.first_root, scene.clock)
    client.refresh()
    with pytest.raises(InterruptedTransferError):
        client.channel("stable")
    assert scene.look() == ["2026.10.0", "2026.11.0"]


@pytest.mark.parametrize("damage", [b"", b"rubbish", b"{}"])
def test_whatever_became_of_the_files_of_a_host_it_finds_its_way(scene: Scene, damage: bytes) -> None:
    rotate(scene, "snapshot")
    scene.serve()
    scene.look()
    names = [path for path in scene.host.rglob("*") if path.is_file()]
    assert len(names) == 7
    for path in names:
        path.write_bytes(damage)
        assert scene.look() == ["2026.10.0"], path


def test_another_trusted_root_starts_afresh(scene: Scene, tmp_path: Path) -> None:
    rotate(scene, "root")
    scene.serve()
    scene.look()
    other = Releases(tmp_path / "other", scene.clock)
    other.publish("2026.12.0")
    client = other.client(scene.host)
    client.refresh()
    assert [entry.version for entry in client.channel("stable").releases] == ["2026.12.0"]


def test_looking_again_costs_little(scene: Scene) -> None:
    scene.look()
    client = scene.client()
    client.refresh()
    client.channel("stable")
    assert client.bytes_fetched == scene.file("timestamp").stat().st_size < 1000


def test_the_client_is_driven_by_suites_of_others(scene: Scene, tmp_path: Path) -> None:
    """Any repository of TUF's, with names and paths that are not ours."""
    client = TufClient(
        tmp_path / "driven", UrlTransport(), f"{scene.served.as_uri()}/metadata", scene.releases.first_root,
        scene.clock,
    )  # fmt: skip
    file = tmp_path / "got"
    assert client.download("channels/beta/channel.json", f"{scene.served.as_uri()}/targets", file)
    assert b"beta" in file.read_bytes()
    assert not client.download("no/such/target", f"{scene.served.as_uri()}/targets", file)


def test_kinds_of_metadata_are_not_confused(scene: Scene) -> None:
    scene.file("timestamp").write_bytes(scene.file("snapshot").read_bytes())
    with pytest.raises(TrustError):
        scene.look()
