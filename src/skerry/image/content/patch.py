"""Patches from one release's part to the next: what bsdiff finds, applied as a stream in little memory.

    head     magic, format, codec of each stream; SHA-256 and size of base and target; sizes of the streams
    ops      varints: kind (0 copy, 1 add, 2 insert) and length in one; of copy and add then how far the
             position in the base moves before (zigzag)
    diff     what is added to the base's bytes, mod 256, for add
    extra    bytes of their own, for insert

Streams are compressed apart. The base is read only where an op asks, so it may be a slot's device; its hash
is not computed, since dm-verity has vouched for it and the hash of the result judges all. Making patches is
in delta.py. After Percival, "Naive differences of executable code" (2003).
"""

from __future__ import annotations

import bz2
import lzma
import os
import struct
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from skerry.image.content import packing
from skerry.image.content.errors import BaseError, FormatError, NewerFormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FORMAT = 1
COPY, ADD, INSERT = 0, 1, 2
ZSTD, BZIP2, XZ = 0, 1, 2
CHUNK_BYTES = 128 * 1024
XZ_MEMORY_BYTES = 24 << 20
_MAGIC = b"skrpatch"
_HEAD = struct.Struct("<8sHBBB3x32s32sQQQQQ")


@dataclass(frozen=True, slots=True)
class Head:
    """What a patch is from and to, and where its streams lie: codec, first byte, stored bytes."""

    from_sha256: str
    to_sha256: str
    from_size: int
    to_size: int
    streams: tuple[tuple[int, int, int], ...]


def write_head(head: Head) -> bytes:
    return _HEAD.pack(
        _MAGIC, FORMAT, *(codec for codec, _, _ in head.streams), bytes.fromhex(head.from_sha256),
        bytes.fromhex(head.to_sha256), head.from_size, head.to_size, *(size for _, _, size in head.streams),
    )  # fmt: skip


def read_head(file: IO[bytes]) -> Head:
    """Raises FormatError, NewerFormatError."""
    raw = file.read(_HEAD.size)
    if len(raw) < _HEAD.size or not raw.startswith(_MAGIC):
        raise FormatError("this is not a patch")
    _, form, *codecs, base, target, base_size, target_size, ops, diff, extra = _HEAD.unpack(raw)
    if form > FORMAT:
        raise NewerFormatError(f"this patch has format {form}, and this version of Skerry knows {FORMAT}")
    places, at = [], _HEAD.size
    for codec, size in zip(codecs, (ops, diff, extra), strict=True):
        places.append((codec, at, size))
        at += size
    if at != file.seek(0, os.SEEK_END):
        raise FormatError("this patch is cut, or has too much")
    return Head(base.hex(), target.hex(), base_size, target_size, tuple(places))


def apply(head: Head, file: IO[bytes], base: IO[bytes]) -> Iterator[bytes]:
    """The target, piece by piece; the caller checks its hash. Raises FormatError, BaseError."""
    ops, diff, extra = (_Stream(file, *place) for place in head.streams)
    position, left = 0, head.to_size
    while left:
        word = ops.varint()
        kind, length = word % 3, word // 3
        if not 0 < length <= left:
            raise FormatError("this patch makes more than it says")
        left -= length
        if kind == INSERT:
            yield from extra.pieces(length)
            continue
        move = ops.varint()
        position += -(move + 1 >> 1) if move & 1 else move >> 1
        if position < 0 or position + length > head.from_size:
            raise FormatError("this patch reads outside its base")
        for done in range(0, length, CHUNK_BYTES):
            count = min(CHUNK_BYTES, length - done)
            old = _pread(base, position + done, count)
            yield old if kind == COPY else added(old, diff.take(count))
        position += length


def added(left: bytes, right: bytes) -> bytes:
    """The sum of every pair of bytes, mod 256, in two whole numbers: lanes of 8 bits that do not carry."""
    if not right.strip(b"\0"):
        return left
    count = len(left)
    low = _low(count)
    one, two = int.from_bytes(left, "little"), int.from_bytes(right, "little")
    return (((one & low) + (two & low)) ^ ((one ^ two) & (low + _ones(count)))).to_bytes(count, "little")


def _low(count: int) -> int:
    return _FULL_LOW if count == CHUNK_BYTES else int.from_bytes(b"\x7f" * count, "little")


def _ones(count: int) -> int:
    return _FULL_ONES if count == CHUNK_BYTES else int.from_bytes(b"\x01" * count, "little")


_FULL_LOW = int.from_bytes(b"\x7f" * CHUNK_BYTES, "little")
_FULL_ONES = int.from_bytes(b"\x01" * CHUNK_BYTES, "little")


def _pread(base: IO[bytes], at: int, size: int) -> bytes:
    try:
        found = os.pread(base.fileno(), size, at)
    except OSError as error:
        raise BaseError(f"the older version cannot be read at {at}: {error.strerror}") from error
    if len(found) != size:
        raise BaseError("the older version is shorter than what the patch was made for")
    return found


class _Section:
    """A part of a file, to be read as one; several of them share the file."""

    def __init__(self, file: IO[bytes], at: int, size: int) -> None:
        self._file = file
        self._at = at
        self._end = at + size

    def read(self, size: int = -1) -> bytes:
        left = self._end - self._at
        data = os.pread(self._file.fileno(), left if size < 0 else min(size, left), self._at)
        self._at += len(data)
        return data


class _Stream:
    """One stream, unpacked as far as is asked."""

    def __init__(self, file: IO[bytes], codec: int, at: int, size: int) -> None:
        self._read = _reader(_Section(file, at, size), codec)
        self._buffer = b""
        self._used = 0

    def take(self, size: int) -> bytes:
        return b"".join(self.pieces(size))

    def pieces(self, size: int) -> Iterator[bytes]:
        while size:
            if self._used == len(self._buffer):
                self._fill()
            piece = self._buffer[self._used : self._used + size]
            self._used += len(piece)
            size -= len(piece)
            yield piece

    def varint(self) -> int:
        value = 0
        for shift in range(0, 63, 7):
            if self._used == len(self._buffer):
                self._fill()
            byte = self._buffer[self._used]
            self._used += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise FormatError("this patch has a number that is too large")

    def _fill(self) -> None:
        self._buffer, self._used = self._read(CHUNK_BYTES), 0
        if not self._buffer:
            raise FormatError("a stream of this patch ends too early")


def _reader(section: _Section, codec: int) -> Callable[[int], bytes]:
    """A function that returns the next bytes of a stream, none at its end."""
    if codec == ZSTD:
        import zstandard

        reader = zstandard.ZstdDecompressor(max_window_size=1 << packing.PATCH_WINDOW_LOG).stream_reader(
            section  # type: ignore[arg-type]  # only its read() is used
        )

        def zstd(size: int) -> bytes:
            try:
                return reader.read(size)
            except zstandard.ZstdError as error:
                raise FormatError(f"a stream of this patch cannot be unpacked: {error}") from error

        return zstd
    if codec not in (BZIP2, XZ):
        raise FormatError("this patch is compressed in a way that is not known here")
    inner = (
        bz2.BZ2Decompressor()
        if codec == BZIP2
        else lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)
    )

    def stdlib(size: int) -> bytes:
        try:
            while not inner.eof:
                data = section.read(CHUNK_BYTES) if inner.needs_input else b""
                found = inner.decompress(data, size)
                if found or (inner.needs_input and not data):
                    return found
        except (OSError, ValueError, lzma.LZMAError, EOFError) as error:
            raise FormatError(f"a stream of this patch cannot be unpacked: {error}") from error
        return b""

    return stdlib
