"""What a release says of an image besides its parts: /etc, and the sizes of its disk's partitions."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest
import zstandard

from fakes.images import write_gpt
from skerry.image.compose.errors import ComposeError
from skerry.image.compose.etc_defaults import partitions, write_etc

if TYPE_CHECKING:
    from pathlib import Path


def tree(path: Path, members: dict[str, bytes | None], links: dict[str, str] | None = None) -> Path:
    """A tar; None makes a directory."""
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.mtime = 1_700_000_000
            member.mode = 0o640
            member.uid = 7
            if content is None:
                member.type = tarfile.DIRTYPE
            member.size = len(content or b"")
            tar.addfile(member, io.BytesIO(content or b""))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.LNKTYPE, target
            tar.addfile(member)
    return path


MEMBERS = {"./": None, "./etc/": None, "./etc/hosts": b"a", "./etc/ssh/": None, "./etc/ssh/config": b"b",
           "./usr/": None, "./usr/etc/": None, "./usr/etc/no": b"c", "./etcetera": b"d"}  # fmt: skip


def read(path: Path) -> dict[str, tarfile.TarInfo]:
    data = zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: member for member in tar}


def test_etc_and_nothing_else(tmp_path: Path) -> None:
    write_etc(tree(tmp_path / "tree.tar", MEMBERS), tmp_path / "etc.tar.zst")
    found = read(tmp_path / "etc.tar.zst")
    assert list(found) == ["./hosts", "./ssh", "./ssh/config"]
    hosts = found["./hosts"]
    assert (hosts.mode, hosts.uid, hosts.mtime, hosts.size) == (0o640, 7, 1_700_000_000, 1)


def test_the_same_image_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_etc(tree(tmp_path / f"{name}.tar", MEMBERS), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_hard_links_go_on_pointing(tmp_path: Path) -> None:
    write_etc(tree(tmp_path / "t", MEMBERS, {"./etc/again": "./etc/hosts"}), tmp_path / "e")
    assert read(tmp_path / "e")["./again"].linkname == "./hosts"


def test_a_tree_without_etc_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ComposeError, match="no /etc"):
        write_etc(tree(tmp_path / "t", {"./": None, "./usr/": None}), tmp_path / "e")


def test_partitions_by_their_names(tmp_path: Path) -> None:
    disk = write_gpt(tmp_path / "disk.raw", [("esp", 64), ("skerry_1", 512), ("_empty", 512), ("_empty", 8)])
    mib = 1 << 20
    assert partitions(disk) == {"esp": [64 * mib], "skerry_1": [512 * mib], "_empty": [512 * mib, 8 * mib]}


def test_what_is_no_disk(tmp_path: Path) -> None:
    (tmp_path / "disk.raw").write_bytes(bytes(4096))
    with pytest.raises(ComposeError, match="no partition table"):
        partitions(tmp_path / "disk.raw")
