"""Patches: made and applied over anything, refused where damaged, harmless where hostile."""

from __future__ import annotations

import io
import tempfile
from typing import IO, TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.parts import program, sha256
from skerry.image.content import delta, packing, patch
from skerry.image.content.errors import BaseError, FormatError, NewerFormatError

if TYPE_CHECKING:
    from pathlib import Path


def file_of(data: bytes) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115  the test holds it
    file.write(data)
    file.flush()
    file.seek(0)
    return file


def patch_of(place: Path, old: bytes, new: bytes, level: int = 1) -> bytes:
    (place / "old").write_bytes(old)
    (place / "new").write_bytes(new)
    out = io.BytesIO()
    delta.make(place / "old", place / "new", out, sha256(old), sha256(new), level=level)
    return out.getvalue()


def apply(made: bytes, old: bytes) -> bytes:
    with file_of(made) as file, file_of(old) as base:
        return b"".join(patch.apply(patch.read_head(file), file, base))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("patch")


words = st.lists(
    st.sampled_from([bytes(300), b"abc" * 50, b"x", bytes(range(256)) * 3, b"\xff" * 40]), max_size=12
)


@settings(max_examples=100, deadline=None)
@given(words, words)
def test_a_patch_makes_the_new_from_the_old(place: Path, old: list[bytes], new: list[bytes]) -> None:
    before, after = b"".join(old), b"".join(new)
    assert apply(patch_of(place, before, after), before) == after


@pytest.mark.parametrize("level", [1, packing.LEVEL])
def test_a_program_built_again_costs_little(place: Path, level: int) -> None:
    old, new = program(300_000, 1), program(300_000, 2)
    made = patch_of(place, old, new, level)
    assert apply(made, old) == new
    assert len(made) < 12_000


def test_pieces_are_compared_apart_where_they_are_large(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "PIECE_BYTES", 20_000)
    old, new = program(90_000, 1), program(95_000, 3)
    made = patch_of(place, old, new)
    assert apply(made, old) == new
    assert len(made) < 20_000


@given(st.binary(min_size=1, max_size=400), st.data())
def test_bytes_are_added_apart(left: bytes, data: st.DataObject) -> None:
    right = data.draw(st.binary(min_size=len(left), max_size=len(left)))
    assert patch.added(left, right) == bytes((a + b) & 255 for a, b in zip(left, right, strict=True))


def test_a_whole_chunk_is_added(place: Path) -> None:
    left, right = bytes(range(256)) * 512, bytes(reversed(range(256))) * 512
    assert len(left) == patch.CHUNK_BYTES
    assert patch.added(left, right) == b"\xff" * len(left)


def pe(sections: dict[bytes, bytes]) -> bytes:
    """The least that is a PE file."""
    head = bytearray(1024)
    head[:2] = b"MZ"
    head[0x3C] = 64
    head[64:68] = b"PE\0\0"
    head[70:72] = len(sections).to_bytes(2, "little")
    at, body = 1024, b""
    for number, (name, data) in enumerate(sections.items()):
        entry = 64 + 24 + 40 * number
        head[entry : entry + 8] = name.ljust(8, b"\0")
        head[entry + 16 : entry + 24] = len(data).to_bytes(4, "little") + at.to_bytes(4, "little")
        at += len(data)
        body += data
    return bytes(head) + body


def test_sections_are_compared_by_name(place: Path) -> None:
    old = pe({b".linux": program(60_000, 1), b".initrd": program(50_000, 2)})
    new = pe({b".initrd": program(50_000, 3), b".cmdline": b"roothash", b".linux": program(60_000, 4)})
    assert {name: size for name, ((_, size),) in delta.sections(new).items()} == {
        ".initrd": len(program(50_000, 3)), ".cmdline": 8, ".linux": len(program(60_000, 4)),
    }  # fmt: skip
    assert apply(patch_of(place, old, new), old) == new


@pytest.mark.parametrize(
    ("names", "before", "partner"),
    [
        (["usr/lib/libssl.so.3"], ["usr/lib/libssl.so.3"], "usr/lib/libssl.so.3"),
        (["usr/lib/libz.so.1.3.2"], ["usr/lib/libz.so.1.3.1"], "usr/lib/libz.so.1.3.1"),
        (["m/6.12.117+deb13/virtio.ko"], ["m/6.12.107+deb13/virtio.ko"], "m/6.12.107+deb13/virtio.ko"),
        (["usr/lib/new/a.py"], ["usr/lib/old/a.py"], "usr/lib/old/a.py"),
        (["usr/lib/libz.so.2"], ["usr/lib/libx.so.1"], None),
    ],
)
def test_files_find_their_partner(names: list[str], before: list[str], partner: str | None) -> None:
    known = {name: ((number, 1),) for number, name in enumerate(before)}
    wanted = {} if partner is None else {names[0]: known[partner]}
    assert delta._partners(known, names) == wanted


@pytest.fixture(scope="module")
def sample(place: Path) -> tuple[bytes, bytes, bytes]:
    old, new = program(5_000, 1), program(5_000, 2)
    return old, new, patch_of(place, old, new, packing.LEVEL)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_patch_is_refused_or_makes_no_more_than_it_says(
    sample: tuple[bytes, bytes, bytes], data: st.DataObject
) -> None:
    old, new, good = sample
    made = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        made[data.draw(st.integers(0, len(made) - 1))] ^= data.draw(st.integers(1, 255))
    damaged = bytes(made)[: data.draw(st.sampled_from([len(made), len(made) - 1, 40, 150, 0]))]
    with file_of(damaged) as file, file_of(old) as base:
        try:
            head = patch.read_head(file)
            size = 0
            for piece in patch.apply(head, file, base):
                size += len(piece)
                if size > 2 * len(new):
                    break
        except (FormatError, BaseError):
            return
    assert size <= head.to_size


def test_a_base_that_is_too_short_is_said_to_be(sample: tuple[bytes, bytes, bytes]) -> None:
    old, _, made = sample
    with pytest.raises(BaseError, match="shorter"):
        apply(made, old[: len(old) // 2])


def test_a_later_format_is_refused_by_name(sample: tuple[bytes, bytes, bytes]) -> None:
    made = bytearray(sample[2])
    made[8] = 2
    with pytest.raises(NewerFormatError, match="format 2"):
        apply(bytes(made), sample[0])


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([(10 * 3 + 2, None)], "ends too early"),
        ([(1000 * 3 + 2, None)], "more than it says"),
        ([(0 * 3 + 2, None)], "more than it says"),
        ([(5 * 3 + 0, 2 * 99)], "outside its base"),
        ([(5 * 3 + 0, 2 * 1 - 1)], "outside its base"),
    ],
)
def test_what_a_hostile_patch_may_not(words: list[tuple[int, int | None]], why: str) -> None:
    numbers = [number for pair in words for number in pair if number is not None]
    streams = [
        packing.pack(b"".join(delta._varint(one) for one in numbers)),
        packing.pack(b""),
        packing.pack(b""),
    ]
    head = patch.Head("0" * 64, "1" * 64, 8, 10, tuple((patch.ZSTD, 0, len(one)) for one in streams))
    with pytest.raises(FormatError, match=why):
        apply(patch.write_head(head) + b"".join(streams), b"8 bytes!")
