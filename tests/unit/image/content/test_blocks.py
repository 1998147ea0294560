"""Indexes and packs: what is found, what is needed, and what hostile ones can do (nothing)."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.parts import SALT, blocks_of
from skerry.image.content import blocks, packing
from skerry.image.content.errors import FormatError, NewerFormatError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blocks")


def made(place: Path, data: bytes, older: Sequence[bytes] = ()) -> tuple[bytes, bytes]:
    (place / "part").write_bytes(data)
    paths = []
    for number, one in enumerate(older):
        paths.append(place / f"older{number}")
        paths[-1].write_bytes(one)
    pack = io.BytesIO()
    return blocks.make(place / "part", SALT, paths, pack, level=1), pack.getvalue()


def put_together(index: blocks.Index, found: blocks.Found, pack: bytes, base: bytes) -> bytes:
    """The part, as simply as can be."""
    known = {}
    for frame in (index.frames[number] for number in found.needed):
        raw = packing.unpack(pack[frame.at : frame.at + frame.stored], len(frame.ids) * 4096)
        known.update({one: raw[at * 4096 : at * 4096 + 4096] for at, one in enumerate(frame.ids)})
    for one in range(len(index.digests)):
        if found.block[one] >= 0:
            known[one] = base[found.block[one] * 4096 :][:4096].ljust(4096, b"\0")
    return b"".join(known[one] for one in index.ids)[: index.size]


numbers = st.lists(st.integers(0, 30), min_size=1, max_size=200)


@settings(max_examples=60, deadline=None)
@given(numbers, st.lists(numbers, max_size=3), numbers, st.integers(0, 4095))
def test_a_part_comes_out_of_any_base(
    place: Path, part: list[int], older: list[list[int]], here: list[int], cut: int
) -> None:
    data = blocks_of(part)[: len(part) * 4096 - cut]
    blob, pack = made(place, data, [blocks_of(one) for one in older])
    index = blocks.read(blob)
    base = blocks_of(here)
    (place / "base").write_bytes(base)
    found = blocks.locate(index, blocks.digests_of(place / "base", len(base), SALT))
    assert put_together(index, found, pack, base) == data


def test_what_is_here_is_not_needed(place: Path) -> None:
    data = blocks_of(range(50))
    blob, pack = made(place, data)
    index = blocks.read(blob)
    all_here = blocks.locate(index, blocks.digests_of(place / "part", len(data), SALT))
    assert all_here.spans(index) == []
    nothing_here = blocks.locate(index, [])
    assert sum(to - at for at, to in nothing_here.spans(index)) == len(pack)


def test_new_blocks_lie_together(place: Path) -> None:
    old = blocks_of(range(200))
    new = blocks_of([number + 1000 if number % 10 == 0 else number for number in range(200)])
    blob, _ = made(place, new, [old])
    index = blocks.read(blob)
    (place / "old").write_bytes(old)
    found = blocks.locate(index, blocks.digests_of(place / "old", len(old), SALT))
    assert [len(index.frames[number].ids) for number in found.needed] == [20]


def test_another_salt_finds_nothing(place: Path) -> None:
    data = blocks_of(range(20))
    blob, _ = made(place, data)
    index = blocks.read(blob)
    found = blocks.locate(index, blocks.digests_of(place / "part", len(data), b"another"))
    assert len(found.needed) == len(index.frames)


def test_a_later_format_is_refused_by_name(place: Path) -> None:
    blob, _ = made(place, blocks_of(range(5)))
    raw = bytearray(packing.unpack(blob, blocks._HEAD.size + 5 * 6 + 5 + 8))
    raw[8] = 2
    with pytest.raises(NewerFormatError, match="format 2"):
        blocks.read(packing.pack(bytes(raw), level=1))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_index_is_refused_or_harmless(place: Path, data: st.DataObject) -> None:
    """Each field, and each byte, may be anything; what is read must stay within the part."""
    blob, _ = made(place, blocks_of(range(20)))
    raw = bytearray(packing.unpack(blob, blocks._HEAD.size + 20 * 6 + 20 + 2 * 8))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([0, 0, 1, 40]))
    try:
        index = blocks.read(packing.pack(bytes(raw[: len(raw) - cut]), level=1))
    except FormatError:
        return
    assert len(index.ids) == 20
    assert sorted(one for frame in index.frames for one in frame.ids) == list(range(len(index.digests)))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 300), st.integers(0, 255))
def test_what_is_no_index_is_said_to_be_none(place: Path, rubbish: bytes, at: int, byte: int) -> None:
    with pytest.raises(FormatError):
        blocks.read(rubbish)
    blob = bytearray(made(place, blocks_of(range(20)))[0])
    blob[at % len(blob)] = byte
    with contextlib.suppress(FormatError):
        blocks.read(bytes(blob))


def test_an_index_is_no_bomb() -> None:
    with pytest.raises(FormatError, match="size that cannot be"):
        blocks.read(packing.pack(bytes(100 << 20), level=1))
