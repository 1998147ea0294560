"""Debian's own registry takes and gives back the images that are made of Debian's packages."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING

import pytest

from skerry_lab import registry
from skerry_lab.errors import LabError
from skerry_lab.images import build_images
from skerry_lab.oci import MANIFEST_TYPE, Config, Entry, make_image, make_layer
from skerry_lab.state import LabState, create

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from skerry_lab.oci import Image

pytestmark = [
    pytest.mark.skipif(shutil.which(registry.PROGRAM) is None, reason="docker-registry is not installed"),
    pytest.mark.timeout(300),
]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[LabState]:
    made = create(tmp_path / "lab", "lab")
    yield made
    made.undo()


@pytest.fixture(scope="module")
def images() -> tuple[Image, ...]:
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap is not installed")
    return build_images()


def small(name: str) -> Image:
    layers = [make_layer([Entry("hello", content=b"world")])]
    return make_image(name, layers, Config(), architecture="amd64")


def test_what_was_pushed_is_pulled_by_tag_and_digest(state: LabState) -> None:
    image = small("some/thing:v1")
    running = registry.start(state, [image])
    manifest = running.fetch("/v2/some/thing/manifests/v1", accept=MANIFEST_TYPE)
    assert f"sha256:{hashlib.sha256(manifest).hexdigest()}" == image.manifest.digest
    layer = json.loads(manifest)["layers"][0]["digest"]
    assert running.fetch(f"/v2/some/thing/blobs/{layer}") == image.blobs[1].data


def test_pushing_again_changes_nothing(state: LabState) -> None:
    image = small("some/thing:v1")
    running = registry.start(state, [image])
    assert running.push(image) == image.manifest.digest


def test_it_ends_with_its_lab(state: LabState, tmp_path: Path) -> None:
    running = registry.start(state, [])
    state.undo()
    assert not running.process.alive()
    with pytest.raises(LabError, match="does not answer"):
        running.fetch("/v2/")
    create(tmp_path / "lab", "lab")


def test_the_images_have_the_names_the_documentation_uses(images: tuple[Image, ...]) -> None:
    assert [image.name for image in images] == [
        "library/busybox:latest",
        "tutum/hello-world:latest",
        "coreos/apache:latest",
    ]


def test_the_images_are_small_and_share_their_base(images: tuple[Image, ...]) -> None:
    distinct = {blob.digest: len(blob.data) for image in images for blob in image.blobs}
    assert sum(distinct.values()) < 10_000_000
    assert len({image.blobs[1].digest for image in images}) == 1


def test_a_second_build_comes_from_the_cache(images: tuple[Image, ...]) -> None:
    assert build_images() == images
