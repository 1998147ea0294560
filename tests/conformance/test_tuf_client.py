"""TUF's attacks on the client that hosts use: each is refused, with its reason; and what is no attack is not.

Real keys, real repositories, the real client and transport, over file:// and over loopback; time is a fake.
The attacks are those of https://theupdateframework.io/docs/security/ and of the specification's 1.5.2.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from tuf.api.metadata import Metadata, Snapshot, TargetFile, Targets

from fakes.attacked import DAY, rotate
from fakes.clock import FakeClock
from fakes.releases import Releases
from skerry.image.release import roles
from skerry.image.release.client import Client, FlooredClock, TufClient, trusted_time
from skerry.image.release.errors import (
    EndlessDataError,
    KeepError,
    MixAndMatchError,
    RollbackError,
    StaleError,
    TrustError,
)
from skerry.kit.transport import InterruptedTransferError, TransportError, UrlTransport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fakes.attacked import Scene


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
