"""Reading trees from directories and archives; what is refused of an archive."""

from __future__ import annotations

import io
import os
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings

from fakes.trees import file, link, tree, trees, write
from skerry.host.etc.errors import ArchiveError, EtcError
from skerry.host.etc.scan import scan_directory, scan_tar
from skerry.host.etc.tree import Tree, shown

if TYPE_CHECKING:
    from pathlib import Path

NOT_UTF8 = os.fsdecode(b"caf\xe9")


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    made.seek(0)
    return made


def member(name: str, kind: bytes = tarfile.REGTYPE, leads_to: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, leads_to
    info.uid, info.gid = os.getuid(), os.getgid()
    if kind == tarfile.DIRTYPE:
        info.mode = 0o755
    return info


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    made = tree({"a/b": file("text\n", 0o640), "a/l": link("../.."), NOT_UTF8: b"\0", "a/c/d": ""})
    write(made, tmp_path / "etc")
    found = scan_directory(tmp_path / "etc")
    assert dict(found.entries) == dict(made.entries)
    assert found.read("a/b") == b"text\n"


@settings(max_examples=15, deadline=None)
@given(trees())
def test_any_tree_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, made: Tree) -> None:
    goal = tmp_path_factory.mktemp("any") / "etc"
    write(made, goal)
    assert dict(scan_directory(goal).entries) == dict(made.entries)


def test_a_link_out_of_the_tree_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/d").symlink_to(tmp_path / "outside")
    found = scan_directory(tmp_path / "etc")
    assert sorted(found.entries) == ["", "d"]
    (tmp_path / "etc/f").symlink_to(tmp_path / "outside/secret")
    with pytest.raises(OSError, match="symbolic links"):
        found.read("f")


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(EtcError, match="cannot be read: No such file"):
        scan_directory(tmp_path / "etc")


@pytest.mark.parametrize("prefix", ["", "./", "etc/", "./etc/"])
def test_an_archive_may_say_etc_or_not(prefix: str) -> None:
    made = archive(
        (member(prefix or "./", tarfile.DIRTYPE), b""),
        (member(f"{prefix}a", tarfile.DIRTYPE), b""),
        (member(f"{prefix}a/b"), b"text\n"),
        (member(f"{prefix}l", tarfile.SYMTYPE, "/dev/null"), b""),
    )
    found = scan_tar(made)
    assert sorted(found.entries) == ["", "a", "a/b", "l"]
    assert found.read("a/b") == b"text\n"


def test_an_archive_is_scanned_like_the_directory_it_was_made_of(tmp_path: Path) -> None:
    write(tree({"a/b": file("text\n", 0o640), "l": link("x"), NOT_UTF8: "1", "a/c": b"\0"}), tmp_path / "etc")
    (tmp_path / "etc/hard").hardlink_to(tmp_path / "etc/a/b")
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(tmp_path / "etc", "etc")
    made.seek(0)
    found = scan_tar(made)
    assert dict(found.entries) == dict(scan_directory(tmp_path / "etc").entries)
    assert found.read("hard") == b"text\n"


BAD = [
    (member("../a"), "leads out"),
    (member("a/../../b"), "leads out"),
    (member("/etc/passwd"), "leads out"),
    (member("null", tarfile.CHRTYPE), "special file"),
    (member("disk", tarfile.BLKTYPE), "special file"),
    (member("pipe", tarfile.FIFOTYPE), "special file"),
    (member("hard", tarfile.LNKTYPE, "../../shadow"), "leads out"),
    (member("hard", tarfile.LNKTYPE, "shadow"), "has not"),
]


@pytest.mark.parametrize(("info", "why"), BAD, ids=lambda one: getattr(one, "name", None))
def test_an_archive_is_refused(info: tarfile.TarInfo, why: str) -> None:
    with pytest.raises(ArchiveError, match=why):
        scan_tar(archive((member("etc", tarfile.DIRTYPE), b""), (info, b"")))


def test_a_file_below_a_link_is_refused() -> None:
    made = archive((member("d", tarfile.SYMTYPE, "/"), b""), (member("d/shadow"), b"x"))
    with pytest.raises(ArchiveError, match="no directory"):
        scan_tar(made)


def test_a_size_that_lies_is_refused() -> None:
    info = member("big")
    made = archive((info, b""))
    data = bytearray(made.getvalue())
    info.size = 1 << 40
    data[:512] = info.tobuf(tarfile.GNU_FORMAT)[:512]
    with pytest.raises(ArchiveError, match="more than 128 MiB"):
        scan_tar(io.BytesIO(bytes(data)))


def test_what_is_no_archive_is_refused() -> None:
    with pytest.raises(ArchiveError, match="cannot be read"):
        scan_tar(io.BytesIO(b"nonsense" * 200))


def test_names_are_shown_without_what_a_terminal_obeys() -> None:
    assert shown(f"a\x1b[31m{NOT_UTF8}\n") == "a\\x1b[31mcaf\\xe9\\x0a"
