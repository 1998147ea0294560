"""Makes patches: what of a new image comes from where in the old one. For publishing machines; needs bsdiff4.

    image → regions      a region is a list of extents read as one: a file of an EROFS image, a section of a
                         PE, and all that lies between them (metadata)
    region ↔ region      by equal content, by path, by a path that differs in numbers only
    pair → ops           copies where equal, else bsdiff; put into the order of the new image and joined

bsdiff takes 17 times the memory of what it compares, so it is given pieces of at most PIECE_BYTES.
"""

from __future__ import annotations

import bz2
import hashlib
import lzma
import mmap
import re
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from skerry.image.content import erofs, packing, patch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from skerry.image.content.erofs import Extent, Image

PIECE_BYTES = 64 << 20
Region = tuple["Extent", ...]
_MAGNITUDE = (1 << 63) - 1
_NUMBERS = re.compile(r"\d+(?:[.+~-]\d+)*")


@dataclass(frozen=True, slots=True)
class Op:
    """`at` in the new image; `old` in the old one, -1 for an insert; `data` is the diff or the bytes."""

    at: int
    length: int
    old: int
    data: bytes = b""


def make(
    old: Path, new: Path, out: IO[bytes], from_sha256: str, to_sha256: str, *, level: int = packing.LEVEL
) -> None:
    """Write the patch from one part's raw file to another's."""
    with _mapped(old) as base, _mapped(new) as target:
        ops = joined(diff(base, target))
        streams = [_smallest(data, level) for data in _streams(ops)]
        head = patch.Head(
            from_sha256, to_sha256, len(base), len(target),
            tuple((codec, 0, len(data)) for codec, data in streams),
        )  # fmt: skip
    out.write(patch.write_head(head))
    for _, data in streams:
        out.write(data)


def diff(old: Image, new: Image) -> list[Op]:
    """Ops for all of the new image, in its order."""
    before, after = regions(old), regions(new)
    by_content = {_digest(old, region): region for region in before.values()}
    partners = _partners(before, list(after))
    ops = []
    for name, region in after.items():
        same = by_content.get(_digest(new, region))
        if same is not None:
            ops += _mapped_back(_copy(_size(region)), region, same)
        elif name in partners:
            ops += _compare(old, partners[name], new, region)
        else:
            ops += [Op(at, size, -1, new[at : at + size]) for at, size in region]
    return sorted(ops, key=lambda op: op.at)


def regions(image: Image) -> dict[str, Region]:
    """An image as named regions that cover it once."""
    found = erofs.files(image) if erofs.is_erofs(image) else sections(image) or {"": ((0, len(image)),)}
    taken = sorted((extent, name) for name, region in found.items() for extent in region)
    clear: dict[str, list[Extent]] = {}
    between: list[Extent] = []
    end = 0
    for (at, size), name in taken:
        if at < end:
            continue  # two names of one file
        if at > end:
            between.append((end, at - end))
        clear.setdefault(name, []).append((at, size))
        end = at + size
    if end < len(image):
        between.append((end, len(image) - end))
    result = {name: tuple(extents) for name, extents in clear.items()}
    # The inline tails of files lie inside the metadata and differ with it: they are compared as one.
    return result | ({"\0between": tuple(between)} if between else {})


def sections(image: Image) -> dict[str, Region]:
    """The sections of a PE file by name (https://learn.microsoft.com/windows/win32/debug/pe-format)."""
    try:
        if image[:2] != b"MZ":
            return {}
        (at,) = struct.unpack_from("<I", image, 0x3C)
        if image[at : at + 4] != b"PE\0\0":
            return {}
        count, optional = struct.unpack_from("<H12xH", image, at + 6)
        found: dict[str, Region] = {}
        for number in range(count):
            name, size, start = struct.unpack_from("<8s8xII", image, at + 24 + optional + 40 * number)
            if size and start + size <= len(image):
                found[f"{name.rstrip(bytes(1)).decode('latin-1')}"] = ((start, size),)
    except struct.error:
        return {}
    return found


def joined(ops: list[Op]) -> list[Op]:
    """Neighbours that continue each other as one."""
    result: list[Op] = []
    for op in ops:
        if not op.length:
            continue
        last = result[-1] if result else None
        if last is not None and not last.data and not op.data and op.old == last.old + last.length:
            result[-1] = Op(last.at, last.length + op.length, last.old)
        else:
            result.append(op)
    return result


def _partners(before: dict[str, Region], names: list[str]) -> dict[str, Region]:
    """For each new name the old region that it probably comes from."""
    free = {name: region for name, region in before.items() if name not in names}
    by_path = {_plain(name): region for name, region in free.items()}
    by_name = {_plain(name).rpartition("/")[2]: region for name, region in free.items()}
    found = {}
    for name in names:
        plain = _plain(name)
        partner = before.get(name) or by_path.get(plain) or by_name.get(plain.rpartition("/")[2])
        if partner is not None:
            found[name] = partner
    return found


def _plain(name: str) -> str:
    return _NUMBERS.sub("#", name)


def _compare(old: Image, was: Region, new: Image, now: Region) -> list[Op]:
    from bsdiff4 import core  # type: ignore[import-untyped]  # it has no types

    before, after = _content(old, was), _content(new, now)
    ops: list[Op] = []
    for start in range(0, len(after), PIECE_BYTES):
        piece = after[start : start + PIECE_BYTES]
        # The same stretch of the old one, and half a piece to both sides where it is larger than a piece.
        first = max(0, min(start - PIECE_BYTES // 2, len(before) - 2 * PIECE_BYTES))
        base = before if len(after) <= PIECE_BYTES else before[first : first + 2 * PIECE_BYTES]
        first = 0 if base is before else first
        control, added, extra = core.diff(base, piece)
        at, position, used, own = start, first, 0, 0
        for add, insert, seek in _triples(control):
            ops += _adds(at, position, added[used : used + add])
            ops.append(Op(at + add, insert, -1, extra[own : own + insert]))
            at, position, used, own = at + add + insert, position + add + seek, used + add, own + insert
    return _mapped_back(ops, now, was)


def _triples(control: bytes) -> Iterator[tuple[int, int, int]]:
    """bsdiff's control: how much to add, how much to insert, how far to move; the sign is the highest bit."""
    for add, insert, seek in struct.iter_unpack("<QQQ", control):
        yield add, insert, -(seek & _MAGNITUDE) if seek >> 63 else seek


def _adds(at: int, old: int, data: bytes) -> Iterator[Op]:
    """An add, as a copy where it adds nothing."""
    if data.strip(b"\0"):
        yield Op(at, len(data), old, data)
    else:
        yield Op(at, len(data), old)


def _copy(length: int) -> list[Op]:
    return [Op(0, length, 0)]


def _mapped_back(ops: list[Op], now: Region, was: Region) -> list[Op]:
    """Ops between two regions read as one each → ops between the images, cut where extents end."""
    result = []
    for op in ops:
        done = 0
        while done < op.length:
            at, room = _place(now, op.at + done)
            old, more = (-1, room) if op.old < 0 else _place(was, op.old + done)
            length = min(op.length - done, room, more)
            result.append(Op(at, length, old, op.data[done : done + length]))
            done += length
    # A cut may leave a diff that adds nothing.
    return [Op(op.at, op.length, op.old) if op.old >= 0 and not op.data.strip(b"\0") else op for op in result]


def _place(region: Region, offset: int) -> tuple[int, int]:
    """Where a byte of a region is in the image, and how many follow it there."""
    for at, size in region:
        if offset < size:
            return at + offset, size - offset
        offset -= size
    raise IndexError("an op leaves its region")


def _streams(ops: list[Op]) -> tuple[bytes, bytes, bytes]:
    words, adds, inserts = bytearray(), [], []
    position = 0
    for op in ops:
        kind = patch.INSERT if op.old < 0 else patch.ADD if op.data else patch.COPY
        words += _varint(op.length * 3 + kind)
        if kind == patch.INSERT:
            inserts.append(op.data)
            continue
        move = op.old - position
        words += _varint(2 * move if move >= 0 else -2 * move - 1)
        position = op.old + op.length
        if kind == patch.ADD:
            adds.append(op.data)
    return bytes(words), b"".join(adds), b"".join(inserts)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _smallest(data: bytes, level: int) -> tuple[int, bytes]:
    """Of the ways that hosts can unpack, the one that gives the fewest bytes; low levels try one."""
    ways = [(patch.ZSTD, packing.pack(data, level=level, window_log=packing.PATCH_WINDOW_LOG))]
    if level >= packing.LEVEL:
        ways.append((patch.BZIP2, bz2.compress(data, 9)))
        best = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 23}
        ways.append((patch.XZ, lzma.compress(data, filters=[best | {"lc": 4, "pb": 0}])))  # no alignment
    return min(ways, key=lambda way: len(way[1]))


def _content(image: Image, region: Region) -> bytes:
    return b"".join(image[at : at + size] for at, size in region)


def _digest(image: Image, region: Region) -> bytes:
    digest = hashlib.sha256()
    for at, size in region:
        digest.update(image[at : at + size])
    return digest.digest()


def _size(region: Region) -> int:
    return sum(size for _, size in region)


@contextmanager
def _mapped(path: Path) -> Iterator[Image]:
    """A file's content, not read before it is needed."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield mapped
