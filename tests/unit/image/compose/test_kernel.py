"""A kernel made anew holds what it held, where its code looks for it; one that is unknown is left alone."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fakes.kernels import FRAME_AT, SETUP, VMLINUX, loaded, packaged, unpack
from skerry.image.compose.kernel import UnknownKernelError, look, raw_frame, remade

PACKAGED = packaged()


def u32(image: bytes, at: int) -> int:
    value: int = struct.unpack_from("<I", image, at)[0]
    return value


def test_the_code_finds_the_frame_and_its_length() -> None:
    layout, memory = look(PACKAGED), loaded(remade(PACKAGED, unpack))
    assert len(layout.references) == 2
    length = u32(memory, layout.length)
    for at in layout.references:
        frame = at + 4 + struct.unpack_from("<i", memory, at)[0]
        assert unpack(memory[frame : frame + length - 4]) == VMLINUX
        assert u32(memory, frame + length - 4) == len(VMLINUX)


def test_all_other_code_and_data_keep_their_places() -> None:
    layout = look(PACKAGED)
    before, after = loaded(PACKAGED), bytearray(loaded(remade(PACKAGED, unpack)))
    for at in (*layout.references, layout.length):
        after[at : at + 4] = before[at : at + 4]
    end = FRAME_AT + layout.frame_size
    assert after[0x1000:FRAME_AT] == before[0x1000:FRAME_AT]
    assert after[end : layout.memory_size] == before[end : layout.memory_size]


def test_the_old_frame_is_gone_from_file_and_memory() -> None:
    made = remade(PACKAGED, unpack)
    layout = look(PACKAGED)
    assert not loaded(made)[FRAME_AT : FRAME_AT + layout.frame_size].strip(b"\0")
    assert b"\xee" * 16 not in made


def test_the_boot_protocol_tells_the_same_place() -> None:
    made = remade(PACKAGED, unpack)
    offset, length = struct.unpack_from("<II", made, 0x248)
    assert unpack(loaded(made)[SETUP + offset : SETUP + offset + length - 4]) == VMLINUX


def test_sections_follow_each_other_in_memory_and_in_the_file() -> None:
    made = remade(PACKAGED, unpack)
    rows = [struct.unpack_from("<8sIIIIIIHHI", made, 0xF8 + 40 * number) for number in range(6)]
    names = [row[0].rstrip(b"\0").decode() for row in rows]
    assert names == [".setup", ".compat", ".text", ".text2", ".data", ".vmlinux"]
    for row, following in pairwise(rows):
        _, size, memory, file_size, file = row[:5]
        _, _, later, _, later_file = following[:5]
        assert -(-(memory + size) // 0x1000) * 0x1000 == later
        assert file + file_size <= later_file
        assert file_size % 0x200 == 0
    assert u32(made, 0x58 + 56) == -(-(rows[-1][2] + rows[-1][1]) // 0x1000) * 0x1000


def test_the_signature_is_gone() -> None:
    made = remade(PACKAGED, unpack)
    assert struct.unpack_from("<II", made, 0x58 + 112 + 32) == (0, 0)
    assert b"a signature" not in made


def patched(at: int, value: bytes) -> bytes:
    return PACKAGED[:at] + value + PACKAGED[at + len(value) :]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (b"", "it is no bzImage"),
        (b"MZ" + bytes(0x1000), "it is no bzImage"),
        (PACKAGED[: FRAME_AT + 64], "it ends too early"),
        (patched(0x40, b"NE"), "no EFI program for x86-64"),
        (patched(0x44, b"\x64\xaa"), "no EFI program for x86-64"),
        (patched(0x58, b"\x0b\x01"), "it is no PE32"),
        (patched(0x58 + 32, b"\0\x20"), "its alignment is unusual"),
        (patched(0xF8 + 40, b".other"), "its sections are others"),
        (patched(0xF8 + 170, b"x"), "something follows its section table"),
        (patched(0xF8 + 80 + 20, b"\0\x60"), "its code is not in memory as in the file"),
        (patched(0x58 + 56, b"\xff"), "is not its end"),
        (patched(FRAME_AT, b"\xfd7zXZ"), "not compressed with zstd"),
        (patched(0x24C, b"\xff\xff\xff\x00"), "the frame is not in .text"),
        (packaged(references=0), "0 instructions refer to the frame"),
        (packaged(references=5), "5 instructions refer to the frame"),
        (packaged(VMLINUX[1:]), "no ELF file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_kernel_that_is_laid_out_otherwise_is_refused(image: bytes, said: str) -> None:
    with pytest.raises(UnknownKernelError, match=said):
        remade(image, unpack)


def test_a_length_that_stands_twice_is_refused() -> None:
    layout = look(PACKAGED)
    pair = PACKAGED[layout.length : layout.length + 8]
    with pytest.raises(UnknownKernelError, match="stands in 2 places"):
        remade(patched(layout.length + 12, pair), unpack)


def test_another_reference_than_a_lea_is_refused() -> None:
    at = look(PACKAGED).length + 16
    other = b"\x48\x8b\x05" + struct.pack("<i", FRAME_AT - at - 7)
    with pytest.raises(UnknownKernelError, match="more than those instructions"):
        remade(patched(at, other), unpack)


def test_a_frame_that_unpacks_to_another_size_is_refused() -> None:
    with pytest.raises(UnknownKernelError, match="has not the size it tells"):
        remade(PACKAGED, lambda frame: unpack(frame)[:-1])


@given(st.integers(0, len(PACKAGED) - 1), st.binary(min_size=1, max_size=8))
def test_any_damage_is_refused_or_survived(at: int, damage: bytes) -> None:
    image = patched(at, damage)[: len(PACKAGED)]
    try:
        made = remade(image, lambda _: VMLINUX)
    except UnknownKernelError:
        return
    assert VMLINUX[:1024] in made


@given(
    st.lists(st.sampled_from([b"\0" * (128 << 10), b"x" * 1000, b"\0" * 7, b"y" * (128 << 10)]), max_size=6)
)
@example([])
def test_a_raw_frame_unpacks_to_its_content(parts: list[bytes]) -> None:
    content = b"\x7fELF" + b"".join(parts)
    assert unpack(raw_frame(content)) == content


def test_zeros_of_a_raw_frame_take_no_room() -> None:
    assert len(raw_frame(b"x" + bytes(10 << 20))) < (128 << 10) + 500
