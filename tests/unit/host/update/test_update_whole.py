"""A signed repository, its real client and content, a disk of real files: no fake but time and neighbours."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
from typing import TYPE_CHECKING

import pytest
import zstandard

from fakes.clock import FakeClock
from fakes.gpt import make_disk
from fakes.parts import blocks_of, write_root
from fakes.releases import MIB, Disk, Releases, blob_of
from fakes.update import FakeAround, FakeEtc, Fuse
from skerry.host.update.engine import Engine
from skerry.host.update.errors import ChannelError, ClockError
from skerry.host.update.journal import Journal, Step
from skerry.host.update.keep import Keep
from skerry.host.update.linux import LinuxDisk
from skerry.host.update.settings import UpdateSettings
from skerry.host.update.situation import Machine
from skerry.host.update.supply import open_repository
from skerry.image.content import publish
from skerry.image.release import changes
from skerry.image.release.errors import StaleError
from skerry.image.release.manifest import Manifest

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = "2026.10.0", "2026.11.0"
BLOCKS = {OLD: list(range(200)), NEW: [*range(150), *range(1000, 1010), *range(150, 200)]}


def etc_of(version: str) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        member = tarfile.TarInfo("motd")
        member.size = len(version)
        tar.addfile(member, io.BytesIO(version.encode()))
    return zstandard.compress(held.getvalue())


class Publisher:
    """A repository with OLD and NEW."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.clock = directory, FakeClock()
        self.releases = Releases(directory / "publisher", self.clock)
        self.images = {version: self.image(version) for version in (OLD, NEW)}
        for version in (OLD, NEW):
            self.publish(version)

    def image(self, version: str) -> Path:
        place = self.directory / "images" / version
        raw = write_root(place, blocks_of(BLOCKS[version]))
        seal = publish.parts_of([raw], [], self.directory / "store")[0].part.verity
        assert seal is not None
        line = f"skerry.image=skerry_{version} skerry.verity={seal.root_hash},{seal.salt},{seal.blocks} quiet"
        kernel = gzip.compress(blocks_of([7, 8, 9]), mtime=0)
        (place / "skerry.efi").write_bytes(b"MZ" + kernel + line.encode() + b"\0")
        (place / "hash").write_text(seal.root_hash)
        return place

    def publish(self, version: str) -> None:
        place = self.images[version]
        root_hash = (place / "hash").read_text()
        older = publish.image_older(self.images[OLD], OLD) if version != OLD else ()
        made = publish.parts_of(
            publish.image_parts(place, root_hash), older, self.directory / "store", level=1
        )
        for one in made:
            for sha256, path in one.files.items():
                blob = next(blob for blob in one.part.blobs if blob.sha256 == sha256)
                self.releases.repository.add_blob(path, blob)
        etc = self.directory / "etc.tar.zst"
        etc.write_bytes(etc_of(version))
        blob = blob_of(etc.read_bytes())
        self.releases.repository.add_blob(etc, blob)
        manifest = Manifest(
            "skerry", version, "trixie", "amd64", "6.12.0", tuple(one.part for one in made), etc=blob,
            disk=Disk(512 * MIB, 512 * MIB, 16 * MIB),
        )  # fmt: skip
        self.releases.apply(
            changes.publish(self.releases.state(), "stable", manifest, None, self.clock.now(), [])
        )


class World:
    """A host that runs OLD from slot A, and its own copy of the repository."""

    def __init__(self, directory: Path, publisher: Publisher) -> None:
        self.directory, self.clock, self.images = directory, FakeClock(), publisher.images
        self.repository = directory / "repository"
        shutil.copytree(publisher.releases.repository.directory, self.repository)
        self.parts = {partition: directory / f"part{partition}" for partition in range(1, 7)}
        for path in self.parts.values():
            path.write_bytes(b"\0" * MIB)
        old = self.images[OLD]
        self.parts[2].write_bytes((old / "root.erofs").read_bytes())
        self.parts[3].write_bytes((old / "root.verity").read_bytes())
        entries = directory / "esp/EFI/Linux"
        entries.mkdir(parents=True)
        (entries / f"skerry_{OLD}.efi").write_bytes((old / "skerry.efi").read_bytes())
        labels = ("esp", f"skerry_{OLD}", f"skerry_{OLD}_verity", "_empty", "_empty", "skerry_data")
        self.disk = LinuxDisk(
            make_disk(directory / "disk", labels, each=4 * MIB // 512), self.parts, directory / "esp"
        )
        (directory / "root/usr/lib/skerry/trust").mkdir(parents=True)
        (directory / "root/usr/lib/skerry/trust/root.json").write_bytes(publisher.releases.first_root)

    def engine(self) -> Engine:
        state, around = self.directory / "update", FakeAround()
        settings = UpdateSettings(repository=self.repository.as_uri())
        return Engine(
            Machine("skerry", OLD, "node", "boot 1"), self.disk, Journal(state),
            Keep(state, self.directory / "extensions"), settings, self.clock,
            lambda: open_repository(
                settings.repository, self.directory / "root", state, self.clock, 0.0
            ),
            around, around, lambda: 1 << 30, etc=FakeEtc(Fuse()),
        )  # fmt: skip


@pytest.fixture(scope="module")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return Publisher(tmp_path_factory.mktemp("publisher"))


@pytest.fixture
def world(tmp_path: Path, publisher: Publisher) -> World:
    return World(tmp_path, publisher)


def test_the_host_gets_the_bytes_that_were_published(world: World) -> None:
    preview = world.engine().stage()
    assert preview.target == NEW
    new = world.images[NEW]
    root = (new / "root.erofs").read_bytes()
    assert world.parts[4].read_bytes()[: len(root)] == root
    assert world.parts[5].read_bytes().startswith((new / "root.verity").read_bytes())
    entry = world.directory / f"esp/EFI/Linux/skerry_{NEW}+3.efi"
    assert entry.read_bytes() == (new / "skerry.efi").read_bytes()
    assert [slot.version for slot in world.disk.slots()] == [OLD, NEW]
    assert world.engine().journal.read().step is Step.STAGED


def test_little_is_fetched_and_nothing_of_it_stays(world: World) -> None:
    preview = world.engine().stage()
    kinds = {cost.part: (cost.kind, cost.fetch, cost.size) for cost in preview.parts}
    assert kinds["root"][0] == "patch"
    assert kinds["root"][1] < kinds["root"][2] / 10
    assert list((world.directory / "update/blobs").iterdir()) == []
    assert not (world.directory / "update/uki.efi").exists()


def test_both_ways_are_verified_on_the_way_back(world: World) -> None:
    from skerry.host.update.back import verify

    world.engine().stage()
    old, new = world.disk.slots()
    verify(old, world.directory / f"esp/EFI/Linux/skerry_{OLD}.efi")
    verify(new, world.directory / f"esp/EFI/Linux/skerry_{NEW}+3.efi")


def test_a_blob_that_is_not_the_signed_one_never_boots(world: World) -> None:
    for path in (world.repository / "blobs").rglob("*"):
        if path.is_file():
            path.write_bytes(b"\xff" * path.stat().st_size)
    from skerry.kit.errors import SkerryError

    with pytest.raises(SkerryError):
        world.engine().stage()
    assert [slot.version for slot in world.disk.slots()] == [OLD, None]
    assert [entry.version for entry in world.disk.entries()] == [OLD]


def test_metadata_that_nobody_renewed_is_refused(world: World) -> None:
    world.clock._passed = 400 * 86400
    with pytest.raises(StaleError):
        world.engine().check()


def test_a_clock_before_the_signing_is_told_and_nothing_is_staged(world: World) -> None:
    world.clock = FakeClock(now=world.clock.now() - 40 * 86400)  # as one that began at the image's own time
    with pytest.raises(ClockError, match=r"the clock says 2023-10-05 .* was signed on 2023-11-14") as refused:
        world.engine().stage()
    assert "timedatectl" in (refused.value.hint or "")
    assert [slot.version for slot in world.disk.slots()] == [OLD, None]


def test_a_clock_that_is_a_little_behind_is_none_the_worse(world: World) -> None:
    world.clock = FakeClock(now=world.clock.now() - 3600)
    assert world.engine().check().version == NEW


def test_without_a_repository_or_trust_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(ChannelError, match="no repository is set"):
        open_repository(None, tmp_path, tmp_path, FakeClock(), 0.0)
    with pytest.raises(ChannelError, match="not told whom to trust"):
        open_repository("https://x.example", tmp_path, tmp_path, FakeClock(), 0.0)
