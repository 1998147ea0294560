"""The initrd's archive, read back by the words of its format."""

from __future__ import annotations

import io
import stat
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from skerry.image.compose.inside.initrd import write_newc
from skerry.kit.run import run

EPOCH = 1_700_000_000


class Entry(NamedTuple):
    mode: int
    time: int
    data: bytes


def written(files: dict[str, bytes], directories: tuple[str, ...] = ()) -> bytes:
    archive = io.BytesIO()
    write_newc(archive, files, directories, EPOCH)
    return archive.getvalue()


def read(archive: bytes) -> dict[str, Entry]:
    """A reader of newc archives; fails where one is not as the kernel's page says."""
    found: dict[str, Entry] = {}
    at, numbers = 0, set()
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        number, mode, uid, gid, _, time, size, *_, name_size, check = fields
        assert (uid, gid, check) == (0, 0, 0)
        assert number not in numbers
        numbers.add(number)
        start = at + 110
        assert archive[start + name_size - 1] == 0
        name = archive[start : start + name_size - 1].decode()
        start += name_size + -(110 + name_size) % 4
        if name == "TRAILER!!!":
            assert archive[start:].strip(b"\0") == b""
            return found
        found[name] = Entry(mode, time, archive[start : start + size])
        at = start + size + -size % 4


def test_entries_have_content_mode_and_the_one_time() -> None:
    found = read(written({"init": b"#!", "bin/x": b"12345", "lib/y": b""}, ("bin", "lib")))
    assert found == {
        "bin": Entry(stat.S_IFDIR | 0o755, EPOCH, b""),
        "lib": Entry(stat.S_IFDIR | 0o755, EPOCH, b""),
        "bin/x": Entry(stat.S_IFREG | 0o755, EPOCH, b"12345"),
        "init": Entry(stat.S_IFREG | 0o755, EPOCH, b"#!"),
        "lib/y": Entry(stat.S_IFREG | 0o644, EPOCH, b""),
    }


def test_directories_come_before_what_is_in_them() -> None:
    order = list(read(written({"lib/modules/a": b""}, ("lib/modules", "lib"))))
    assert order == ["lib", "lib/modules", "lib/modules/a"]


def test_the_order_given_does_not_matter() -> None:
    assert written({"a": b"1", "b": b"2"}) == written({"b": b"2", "a": b"1"})


NAMES = st.text("abc/", min_size=1, max_size=9).filter(lambda name: name.strip("/") == name)


@given(st.dictionaries(NAMES, st.binary(max_size=40), max_size=6))
def test_any_files_are_read_back(files: dict[str, bytes]) -> None:
    assert {name: entry.data for name, entry in read(written(files)).items()} == files


def test_cpio_reads_it() -> None:
    archive = written({"init": b"#!", "lib/y": b"12345"}, ("lib",))
    assert run(["cpio", "--list", "--quiet"], stdin=archive).text.split() == ["lib", "init", "lib/y"]
