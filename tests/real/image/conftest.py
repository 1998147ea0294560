"""The shipped image, built once from the cache of this machine, and caches that share its steps."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from skerry.image.compose.build import DEFAULT_RECIPE, Image, Store, build, tools_of
from skerry.image.compose.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NEEDED = ("bwrap", "mmdebstrap", "setpriv", "unshare")


@pytest.fixture(scope="session")
def image() -> Image:
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    return build()


@pytest.fixture(scope="session")
def store(image: Image) -> Store:
    return Store()


@pytest.fixture(scope="session")
def sandbox(image: Image) -> Sandbox:
    """The tools that the image was built with."""
    return Sandbox(tools_of(image))


@pytest.fixture
def cache(image: Image, store: Store, tmp_path: Path) -> Callable[..., Path]:
    """Makes a cache that has some of the image's steps and nothing else."""

    def make(*steps: str) -> Path:
        directory = tmp_path / "cache" / "steps"
        directory.mkdir(parents=True)
        for step in steps:
            name = f"{step}-{image.steps[step]}"
            (directory / name).symlink_to(store.cache / "steps" / name)
        return directory.parent

    return make


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Path]:
    """Writes the shipped recipe with some of its text changed."""

    def write(*changes: tuple[str, str]) -> Path:
        text = DEFAULT_RECIPE.read_text()
        rootfs = (DEFAULT_RECIPE.parent / "../rootfs").resolve()
        for old, new in (("../rootfs", str(rootfs)), *changes):
            assert old in text, old
            text = text.replace(old, new)
        path = tmp_path / "recipe.toml"
        path.write_text(text)
        return path

    return write
