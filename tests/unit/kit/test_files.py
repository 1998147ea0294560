"""Files that matter: the old content or the new, never half, and nothing left behind."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from skerry.kit.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path


def test_content_and_mode_are_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    write_atomic(path, "müde\n", mode=0o640)
    assert (path.read_bytes(), path.stat().st_mode & 0o7777) == ("müde\n".encode(), 0o640)


def test_mode_does_not_follow_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_atomic(tmp_path / "open", b"", mode=0o666)
    finally:
        os.umask(before)
    assert (tmp_path / "open").stat().st_mode & 0o7777 == 0o666


def test_an_open_reader_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    write_atomic(path, b"old")
    with path.open("rb") as reader:
        write_atomic(path, b"new")
        assert (reader.read(), path.read_bytes()) == (b"old", b"new")


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("untouched")
    (tmp_path / "link").symlink_to("target")
    write_atomic(tmp_path / "link", b"new")
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "untouched"


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "name").mkdir()
    with pytest.raises(OSError, match="name"):
        write_atomic(tmp_path / "name", b"a directory is in the way")
    assert [path.name for path in tmp_path.iterdir()] == ["name"]


def test_a_long_name_still_has_room_for_the_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    write_atomic(path, b"x")
    assert path.read_bytes() == b"x"
