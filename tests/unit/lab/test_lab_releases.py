"""The lab's releases: what somebody removed to have room is made again, under the root that images have."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from skerry.image.release.repository import Repository
from skerry.kit.progress import silent
from skerry_lab.repository import Desk

if TYPE_CHECKING:
    from pathlib import Path


def test_a_repository_that_is_gone_is_begun_again_with_the_same_keys(tmp_path: Path) -> None:
    Desk(tmp_path, silent).publish([])
    root = (tmp_path / "keys/root.json").read_bytes()
    shutil.rmtree(tmp_path / "repository")
    Desk(tmp_path, silent).publish([])
    assert Repository(tmp_path / "repository").read(root).documents["stable"].releases == ()
    assert (tmp_path / "keys/root.json").read_bytes() == root
