"""A kernel whose next version deltas: Debian's, with what it unpacks stored as it is instead of compressed.

Debian's bzImage is an EFI program around one zstd frame, vmlinux under `zstd -22`. The smallest change to a
kernel changes all of that frame, so an update would fetch all of it. Here the same program gets the same
vmlinux in a frame of raw blocks (RFC 8878, 3.1.1.2.2), which the kernel's own unpacker reads as any other:

    as packaged     headers │ .setup │ .compat │ .text = code, FRAME, code │ .data
    as made here    headers │ .setup │ .compat │ .text = code │ .text2 = code │ .data │ .vmlinux = RAW FRAME

Every byte of code keeps its address, since code refers to code by distance. The frame's old place is left
out of the file between .text and .text2, and is zeros in memory. What is changed in the code is where the
frame is (each `lea REG, [rip + …]` of its old address) and how long it is (`input_len`, which stands before
`output_len`, see mkpiggy.c). The boot protocol's payload_offset and payload_length follow. Secure Boot checks
the signature of the UKI that the kernel is part of; the kernel's own would not hold and is taken out.

Nothing is guessed at: a kernel that is not exactly so is an UnknownKernelError, and is used as packaged.
Formats: Documentation/arch/x86/boot.rst, arch/x86/boot/header.S and compressed/, and the PE specification.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.image.compose.errors import ComposeError

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = 0x1000
FILE_ALIGN = 0x200
SECTION = struct.Struct("<8sIIIIIIHHI")
SECTIONS_END = 0x1F1  # the setup header begins here
READ_INITIALISED = 0x40000040
NEW = 2  # sections that are added
ZSTD = b"\x28\xb5\x2f\xfd"
BLOCK = 128 << 10  # the largest a zstd block may be
# REX.W with or without REX.R, the opcode, and a ModRM byte that says "rip + disp32" for any register.
LEA = tuple(bytes((rex, 0x8D, register << 3 | 5)) for rex in (0x48, 0x4C) for register in range(8))
MOST_REFERENCES = 4


class UnknownKernelError(ComposeError):
    """A kernel is not laid out as those that can be remade."""


@dataclass(frozen=True, slots=True)
class Section:
    """A line of the PE section table."""

    name: str
    memory: int
    memory_size: int
    file: int
    file_size: int
    kind: int

    def pack(self) -> bytes:
        name = self.name.encode().ljust(8, b"\0")
        return SECTION.pack(
            name, self.memory_size, self.memory, self.file_size, self.file, 0, 0, 0, 0, self.kind
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """What is where in a kernel as packaged; addresses in memory are those in the file, as far as .data."""

    optional: int  # where the PE optional header is
    table: int  # where the section table is
    sections: tuple[Section, ...]
    memory_size: int
    frame: int  # where the zstd frame is
    frame_size: int  # with the four bytes after it that tell the size unpacked
    unpacked_size: int
    length: int  # where `input_len` is
    references: tuple[int, ...]  # where the four bytes are that tell the frame's distance


def look(image: bytes) -> Layout:
    """Find the parts. Raises UnknownKernelError where anything is not as expected."""
    try:
        return _look(image)
    except (struct.error, IndexError) as error:
        raise UnknownKernelError(f"it ends too early: {error}") from error


def _look(image: bytes) -> Layout:
    _expect(image[:2] == b"MZ" and image[0x202:0x206] == b"HdrS", "it is no bzImage with an EFI program")
    pe = _u32(image, 0x3C)
    _expect(image[pe : pe + 6] == b"PE\0\0\x64\x86", "it is no EFI program for x86-64")
    optional = pe + 24
    table = optional + _u16(image, pe + 20)
    _expect(_u16(image, optional) == 0x20B, "it is no PE32+")
    _expect(struct.unpack_from("<II", image, optional + 32) == (PAGE, FILE_ALIGN), "its alignment is unusual")
    sections = tuple(_section(image, table + 40 * number) for number in range(_u16(image, pe + 6)))
    _expect(
        [one.name for one in sections] == [".setup", ".compat", ".text", ".data"], "its sections are others"
    )
    _expect(table + 40 * (len(sections) + NEW) <= SECTIONS_END, "its section table has no room")
    _expect(not image[table + 160 : SECTIONS_END].strip(b"\0\xff"), "something follows its section table")
    text, data = sections[2:]
    _expect(all(one.memory == one.file for one in sections), "its code is not in memory as in the file")
    _expect(text.memory_size == text.file_size and text.file + text.file_size == data.file, "it has gaps")
    memory_size = _u32(image, optional + 56)
    _expect(data.memory + data.memory_size == memory_size and memory_size % PAGE == 0, ".data is not its end")
    offset, size = struct.unpack_from("<II", image, 0x248)
    frame = (image[0x1F1] + 1) * 512 + offset
    _expect(image[frame : frame + 4] == ZSTD, "it is not compressed with zstd")
    _expect(text.file <= frame and frame + size < text.file + text.file_size, "the frame is not in .text")
    unpacked = _u32(image, frame + size - 4)
    code = _Code(image, text, frame, size)
    lengths = code.find(struct.pack("<II", size, unpacked))
    _expect(len(lengths) == 1, f"the frame's length stands in {len(lengths)} places")
    references = code.references(frame)
    _expect(1 <= len(references) <= MOST_REFERENCES, f"{len(references)} instructions refer to the frame")
    _expect(code.mentions(frame) == len(references), "more than those instructions may refer to the frame")
    return Layout(
        optional, table, sections, memory_size, frame, size, unpacked, lengths[0], tuple(references)
    )


class _Code:
    """What is in .text around the frame."""

    def __init__(self, image: bytes, text: Section, frame: int, size: int) -> None:
        self._parts = (
            (text.file, image[text.file : frame]),
            (frame + size, image[frame + size : text.file + text.file_size]),
        )

    def find(self, wanted: bytes) -> list[int]:
        found = []
        for start, part in self._parts:
            at = part.find(wanted)
            while at >= 0:
                found.append(start + at)
                at = part.find(wanted, at + 1)
        return found

    def references(self, address: int) -> list[int]:
        """Where the distance is in each instruction that loads this address."""
        found = [
            at + 3 for instruction in LEA for at in self.find(instruction) if self._tells(at + 3, address)
        ]
        return sorted(found)

    def mentions(self, address: int) -> int:
        """How many four bytes in all would mean this address, if they were the end of an instruction.

        Zeros right before the frame mean nothing: no instruction refers to what follows it.
        """
        return sum(
            (distance := struct.unpack_from("<i", part, at)[0]) != 0 and start + at + 4 + distance == address
            for start, part in self._parts
            for at in range(len(part) - 3)
        )

    def _tells(self, at: int, address: int) -> bool:
        for start, part in self._parts:
            if start <= at <= start + len(part) - 4:
                distance: int = struct.unpack_from("<i", part, at - start)[0]
                return at + 4 + distance == address
        return False


def remade(image: bytes, unpack: Callable[[bytes], bytes]) -> bytes:
    """The kernel with its frame raw; `unpack` is the inverse of zstd's compression.

    Raises UnknownKernelError where the kernel is not one that can be remade.
    """
    layout = look(image)
    vmlinux = unpack(image[layout.frame : layout.frame + layout.frame_size - 4])
    _expect(len(vmlinux) == layout.unpacked_size, "what it unpacks to has not the size it tells")
    _expect(vmlinux[:4] == b"\x7fELF", "what it unpacks to is no ELF file")
    fresh = raw_frame(vmlinux) + struct.pack("<I", len(vmlinux))
    new = bytearray(image)
    for at in layout.references:
        struct.pack_into("<i", new, at, layout.memory_size - at - 4)
    struct.pack_into("<I", new, layout.length, len(fresh))
    setup = (image[0x1F1] + 1) * 512
    struct.pack_into("<II", new, 0x248, layout.memory_size - setup, len(fresh))
    return _assembled(new, layout, fresh)


def _assembled(new: bytearray, layout: Layout, frame: bytes) -> bytes:
    """The parts in their new places, under a section table that says so."""
    text, data = layout.sections[2:]
    early = _up(layout.frame, FILE_ALIGN)
    late = (layout.frame + layout.frame_size) // PAGE * PAGE
    _expect(early < late, "the frame is too small to be worth it")
    late_size = text.file + text.file_size - late
    data_at = early + late_size
    frame_at = _up(data_at + data.file_size, PAGE)
    new[layout.frame : early] = bytes(early - layout.frame)
    new[late : layout.frame + layout.frame_size] = bytes(layout.frame + layout.frame_size - late)
    frame_size = _up(len(frame), FILE_ALIGN)
    sections = (
        *layout.sections[:2],
        Section(".text", text.memory, late - text.memory, text.file, early - text.file, text.kind),
        Section(".text2", late, late_size, early, late_size, text.kind),
        Section(".data", data.memory, data.memory_size, data_at, data.file_size, data.kind),
        Section(".vmlinux", layout.memory_size, len(frame), frame_at, frame_size, READ_INITIALISED),
    )
    table = b"".join(section.pack() for section in sections)
    new[layout.table : layout.table + len(table)] = table
    struct.pack_into("<H", new, layout.optional - 24 + 6, len(sections))
    initialised = _u32(new, layout.optional + 8)
    struct.pack_into("<I", new, layout.optional + 8, initialised + frame_size)
    struct.pack_into("<I", new, layout.optional + 56, layout.memory_size + _up(len(frame), PAGE))
    struct.pack_into("<I", new, layout.optional + 64, 0)  # a checksum that UEFI does not look at
    struct.pack_into("<II", new, layout.optional + 112 + 4 * 8, 0, 0)  # where the signature was
    whole = new[:early] + new[late : late + late_size] + new[data.file : data.file + data.file_size]
    whole += bytes(frame_at - len(whole)) + frame
    return bytes(whole + bytes(frame_at + frame_size - len(whole)))


def raw_frame(content: bytes) -> bytes:
    """A zstd frame that stores: a single segment with its size, blocks as they are, zeros as a run."""
    header = ZSTD + bytes((0b10100000,)) + struct.pack("<I", len(content))
    parts = [header]
    for at in range(0, len(content), BLOCK):
        block = content[at : at + BLOCK]
        last = at + BLOCK >= len(content)
        run = not block.strip(b"\0")
        parts.append((last | run << 1 | len(block) << 3).to_bytes(3, "little"))
        parts.append(block[:1] if run else block)
    return b"".join(parts)


def _section(image: bytes, at: int) -> Section:
    name, memory_size, memory, file_size, file, *_, kind = SECTION.unpack_from(image, at)
    return Section(name.rstrip(b"\0").decode("latin-1"), memory, memory_size, file, file_size, kind)


def _u16(image: bytes | bytearray, at: int) -> int:
    value: int = struct.unpack_from("<H", image, at)[0]
    return value


def _u32(image: bytes | bytearray, at: int) -> int:
    value: int = struct.unpack_from("<I", image, at)[0]
    return value


def _up(size: int, step: int) -> int:
    return -(-size // step) * step


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise UnknownKernelError(f"the kernel cannot be stored raw: {otherwise}")
