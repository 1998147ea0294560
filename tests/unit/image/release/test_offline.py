"""Signing on a machine that has nothing but keys: written out, carried, signed by several, put in place."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from fakes.clock import FakeClock
from fakes.releases import Releases
from skerry.image.release import changes, offline
from skerry.image.release.errors import MissingKeyError, PublishError, SignatureError, ThresholdError
from skerry.image.release.keys import Keyring
from skerry.image.release.publisher import carry_out
from skerry.image.release.repository import Repository

if TYPE_CHECKING:
    from pathlib import Path


class Site:
    """A repository's machine that has only the online keys, and keyholders with a stick each."""

    def __init__(self, directory: Path) -> None:
        self.clock = FakeClock()
        self.releases = Releases(directory, self.clock)
        self.directory = directory
        self.holders = {}
        for name in ("root-1", "root-2", "root-3", "targets", "stable"):
            holder = directory / f"stick of {name}"
            holder.mkdir()
            for file in (f"{name}.pem", f"{name}.pub", "root.json"):
                shutil.copy(self.releases.keyring.directory / file, holder / file)
            (self.releases.keyring.directory / f"{name}.pem").unlink()
            self.holders[name] = Keyring(holder, lambda _: "a passphrase")
        self.stick = directory / "change"

    def prepare(self, change: changes.Change) -> None:
        offline.write(self.stick, change, self.releases.repository)

    def assemble(self) -> None:
        carry_out(self.releases.repository, offline.read(self.stick), self.releases.keyring, self.clock.now())

    def release(self, version: str = "2026.10.0") -> changes.Change:
        manifest = self.releases.manifest(version)
        return changes.publish(self.releases.state(), "stable", manifest, None, self.clock.now(), [])

    def versions(self) -> list[str]:
        client = self.releases.client()
        client.refresh()
        return [entry.version for entry in client.channel("stable").releases]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_release_is_signed_where_the_channels_key_is(site: Site) -> None:
    site.prepare(site.release())
    (signed,) = offline.sign(site.stick, site.holders["stable"])
    assert (signed.role, signed.have, signed.needed) == ("stable", 1, 1)
    site.assemble()
    assert site.versions() == ["2026.10.0"]


def test_roots_threshold_is_reached_one_by_one(site: Site) -> None:
    site.prepare(changes.renew(site.releases.state(), ["root"], site.clock.now()))
    (first,) = offline.sign(site.stick, site.holders["root-3"])
    assert (first.have, first.needed) == (1, 2)
    with pytest.raises(ThresholdError, match="needs 2 signatures and has 1"):
        site.assemble()
    offline.sign(site.stick, site.holders["root-1"])
    site.assemble()
    assert site.releases.state().root.signed.version == 2


def test_new_root_keys_are_agreed_to_by_old_and_new(site: Site, tmp_path: Path) -> None:
    ring = Keyring(tmp_path / "new", lambda _: "a passphrase", rounds=1)
    fresh = [ring.make(f"root-{number}") for number in (4, 5)]
    site.prepare(changes.rotate(site.releases.state(), "root", fresh, 2, site.clock.now()))
    offline.sign(site.stick, ring)
    with pytest.raises((ThresholdError, MissingKeyError)):
        site.assemble()
    offline.sign(site.stick, site.holders["root-1"])
    offline.sign(site.stick, site.holders["root-2"])
    site.assemble()
    assert site.versions() == []


def test_what_is_signed_is_told_from_the_metadata(site: Site) -> None:
    site.prepare(site.release())
    (unsigned,) = offline.look(site.stick)
    assert (unsigned.have, unsigned.needed) == (0, 1)
    assert "signs for channels/stable/2026.10.0.json" in unsigned.says
    offline.write(
        site.stick.with_name("another"),
        changes.renew(site.releases.state(), ["root"], site.clock.now()),
        site.releases.repository,
    )
    (root,) = offline.look(site.stick.with_name("another"))
    assert any(line.startswith("root: 2 of ") for line in root.says)


def test_a_key_that_may_not_sign_is_told_so(site: Site) -> None:
    site.prepare(site.release())
    with pytest.raises(MissingKeyError, match="may sign any of stable"):
        offline.sign(site.stick, site.holders["targets"])


def test_what_was_altered_on_the_way_is_refused(site: Site) -> None:
    site.prepare(site.release())
    offline.sign(site.stick, site.holders["stable"])
    file = site.stick / "metadata" / "stable.json"
    file.write_bytes(file.read_bytes().replace(b'"version":2', b'"version":3'))
    with pytest.raises(PublishError):
        site.assemble()
    assert site.versions() == []


def test_a_document_that_was_altered_on_the_way_is_not_signed(site: Site) -> None:
    site.prepare(site.release())
    file = site.stick / "files" / "channels" / "stable" / "channel.json"
    file.write_bytes(file.read_bytes().replace(b"2026.10.0", b"2026.10.1"))
    with pytest.raises(PublishError, match="not what the prepared metadata signs for"):
        offline.sign(site.stick, site.holders["stable"])


def test_a_change_of_another_repository_is_not_signed(site: Site, tmp_path: Path) -> None:
    other = Releases(tmp_path / "other", site.clock, channels=("stable", "beta"))
    offline.write(site.stick, changes.renew(other.state(), ["root"], site.clock.now()), other.repository)
    with pytest.raises(SignatureError, match="not for the repository that these keys are of"):
        offline.sign(site.stick, site.holders["root-1"])


def test_what_was_overtaken_is_refused(site: Site) -> None:
    site.prepare(site.release())
    offline.sign(site.stick, site.holders["stable"])
    site.assemble()
    with pytest.raises(PublishError, match="is at 2"):
        site.assemble()


def test_nothing_is_written_over(site: Site) -> None:
    site.prepare(site.release())
    with pytest.raises(PublishError, match="not empty"):
        site.prepare(site.release())


def test_what_is_no_change_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="no prepared change"):
        offline.read(tmp_path)


def test_a_repository_is_begun_by_keys_that_never_come_near_it(tmp_path: Path) -> None:
    """Root's and targets' keys are made elsewhere; only their public halves come here."""
    clock = FakeClock()
    vault = Keyring(tmp_path / "vault", lambda _: "theirs", rounds=1)
    here = Keyring(tmp_path / "here", lambda _: "ours", rounds=1)
    made = {role: [vault.make(role)] for role in ("root", "targets")}
    made |= {role: [here.make(role)] for role in ("snapshot", "timestamp", "stable")}
    change = changes.create(made, dict.fromkeys(made, 1), ["stable"], clock.now(), {})
    repository = Repository(tmp_path / "repository")
    offline.write(tmp_path / "stick", change, repository)
    offline.sign(tmp_path / "stick", vault)
    carry_out(repository, offline.read(tmp_path / "stick"), here, clock.now())
    assert repository.read().documents["stable"].releases == ()
    assert (here.directory / "root.json").read_bytes() == repository.root_bytes(1)


def test_stolen_keys_are_replaced_from_elsewhere(site: Site) -> None:
    """The thief's key is not asked for, though it is still here."""
    ring = site.releases.keyring
    key = ring.make("timestamp-2")
    state = site.releases.state()
    site.prepare(changes.rotate(state, "timestamp", [key], 1, site.clock.now(), stolen=True))
    for name in ("root-1", "root-2"):
        offline.sign(site.stick, site.holders[name])
    (ring.directory / "timestamp.pem").unlink()
    site.assemble()
    assert site.versions() == []
