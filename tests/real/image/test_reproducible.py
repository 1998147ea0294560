"""The same packages make the same image, bit for bit, whoever builds it and where."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from skerry.image.compose.build import Image, Store, build

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.timeout(600)
STEPS = ("tree", "root", "initrd", "kernel", "uki", "disk")


def sums(cache: Path, image: Image) -> dict[str, str]:
    """The hash of every file that the steps of an image left."""
    found = {}
    for step in STEPS:
        for path in sorted((cache / "steps" / f"{step}-{image.steps[step]}").iterdir()):
            with path.open("rb") as file:
                found[f"{step}/{path.name}"] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def test_another_cache_place_clock_and_umask_give_the_same_bytes(
    store: Store, cache: Callable[..., Path], recipe: Callable[..., Path]
) -> None:
    directory = cache("tools", "packages")
    here = build()
    subprocess.run(
        [sys.executable, "-m", "skerry.entry.cli.main", "image", "build", str(recipe())],
        env=os.environ | {"SKERRY_CACHE": str(directory), "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"},
        umask=0o077, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    (there,) = Store(directory).list()
    assert there.steps == here.steps
    assert sums(directory, there) == sums(store.cache, here)
