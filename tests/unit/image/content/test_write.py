"""From files that were built, over a repository, into a slot: every way, and what becomes of a wrong one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
import pytest

from fakes.parts import blocks_of, open_new, program, serve_from, sha256, write_root
from skerry.image.content import publish, verity, write
from skerry.image.content.errors import MismatchError
from skerry.image.content.fetch import Fetcher
from skerry.image.content.plan import Base, Kind, PartPlan
from skerry.kit.progress import Phase, Progress
from skerry.kit.transport import UrlTransport

if TYPE_CHECKING:
    from pathlib import Path

    from skerry.image.release.manifest import Part

OLD = program(200_000, 1).ljust(50 * 4096, b"\0") + blocks_of(range(60))
NEW = program(200_000, 2).ljust(50 * 4096, b"\0") + blocks_of([*range(30), 99, *range(30, 60), 3])


class Scene:
    """A repository with a release made against an older one, and a host that has that."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.old = write_root(place / "old", OLD)
        self.new = write_root(place / "new", NEW)
        self.repository = place / "repository"
        self.fetcher = Fetcher(
            UrlTransport(), self.repository.as_uri(), place / "blobs", sleep=lambda _: None
        )
        self.told: list[Progress] = []

    def publish(self, *, patches: bool = True) -> Part:
        made = publish.parts_of(
            [self.new], [publish.Older("root", "2026.1.0", self.old.path)], self.place / "store",
            level=1, patches=patches,
        )  # fmt: skip
        [part] = serve_from(self.repository, made)
        return part

    def base(self, path: Path | None = None, *, hashes: bool = True) -> Base:
        return Base(
            "2026.1.0", path or self.old.path, len(OLD), sha256(OLD), self.old.hashes if hashes else None
        )

    def make(self, part: Part, plan: PartPlan, *bases: Base) -> Kind:
        slot, hashes = open_new(self.place / "slot"), open_new(self.place / "slot-hashes")
        try:
            return write.write(part, plan, bases, slot, self.fetcher, self.told.append, hashes=hashes)
        finally:
            os.close(slot)
            os.close(hashes)

    def right(self, part: Part) -> bool:
        assert part.verity is not None
        verity.check(self.place / "slot", self.place / "slot-hashes", part.verity)
        return (self.place / "slot").read_bytes()[: part.size] == NEW


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_host_that_has_nothing_takes_all(scene: Scene) -> None:
    part = scene.publish()
    plan = write.look(part, [], scene.fetcher)
    assert (plan.kind, plan.bytes_to_fetch) == (Kind.FULL, part.full.size)
    assert scene.make(part, plan) is Kind.FULL
    assert scene.right(part)


def test_a_patch_is_taken_from_the_version_before(scene: Scene) -> None:
    part = scene.publish()
    plan = write.look(part, [scene.base()], scene.fetcher)
    assert plan.kind is Kind.PATCH
    assert scene.make(part, plan, scene.base()) is Kind.PATCH
    assert scene.fetcher.fetched_bytes == plan.bytes_to_fetch
    assert scene.right(part)


@pytest.mark.parametrize("hashes", [True, False])
def test_blocks_are_taken_from_any_version(scene: Scene, hashes: bool) -> None:
    part = scene.publish(patches=False)
    base = scene.base(hashes=hashes)
    plan = write.look(part, [base], scene.fetcher)
    assert plan.kind is Kind.BLOCKS
    write.fetch(part, plan, [base], scene.fetcher)
    assert scene.fetcher.fetched_bytes == plan.bytes_to_fetch < part.full.size
    assert scene.make(part, plan, base) is Kind.BLOCKS
    assert scene.right(part)


def test_the_same_part_is_copied(scene: Scene) -> None:
    part = scene.publish()
    base = Base("2026.1.5", scene.new.path, len(NEW), part.sha256)
    plan = write.look(part, [base], scene.fetcher)
    assert (plan.kind, scene.make(part, plan, base)) == (Kind.SAME, Kind.SAME)
    assert scene.fetcher.fetched_bytes == 0
    assert scene.right(part)


def test_after_fetching_no_network_is_needed(scene: Scene) -> None:
    part = scene.publish(patches=False)
    for bases in ([], [scene.base()]):
        plan = write.look(part, bases, scene.fetcher)
        write.fetch(part, plan, bases, scene.fetcher)
        (scene.repository / "blobs").rename(scene.repository / "away")
        assert scene.make(part, plan, *bases) is plan.kind
        assert scene.right(part)
        (scene.repository / "away").rename(scene.repository / "blobs")


@pytest.mark.parametrize("patches", [True, False])
def test_a_base_that_rotted_is_noticed_and_the_whole_taken(scene: Scene, patches: bool) -> None:
    part = scene.publish(patches=patches)
    rotten = bytearray(OLD)
    rotten[-4096:] = b"r" * 4096  # the last block, which both ways use
    rotten[51 * 4096 : 70 * 4096] = bytes(19 * 4096)
    (scene.place / "rotten").write_bytes(rotten)
    base = scene.base(scene.place / "rotten")
    plan = write.look(part, [base], scene.fetcher)
    assert scene.make(part, plan, base) is Kind.FULL
    assert scene.right(part)
    assert any("did not come out" in event.note for event in scene.told)


def test_a_patch_that_is_another_is_not_applied(scene: Scene) -> None:
    part = scene.publish()
    wrong = msgspec.structs.replace(part.patches[0], blob=part.index)
    part = msgspec.structs.replace(part, patches=(wrong,))
    assert scene.make(part, write.look(part, [scene.base()], scene.fetcher), scene.base()) is Kind.FULL
    assert scene.right(part)


def test_frames_that_are_damaged_are_thrown_away(scene: Scene) -> None:
    part = scene.publish(patches=False)
    pack = scene.repository / part.pack.path
    pack.write_bytes(bytes(len(pack.read_bytes())))
    plan = write.look(part, [scene.base()], scene.fetcher)
    assert scene.make(part, plan, scene.base()) is Kind.FULL
    assert scene.right(part)
    assert not [path for path in scene.fetcher.directory.iterdir() if path.name.startswith(part.pack.sha256)]


def test_an_index_that_is_damaged_leaves_the_other_ways(scene: Scene) -> None:
    part = msgspec.structs.replace(scene.publish(patches=False), index=scene.publish().patches[0].blob)
    plan = write.look(part, [scene.base()], scene.fetcher, scene.told.append)
    assert plan.kind is Kind.FULL
    assert any("blocks cannot be used" in event.note for event in scene.told)


@pytest.mark.parametrize("size", [-4096, 4096])
def test_a_size_that_was_signed_otherwise_is_refused(scene: Scene, size: int) -> None:
    part = scene.publish()
    part = msgspec.structs.replace(part, size=part.size + size)
    with pytest.raises((MismatchError, write.FormatError)):
        scene.make(part, write.look(part, [], scene.fetcher))


def test_publishing_refuses_a_root_that_hosts_would(scene: Scene) -> None:
    scene.new.path.write_bytes(NEW[:-1] + b"!")
    with pytest.raises(MismatchError):
        scene.publish()


def test_publishing_again_costs_nothing(scene: Scene) -> None:
    first = scene.publish()
    told: list[Progress] = []
    again = publish.parts_of(
        [scene.new], [publish.Older("root", "2026.1.0", scene.old.path)], scene.place / "store",
        level=1, report=told.append,
    )  # fmt: skip
    assert again[0].part == first
    assert {event.phase for event in told} == {Phase.REUSED}
    assert not [path for path in (scene.place / "store").iterdir() if path.name.startswith(".new")]


def test_parts_without_verity_are_had_by_blocks_too(scene: Scene) -> None:
    (scene.place / "old.efi").write_bytes(OLD[:-100])
    (scene.place / "new.efi").write_bytes(NEW[:-100])
    made = publish.parts_of([publish.Raw("uki", scene.place / "new.efi")], [], scene.place / "store", level=1)
    [part] = serve_from(scene.repository, made)
    base = Base("2026.1.0", scene.place / "old.efi", len(OLD) - 100)
    plan = write.look(part, [base], scene.fetcher)
    assert scene.make(part, plan, base) is Kind.BLOCKS
    assert (scene.place / "slot").read_bytes() == NEW[:-100]
