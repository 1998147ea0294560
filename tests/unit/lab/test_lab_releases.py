"""The lab's releases: what somebody removed to have room is made again, under the root that images have."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from fakes.images import make_image
from fakes.parts import blocks_of
from skerry.image.compose.build import Store
from skerry.image.release.repository import Repository
from skerry.kit.progress import silent
from skerry_lab.repository import Desk

if TYPE_CHECKING:
    from pathlib import Path

    from skerry.image.compose.build import Image
    from skerry.image.release.manifest import Manifest


def image(place: Path, version: str, last: int) -> Image:
    root = blocks_of([*range(40), last])
    return make_image(place / f"made-{version}-{last}", Store(place), version, root=root, uki=b"MZ" + root)


def published(place: Path, version: str) -> Manifest:
    repository = Repository(place / "repository")
    return repository.manifest(repository.read(), "stable", version)


def test_a_repository_that_is_gone_is_begun_again_with_the_same_keys(tmp_path: Path) -> None:
    Desk(tmp_path, silent).publish([])
    root = (tmp_path / "keys/root.json").read_bytes()
    shutil.rmtree(tmp_path / "repository")
    Desk(tmp_path, silent).publish([])
    assert Repository(tmp_path / "repository").read(root).documents["stable"].releases == ()
    assert (tmp_path / "keys/root.json").read_bytes() == root


def test_a_release_is_reached_by_blocks_from_the_one_before(tmp_path: Path) -> None:
    images = [image(tmp_path, version, last) for last, version in enumerate(("2026.10.0", "2026.11.0"), 100)]
    Desk(tmp_path, silent).publish([("stable", one) for one in images])
    before, after = (published(tmp_path, one.version) for one in images)
    assert after.part("root").blocks_from.keys() == {before.part("root").sha256}


def test_a_version_that_was_built_otherwise_takes_the_place_of_the_first(tmp_path: Path) -> None:
    first = image(tmp_path, "2026.10.0", 100)
    Desk(tmp_path, silent).publish([("stable", first)])
    was = published(tmp_path, "2026.10.0")
    Desk(tmp_path, silent).publish([("stable", first)])
    assert published(tmp_path, "2026.10.0") == was
    Desk(tmp_path, silent).publish([("stable", image(tmp_path, "2026.10.0", 101))])
    assert published(tmp_path, "2026.10.0").part("root").sha256 != was.part("root").sha256
