"""A kernel in small: an EFI program around a compressed frame, laid out as Debian's."""

from __future__ import annotations

import struct

import zstandard

VMLINUX = b"\x7fELF" + bytes(range(256)) * 300 + bytes(300 << 10) + b"the end"
FRAME_AT = 0x52CC
SETUP = 40 * 512


def packaged(vmlinux: bytes = VMLINUX, *, frame_size: int = 0x9000, references: int = 2) -> bytes:
    """A bzImage of `vmlinux`. A skippable frame fills its room, as if it compressed less."""
    frame = zstandard.ZstdCompressor(write_checksum=True).compress(vmlinux)
    room = frame_size - len(frame) - 12
    frame += struct.pack("<II", 0x184D2A50, room) + b"\xee" * room + struct.pack("<I", len(vmlinux))
    code_at = FRAME_AT + len(frame)
    code = b"\xcc" * 64
    for register in range(references):
        at = code_at + len(code)
        code += bytes((0x48, 0x8D, register << 3 | 5)) + struct.pack("<i", FRAME_AT - at - 7) + b"\x90"
    code += b"\x90" * 8 + struct.pack("<II", len(frame), len(vmlinux)) + b"\x90" * 32
    data_at = -(-(code_at + len(code)) // 0x1000) * 0x1000
    end = data_at + 0x3000  # more in memory than in the file
    image = bytearray(data_at + 0x200)
    image[FRAME_AT:code_at] = frame
    image[code_at : code_at + len(code)] = code
    image[data_at:] = b"\xda" * 0x200
    image += b"a signature"
    image[:2], image[0x202:0x206] = b"MZ", b"HdrS"
    struct.pack_into("<I", image, 0x3C, 0x40)
    struct.pack_into("<4sHHIIIHH", image, 0x40, b"PE\0\0", 0x8664, 4, 0, 0, 0, 160, 0x206)
    struct.pack_into("<H", image, 0x58, 0x20B)
    struct.pack_into("<I", image, 0x58 + 8, 0x3000)
    struct.pack_into("<II", image, 0x58 + 32, 0x1000, 0x200)
    struct.pack_into("<III", image, 0x58 + 56, end, 0x1000, 0x12345678)
    struct.pack_into("<I", image, 0x58 + 108, 6)
    struct.pack_into("<II", image, 0x58 + 112 + 32, data_at + 0x200, 11)
    for number, (name, memory_size, memory, file_size, kind) in enumerate(
        (
            (b".setup", 0x3000, 0x1000, 0x3000, 0x42000040),
            (b".compat", 0x1000, 0x4000, 0x1000, 0x42000040),
            (b".text", data_at - 0x5000, 0x5000, data_at - 0x5000, 0x60000020),
            (b".data", 0x3000, data_at, 0x200, 0xC0000040),
        )
    ):
        fields = (name, memory_size, memory, file_size, memory, 0, 0, 0, 0, kind)
        struct.pack_into("<8sIIIIIIHHI", image, 0xF8 + 40 * number, *fields)
    image[0x1F1] = 39
    struct.pack_into("<II", image, 0x248, FRAME_AT - SETUP, len(frame))
    return bytes(image)


def unpack(frame: bytes) -> bytes:
    """What zstd unpacks a frame to."""
    return zstandard.ZstdDecompressor().decompressobj().decompress(frame)


def loaded(image: bytes) -> bytes:
    """A program as firmware puts it into memory."""
    pe = struct.unpack_from("<I", image, 0x3C)[0]
    count, size = struct.unpack_from("<H12xH", image, pe + 6)
    memory = bytearray(struct.unpack_from("<I", image, pe + 24 + 56)[0])
    headers = struct.unpack_from("<I", image, pe + 24 + 60)[0]
    memory[:headers] = image[:headers]
    for number in range(count):
        at = pe + 24 + size + 40 * number
        memory_size, address, file_size, file = struct.unpack_from("<IIII", image, at + 8)
        part = image[file : file + min(file_size, memory_size)]
        assert len(part) == min(file_size, memory_size), "a section beyond the end of the file"
        memory[address : address + len(part)] = part
    return bytes(memory)
