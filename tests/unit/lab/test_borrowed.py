"""A program is taken out of an image's tree with what it runs on."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from skerry_lab.borrowed import LIBRARIES, LOADER, borrow
from skerry_lab.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path

FILES = ("./usr/sbin/tool", f"{LIBRARIES}/libtool.so.1")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """One whose library is a link, as they are."""
    path = tmp_path / "tree.tar"
    with tarfile.open(path, "w") as tar:
        for name in (
            "./usr/sbin/tool",
            *(f"{LIBRARIES}/{n}" for n in ("libtool.so.1.2", "libc.so.6", LOADER)),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(name)
            tar.addfile(member, io.BytesIO(name.encode()))
        link = tarfile.TarInfo(f"{LIBRARIES}/libtool.so.1")
        link.type, link.linkname = tarfile.SYMTYPE, "libtool.so.1.2"
        tar.addfile(link)
    return path


def test_the_command_is_the_images_loader_with_its_libraries(tree: Path, tmp_path: Path) -> None:
    place = tmp_path / "programs"
    place.mkdir()
    command = borrow(tree, FILES, place)
    assert command == (str(place / LOADER), "--library-path", str(place), str(place / "tool"))
    assert sorted(path.name for path in place.iterdir()) == [LOADER, "libc.so.6", "libtool.so.1", "tool"]
    assert (place / "libtool.so.1").read_text() == f"{LIBRARIES}/libtool.so.1.2"


def test_what_the_tree_lacks_is_named(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"has no \./usr/sbin/other"):
        borrow(tree, ("./usr/sbin/other",), tmp_path)
