"""From files that were built, over a repository, into a slot: every way, and what becomes of a wrong one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.parts import blocks_of, open_new, program, serve_from, sha256, write_root
from skerry.image.content import publish, verity, write
from skerry.image.content.errors import MismatchError
from skerry.image.content.fetch import Fetcher
from skerry.image.content.plan import Base, Kind, PartPlan, choose
from skerry.kit.progress import Phase, Progress
from skerry.kit.transport import UrlTransport

if TYPE_CHECKING:
    from collections.abc import Sequence
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
    plan = choose(part, [])
    assert (plan.kind, plan.bytes_to_fetch) == (Kind.FULL, part.full.size)
    assert scene.make(part, plan) is Kind.FULL
    assert scene.right(part)


def test_a_patch_is_taken_from_the_version_before(scene: Scene) -> None:
    part = scene.publish()
    plan = choose(part, [scene.base()])
    assert plan.kind is Kind.PATCH
    assert scene.make(part, plan, scene.base()) is Kind.PATCH
    assert scene.fetcher.fetched_bytes == plan.bytes_to_fetch
    assert scene.right(part)


@pytest.mark.parametrize("hashes", [True, False])
def test_blocks_are_taken_from_any_version(scene: Scene, hashes: bool) -> None:
    part = scene.publish(patches=False)
    base = scene.base(hashes=hashes)
    plan = choose(part, [base])
    assert plan.kind is Kind.BLOCKS
    assert write.fetch(part, plan, [base], scene.fetcher) == plan
    assert scene.fetcher.fetched_bytes == plan.bytes_to_fetch < part.full.size
    assert scene.make(part, plan, base) is Kind.BLOCKS
    assert scene.right(part)


def test_the_same_part_is_copied(scene: Scene) -> None:
    part = scene.publish()
    base = Base("2026.1.5", scene.new.path, len(NEW), part.sha256)
    plan = choose(part, [base])
    assert (plan.kind, scene.make(part, plan, base)) == (Kind.SAME, Kind.SAME)
    assert scene.fetcher.fetched_bytes == 0
    assert scene.right(part)


def test_after_fetching_no_network_is_needed(scene: Scene) -> None:
    part = scene.publish(patches=False)
    for bases in ([], [scene.base()]):
        plan = choose(part, bases)
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
    plan = choose(part, [base])
    assert scene.make(part, plan, base) is Kind.FULL
    assert scene.right(part)
    assert any("did not come out" in event.note for event in scene.told)


def test_a_patch_that_is_another_is_not_applied(scene: Scene) -> None:
    part = scene.publish()
    wrong = msgspec.structs.replace(part.patches[0], blob=part.index)
    part = msgspec.structs.replace(part, patches=(wrong,))
    assert scene.make(part, choose(part, [scene.base()]), scene.base()) is Kind.FULL
    assert scene.right(part)


def test_frames_that_are_damaged_are_thrown_away(scene: Scene) -> None:
    part = scene.publish(patches=False)
    pack = scene.repository / part.pack.path
    pack.write_bytes(bytes(len(pack.read_bytes())))
    plan = choose(part, [scene.base()])
    assert scene.make(part, plan, scene.base()) is Kind.FULL
    assert scene.right(part)
    assert not [path for path in scene.fetcher.directory.iterdir() if path.name.startswith(part.pack.sha256)]


def test_an_index_that_is_damaged_leaves_the_whole(scene: Scene) -> None:
    part = scene.publish(patches=False)
    (scene.repository / part.index.path).write_bytes(bytes(part.index.size))
    plan = choose(part, [scene.base()])
    assert plan.kind is Kind.BLOCKS
    settled = write.fetch(part, plan, [scene.base()], scene.fetcher, scene.told.append)
    assert settled.kind is Kind.FULL
    assert any("blocks failed, so the whole is fetched" in event.note for event in scene.told)
    assert scene.make(part, settled, scene.base()) is Kind.FULL
    assert scene.right(part)


def test_a_base_that_lost_its_blocks_costs_the_index_at_most(scene: Scene) -> None:
    part = scene.publish(patches=False)
    base = scene.base(scene.place / "lost", hashes=False)
    base.path.write_bytes(bytes(len(OLD)))
    settled = write.fetch(part, choose(part, [base]), [base], scene.fetcher)
    assert settled.kind is Kind.FULL
    assert scene.fetcher.fetched_bytes == part.full.size + part.index.size


@pytest.mark.parametrize("size", [-4096, 4096])
def test_a_size_that_was_signed_otherwise_is_refused(scene: Scene, size: int) -> None:
    part = scene.publish()
    part = msgspec.structs.replace(part, size=part.size + size)
    with pytest.raises((MismatchError, write.FormatError)):
        scene.make(part, choose(part, []))


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
    older = publish.Older("uki", "2026.1.0", scene.place / "old.efi")
    made = publish.parts_of(
        [publish.Raw("uki", scene.place / "new.efi")], [older], scene.place / "store", level=1, patches=False
    )
    [part] = serve_from(scene.repository, made)
    base = Base("2026.1.0", scene.place / "old.efi", len(OLD) - 100, sha256(OLD[:-100]))
    plan = choose(part, [base])
    assert scene.make(part, plan, base) is Kind.BLOCKS
    assert (scene.place / "slot").read_bytes() == NEW[:-100]


def test_an_older_release_is_reached_by_its_index_alone(scene: Scene) -> None:
    before = publish.parts_of([scene.old], [], scene.place / "store", level=1)[0].part
    index = scene.place / "store" / before.index.sha256
    indexed = [publish.Indexed("root", before.sha256, index), publish.Indexed("uki", "9" * 64, index)]
    made = publish.parts_of([scene.new], [], scene.place / "store", indexed=indexed, level=1)
    [part] = serve_from(scene.repository, made)
    assert part.blocks_from.keys() == {sha256(OLD)}
    plan = write.fetch(part, choose(part, [scene.base()]), [scene.base()], scene.fetcher)
    assert plan.kind is Kind.BLOCKS
    assert scene.fetcher.fetched_bytes == plan.bytes_to_fetch


@pytest.mark.parametrize("damage", [b"", b"no index"])
def test_an_index_that_cannot_be_read_reaches_nothing(scene: Scene, damage: bytes) -> None:
    (scene.place / "index").write_bytes(damage)
    indexed = [publish.Indexed("root", "9" * 64, scene.place / "index")]
    [made] = publish.parts_of([scene.new], [], scene.place / "store", indexed=indexed, level=1)
    assert made.part.blocks_from == {}


def content_of(numbers: Sequence[int]) -> bytes:
    """Blocks of which every other kind is compressed to nearly nothing."""
    return b"".join(blocks_of([n]) if n % 2 else bytes([n]) * 4096 for n in numbers)


contents = st.lists(st.integers(0, 40), min_size=1, max_size=60).map(content_of)


@settings(max_examples=40, deadline=None)
@given(contents, st.lists(contents, max_size=3), contents, st.booleans(), st.booleans())
def test_what_is_fetched_is_never_more_than_the_whole(
    tmp_path_factory: pytest.TempPathFactory,
    new: bytes, published: list[bytes], elsewhere: bytes, patches: bool, known: bool,
) -> None:  # fmt: skip
    """Every byte counted, the index too: from each release that was published, and from one that was not."""
    place = tmp_path_factory.mktemp("bound")
    (place / "new").write_bytes(new)
    older = []
    for number, content in enumerate([elsewhere, *published]):
        (place / f"old{number}").write_bytes(content)
        older.append(publish.Older("uki", f"2026.{number}.0", place / f"old{number}"))
    made = publish.parts_of(
        [publish.Raw("uki", place / "new")], older[1:], place / "store", level=1, patches=patches
    )
    [part] = serve_from(place / "repository", made)
    for one in older:
        content = one.path.read_bytes()
        base = Base(one.version, one.path, len(content), sha256(content) if known else None)
        fetcher = Fetcher(UrlTransport(), (place / "repository").as_uri(), place / f"blobs{one.version}")
        plan = write.fetch(part, choose(part, [base]), [base], fetcher)
        target = open_new(place / f"made{one.version}")
        assert write.write(part, plan, [base], target, fetcher) is plan.kind
        os.close(target)
        assert fetcher.fetched_bytes == plan.bytes_to_fetch <= part.full.size
        assert (place / f"made{one.version}").read_bytes() == new
