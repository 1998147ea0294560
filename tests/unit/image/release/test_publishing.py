"""What is published is what a client finds; a publisher that dies leaves the old state or the new one."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from fakes.clock import FakeClock
from fakes.releases import DISK, MIB, Releases
from skerry.image.release import changes, publisher, roles
from skerry.image.release.errors import (
    BusyError,
    ExpiredRoleError,
    MissingKeyError,
    MixAndMatchError,
    NoRoomError,
    NotNewerError,
    PublishError,
    SignatureError,
    ThresholdError,
)
from skerry.image.release.keys import Keyring
from skerry.image.release.manifest import Disk
from skerry.image.release.publisher import carry_out, rehearse
from skerry.image.release.repository import Repository
from skerry.image.release.rollout import DEFAULT_WAVES, Wave
from skerry.image.release.verify import verify

if TYPE_CHECKING:
    from pathlib import Path

    from skerry.image.release.changes import Change

DAY = 86400.0


class Clock(FakeClock):
    def turn(self, seconds: float) -> None:
        self._passed += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def releases(tmp_path: Path, clock: Clock) -> Releases:
    return Releases(tmp_path, clock, channels=("stable", "beta"))


def found(releases: Releases, channel: str = "stable") -> list[str]:
    """What a host that was never here finds."""
    client = releases.client(releases.directory / f"client {next(_COUNT)}")
    client.refresh()
    return [one.version for one in client.channel(channel).releases]


_COUNT = itertools.count()


def test_a_client_finds_what_was_published(releases: Releases) -> None:
    releases.publish("2026.10.0")
    client = releases.client()
    client.refresh()
    assert [one.version for one in client.channel("stable").releases] == ["2026.10.0"]
    assert client.manifest("stable", "2026.10.0").part("root").size == len(b"root of 2026.10.0")


def test_channels_are_of_their_own(releases: Releases) -> None:
    releases.publish("2026.10.0", "beta")
    assert found(releases, "beta") == ["2026.10.0"]
    assert found(releases, "stable") == []


def test_metadata_that_did_not_change_is_not_written_again(releases: Releases) -> None:
    before = releases.state()
    releases.publish("2026.10.0")
    after = releases.state()
    assert after.channels["stable"].signed.version == 2
    assert after.channels["beta"].signed.version == 1
    assert after.targets.signed.version == before.targets.signed.version


def test_a_refresh_signs_the_timestamp_and_in_time_the_snapshot(releases: Releases, clock: Clock) -> None:
    assert set(releases.refresh().versions) == {"timestamp"}
    clock.turn(8 * DAY)
    assert set(releases.refresh().versions) == {"snapshot", "timestamp"}
    assert set(releases.refresh().versions) == {"timestamp"}


def test_a_refresh_needs_only_the_online_keys(releases: Releases, clock: Clock) -> None:
    for name in ("root-1", "root-2", "root-3", "targets", "stable", "beta"):
        (releases.keyring.directory / f"{name}.pem").unlink()
    clock.turn(8 * DAY)
    releases.refresh()
    assert found(releases) == []


def test_roles_keep_their_times_when_they_are_made_anew(releases: Releases, clock: Clock) -> None:
    releases.apply(changes.renew(releases.state(), ["stable"], clock.now(), {"stable": 7 * DAY}))
    clock.turn(5 * DAY)
    releases.publish("2026.10.0")
    assert roles.expires_at(releases.state().channels["stable"].signed) == clock.now() + 7 * DAY


# -- refusals: each with its remedy, and nothing changed


def test_a_version_that_is_not_newer_is_refused(releases: Releases) -> None:
    releases.publish("2026.10.0")
    for version in ("2026.10.0", "2026.9.9", "2026.010.0"):
        with pytest.raises(NotNewerError, match=r"is at 2026\.10\.0") as refused:
            releases.publish(version)
        assert "recipe" in (refused.value.hint or "")
    assert found(releases) == ["2026.10.0"]


@pytest.mark.parametrize(
    ("size", "disks", "fits"),
    [
        (409 * MIB, [], True),
        (410 * MIB, [], False),
        (120 * MIB, [Disk(512 * MIB, 128 * MIB, 8 * MIB)], False),
        (100 * MIB, [Disk(512 * MIB, 128 * MIB, 8 * MIB), DISK, None], True),
    ],
)
def test_room_is_left_in_the_smallest_slot_of_the_channel(
    releases: Releases, size: int, disks: list[Disk | None], *, fits: bool
) -> None:
    import msgspec

    manifest = releases.manifest("2026.10.0")
    root = msgspec.structs.replace(manifest.part("root"), size=size)
    manifest = msgspec.structs.replace(manifest, parts=(root, manifest.part("uki")))
    if fits:
        assert changes.publish(releases.state(), "stable", manifest, None, 0, disks).files
        return
    with pytest.raises(NoRoomError, match="less than 20% would be free"):
        changes.publish(releases.state(), "stable", manifest, None, 0, disks)


def test_two_kernels_have_to_fit(releases: Releases) -> None:
    small = [Disk(16, 512 * MIB, 8 * MIB)]
    with pytest.raises(NoRoomError, match="two kernels"):
        changes.publish(releases.state(), "stable", releases.manifest("2026.10.0"), None, 0, small)


@pytest.mark.parametrize("role", ["root", "targets"])
def test_on_an_expired_role_nothing_is_published(releases: Releases, clock: Clock, role: str) -> None:
    keep = "targets" if role == "root" else "root"
    clock.turn(300 * DAY)
    releases.apply(changes.renew(releases.state(), [keep], clock.now()))
    clock.turn(66 * DAY)
    with pytest.raises(ExpiredRoleError, match=f"{role} expired on") as refused:
        releases.publish("2026.10.0")
    assert refused.value.hint is not None
    assert f"skerry release renew {role}" in refused.value.hint
    releases.apply(changes.renew(releases.state(), [role], clock.now()))
    releases.publish("2026.10.0")
    assert found(releases) == ["2026.10.0"]


def test_a_missing_key_is_said_to_be_missing(releases: Releases) -> None:
    (releases.keyring.directory / "stable.pem").unlink()
    with pytest.raises(MissingKeyError, match="no key of stable is here") as refused:
        releases.publish("2026.10.0")
    assert "--prepare" in (refused.value.hint or "")
    assert found(releases) == []


def test_one_key_of_two_is_too_few(releases: Releases, clock: Clock) -> None:
    for name in ("root-2", "root-3"):
        (releases.keyring.directory / f"{name}.pem").unlink()
    with pytest.raises(ThresholdError, match="root needs 2 signatures and has 1"):
        releases.apply(changes.renew(releases.state(), ["root"], clock.now()))
    assert releases.state().root.signed.version == 1


def test_a_rehearsal_says_the_same_and_opens_no_key(releases: Releases, clock: Clock) -> None:
    def never(name: str) -> str:
        raise AssertionError(f"asked for the passphrase of {name}")

    ring = Keyring(releases.keyring.directory, never)
    change = changes.renew(releases.state(), ["stable"], clock.now())
    said = rehearse(releases.repository, change, ring, clock.now())
    assert dict(said.versions) == {"stable": 2, "snapshot": 2, "timestamp": 2}
    assert releases.state().timestamp.signed.version == 1
    (ring.directory / "stable.pem").unlink()
    with pytest.raises(MissingKeyError):
        rehearse(releases.repository, change, ring, clock.now())


def test_two_publishers_do_not_meet(releases: Releases) -> None:
    with releases.repository.lock(), pytest.raises(BusyError):
        releases.publish("2026.10.0")


def test_a_change_on_an_older_state_is_refused(releases: Releases, clock: Clock) -> None:
    stale = changes.pause(releases.state(), "stable", "", clock.now())
    releases.publish("2026.10.0")
    with pytest.raises(PublishError, match="stable version 2, and the repository is at 2"):
        releases.apply(stale)


def test_a_repository_that_somebody_altered_is_not_built_upon(releases: Releases) -> None:
    releases.publish("2026.10.0")
    file = releases.repository.directory / "metadata" / "2.stable.json"
    file.write_bytes(file.read_bytes().replace(b"2026.10.0", b"2026.10.1"))
    with pytest.raises(MixAndMatchError, match="signed for"):
        releases.publish("2026.11.0")


def test_a_repository_of_others_is_not_signed_for(releases: Releases, tmp_path: Path, clock: Clock) -> None:
    other = Releases(tmp_path / "other", clock, channels=("stable",))
    change = changes.pause(other.state(), "stable", "", clock.now())
    root = releases.repository.root_bytes(1)
    (releases.keyring.directory / "root.json").write_bytes(root)
    with pytest.raises(SignatureError):
        carry_out(other.repository, change, releases.keyring, clock.now())


# -- what dies on the way


class Dying(Repository):
    """Writes so many files, and then the power is cut."""

    class CutError(Exception):
        pass

    def __init__(self, directory: Path, writes: int) -> None:
        super().__init__(directory)
        self._left = writes

    def _put(self, path: Path, data: bytes) -> None:
        if not self._left:
            raise self.CutError
        self._left -= 1
        super()._put(path, data)


def replaced(releases: Releases, role: str, now: float, *, stolen: bool = False) -> Change:
    """New keys for a role."""
    count = 3 if role == "root" else 1
    fresh = [releases.keyring.make(f"{role}-{next(_COUNT)}-new") for _ in range(count)]
    return changes.rotate(releases.state(), role, fresh, min(count, 2), now, stolen=stolen)


@pytest.mark.parametrize("what", ["publish", "root", "targets", "snapshot", "timestamp", "stable"])
def test_a_power_cut_after_any_write_leaves_the_old_or_the_new(
    releases: Releases, clock: Clock, what: str
) -> None:
    releases.publish("2026.10.0")
    known = releases.client()
    for writes in itertools.count():
        assert writes < 10
        manifest = releases.manifest(f"2026.11.{writes}")
        change = (
            changes.publish(releases.state(), "stable", manifest, None, clock.now(), [])
            if what == "publish"
            else replaced(releases, what, clock.now())
        )
        before = found(releases)
        dying = Dying(releases.repository.directory, writes)
        try:
            carry_out(dying, change, releases.keyring, clock.now())
        except Dying.CutError:
            after = found(releases)
            assert after in (before, [*before, f"2026.11.{writes}"])
            known.refresh()
            assert [one.version for one in known.channel("stable").releases] == after
            continue
        break
    releases.publish("2026.12.0")
    assert found(releases)[-1] == "2026.12.0"
    known.refresh()
    verdict = verify(releases.repository, clock, trusted=releases.first_root)
    assert verdict.findings == ()


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp", "stable"])
def test_new_keys_for_stolen_ones_are_mended_after_a_power_cut(
    releases: Releases, clock: Clock, role: str
) -> None:
    """Old keys sign nothing then, so there are moments that hosts refuse: signing anew ends them."""
    releases.publish("2026.10.0")
    refused = 0
    for writes in itertools.count():
        assert writes < 10
        change = replaced(releases, role, clock.now(), stolen=True)
        dying = Dying(releases.repository.directory, writes)
        try:
            carry_out(dying, change, releases.keyring, clock.now())
        except Dying.CutError:
            try:
                releases.repository.read()
            except SignatureError:
                refused += 1
                mending = changes.mend(releases.repository.read(unsigned=True), clock.now())
                carry_out(releases.repository, mending, releases.keyring, clock.now())
            assert found(releases) == ["2026.10.0"]
            continue
        break
    assert (refused > 0) == (role in ("targets", "snapshot", "timestamp"))
    assert verify(releases.repository, clock, trusted=releases.first_root).findings == ()


def test_nothing_is_signed_for_that_is_not_there(releases: Releases, clock: Clock) -> None:
    manifest = releases.manifest("2026.10.0")
    change = changes.publish(releases.state(), "stable", manifest, None, clock.now(), [])
    releases.repository.blob(manifest.part("uki").index).unlink()
    with pytest.raises(PublishError, match=r"a part of 2026\.10\.0, is not in the repository"):
        releases.apply(change)
    assert found(releases) == []


# -- verbs


def test_a_promoted_release_is_the_same(releases: Releases, clock: Clock) -> None:
    manifest = releases.publish("2026.10.0", "beta")
    state = releases.state()
    source = releases.repository.manifest(state, changes.channel_with(state, "2026.10.0"), "2026.10.0")
    releases.apply(changes.publish(state, "stable", source, None, clock.now(), []))
    client = releases.client()
    client.refresh()
    assert client.manifest("stable", "2026.10.0").parts == manifest.parts


def test_a_rollout_is_in_the_channel(releases: Releases, clock: Clock) -> None:
    releases.publish("2026.10.0", waves=DEFAULT_WAVES)
    entry = releases.state().documents["stable"].releases[0]
    assert entry.rollout is not None
    assert (entry.rollout.start, entry.rollout.waves) == (clock.now(), DEFAULT_WAVES)
    releases.apply(changes.rollout(releases.state(), "stable", "2026.10.0", None, clock.now()))
    assert releases.state().documents["stable"].releases[0].rollout is None


def test_a_pause_moves_the_waves_on_by_its_length(releases: Releases, clock: Clock) -> None:
    waves = (Wave(10, 0), Wave(50, DAY), Wave(100, 3 * DAY))
    releases.publish("2026.10.0", waves=(Wave(100, 0),))
    clock.turn(DAY)
    releases.publish("2026.11.0", waves=waves)
    began = clock.now()
    clock.turn(1.5 * DAY)
    releases.apply(changes.pause(releases.state(), "stable", "disks", clock.now()))
    clock.turn(10 * DAY)
    releases.publish("2026.12.0", waves=waves)
    clock.turn(10 * DAY)
    releases.apply(changes.resume(releases.state(), "stable", clock.now()))
    document = releases.state().documents["stable"]
    assert (document.paused, document.paused_at, document.pause_reason) == (False, None, "")
    starts = [one.rollout.start for one in document.releases if one.rollout]
    assert starts == [began - DAY, began + 20 * DAY, clock.now()]
    one = document.releases[1].rollout
    assert one is not None
    assert one.fraction_at(clock.now()) == 0.5  # as it was when the pause began


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s, t: changes.withdraw(s, "stable", "2026.9.0", "x", t), "has no release 2026.9.0"),
        (lambda s, t: changes.rollout(s, "stable", "2026.9.0", None, t), "has no release 2026.9.0"),
        (lambda s, t: changes.resume(s, "stable", t), "is not paused"),
        (lambda s, t: changes.set_floor(s, "stable", "2026.9.0", t), "has no release"),
        (lambda s, t: changes.pause(s, "gamma", "", t), "no channel gamma"),
        (lambda s, t: changes.renew(s, ["gamma"], t), "no channel gamma"),
        (lambda s, t: changes.add_channel(s, "beta", [], 1, t), "a channel beta already"),
        (lambda s, t: changes.rotate(s, "stable", [], 1, t), "cannot need 1 of 0"),
        (lambda s, _: changes.channel_with(s, "2026.9.0"), "no channel has"),
    ],
)
def test_what_makes_no_sense_is_refused(releases: Releases, clock: Clock, change: object, said: str) -> None:
    releases.publish("2026.10.0")
    with pytest.raises(PublishError, match=said):
        change(releases.state(), clock.now())  # type: ignore[operator]


def test_withdrawn_and_floored(releases: Releases, clock: Clock) -> None:
    for version in ("2026.10.0", "2026.11.0", "2026.12.0"):
        releases.publish(version)
    releases.apply(changes.withdraw(releases.state(), "stable", "2026.12.0", "eats data", clock.now()))
    releases.apply(changes.set_floor(releases.state(), "stable", "2026.11.0", clock.now()))
    document = releases.state().documents["stable"]
    assert (document.withdrawn, document.floor) == ({"2026.12.0": "eats data"}, "2026.11.0")
    for again in ("2026.10.0", "2026.11.0"):
        with pytest.raises(PublishError, match="only goes up"):
            changes.set_floor(releases.state(), "stable", again, clock.now())
    with pytest.raises(PublishError, match="cannot be the floor"):
        changes.set_floor(releases.state(), "stable", "2026.12.0", clock.now())
    with pytest.raises(PublishError, match="already: eats data"):
        changes.withdraw(releases.state(), "stable", "2026.12.0", "x", clock.now())


def test_an_old_release_is_retired(releases: Releases, clock: Clock) -> None:
    for version in ("2026.10.0", "2026.11.0", "2026.12.0"):
        releases.publish(version)
    releases.apply(changes.withdraw(releases.state(), "stable", "2026.10.0", "old", clock.now()))
    releases.apply(changes.set_floor(releases.state(), "stable", "2026.11.0", clock.now()))
    releases.apply(changes.retire(releases.state(), "stable", "2026.10.0", clock.now()))
    assert found(releases) == ["2026.11.0", "2026.12.0"]
    assert verify(releases.repository, clock, trusted=releases.first_root).findings == ()
    for kept, why in (("2026.12.0", "newest release"), ("2026.11.0", "floor")):
        with pytest.raises(PublishError, match=why):
            changes.retire(releases.state(), "stable", kept, clock.now())


def test_a_channel_is_added(releases: Releases, clock: Clock) -> None:
    key = releases.keyring.make("gamma")
    releases.apply(changes.add_channel(releases.state(), "gamma", [key], 1, clock.now()))
    releases.publish("2026.10.0", "gamma")
    assert found(releases, "gamma") == ["2026.10.0"]


def test_the_pinned_root_follows_rotations(releases: Releases, clock: Clock) -> None:
    releases.apply(replaced(releases, "root", clock.now()))
    pinned = publisher.pinned_root(releases.keyring)
    assert pinned == releases.repository.root_bytes(2)
    releases.publish("2026.10.0")
