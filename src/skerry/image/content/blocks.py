"""Parts by blocks of 4 KiB: what a host has of them already, and where in a pack the rest is.

    index blob   zstd of: head (magic, format, digest bytes, salt, size, numbers of blocks and frames)
                          a digest for every block of the part (SHA-256 of salt and block, cut)
                          the class of every different block, in the order of their first use
                          frames: stored bytes, blocks
    pack blob    zstd frames, each a run of blocks that are different from all before

With the salt of dm-verity a digest is the beginning of a leaf of a slot's tree, so blocks are found on a host
without reading them. The pack is ordered by class: blocks that none of the last releases has lie together, in
large frames that compress well; those that hosts have anyway lie in small ones, of which little is wasted.
A cut digest may meet another block's: what is made of blocks is right only when its SHA-256 says so.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from skerry.image.content import packing
from skerry.image.content.errors import FormatError, NewerFormatError
from skerry.image.content.fetch import coalesced
from skerry.image.content.verity import BLOCK_BYTES, DIGEST_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from skerry.image.content.fetch import Span

FORMAT = 1
CUT_BYTES = 6
FRAME_BLOCKS = (16, 256)  # of what hosts have anyway; of what is new
MOST_BYTES = 16 << 30
MOST_FRAME_BLOCKS = 256
_MAGIC = b"skrindex"
_HEAD = struct.Struct("<8sHBB64sQIII")
_CHUNK_BYTES = 1 << 20
_NOWHERE = -1


@dataclass(frozen=True, slots=True)
class Frame:
    """A run of the pack: where its bytes are, and its blocks by their ids."""

    at: int
    stored: int
    ids: array[int]


@dataclass(frozen=True, slots=True)
class Index:
    """`ids`: for every block of the part which of the different blocks it is; these have `digests`."""

    size: int
    salt: bytes
    ids: array[int]
    digests: tuple[bytes, ...]
    frames: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """Where each different block is on this host: `block[id]`; -1 where its frame is needed."""

    block: array[int]
    needed: tuple[int, ...]  # frames, ascending

    def spans(self, index: Index) -> list[Span]:
        """The bytes of the pack that are needed."""
        frames = [index.frames[number] for number in self.needed]
        return [(frame.at, frame.at + frame.stored) for frame in frames]

    def pack_bytes(self, index: Index) -> int:
        """What of the pack is fetched, with what lies between."""
        return sum(to - at for at, to in coalesced(self.spans(index)))


def digests_of(path: Path, size: int, salt: bytes) -> Iterator[bytes]:
    """The cut digests of a file's or a device's blocks; the last is filled up with zeros."""
    salted = hashlib.sha256(salt)
    left = size
    with path.open("rb", buffering=0) as file:
        while left and (chunk := file.read(min(_CHUNK_BYTES, left))):
            left -= len(chunk)
            view = memoryview(chunk)
            for at in range(0, len(view), BLOCK_BYTES):
                hashed = salted.copy()
                block = view[at : at + BLOCK_BYTES]
                hashed.update(block)
                if len(block) < BLOCK_BYTES:
                    hashed.update(bytes(BLOCK_BYTES - len(block)))
                yield hashed.digest()[:CUT_BYTES]


def cut(leaf_hashes: bytes) -> Iterator[bytes]:
    """Leaves of a verity tree as digests of an index."""
    for at in range(0, len(leaf_hashes), DIGEST_BYTES):
        yield leaf_hashes[at : at + CUT_BYTES]


def make(
    path: Path, salt: bytes, older: Sequence[Path], pack: IO[bytes], *, level: int = packing.LEVEL
) -> bytes:
    """Write the pack of a part, and return its index blob. `older`: the same part of the last releases."""
    size = path.stat().st_size
    known: dict[bytes, int] = {}
    first: list[int] = []  # where each different block is
    every = []
    for number, digest in enumerate(digests_of(path, size, salt)):
        every.append(digest)
        if known.setdefault(digest, len(first)) == len(first):
            first.append(number)
    had = [set(digests_of(one, one.stat().st_size, salt)) for one in older]
    classes = bytes(min(255, sum(digest not in blocks for blocks in had)) if had else 0 for digest in known)
    frames, at = [], 0
    with path.open("rb") as file:
        for run in _runs(classes):
            raw = b"".join(_block(file, first[one]) for one in run)
            stored = packing.pack(raw, level=level)
            pack.write(stored)
            frames.append((len(stored), len(run)))
            at += len(stored)
    head = _HEAD.pack(_MAGIC, FORMAT, CUT_BYTES, len(salt), salt, size, len(every), len(known), len(frames))
    table = array("I", [value for frame in frames for value in frame])
    return packing.pack(head + b"".join(every) + classes + table.tobytes(), level=level)


def read(blob: bytes) -> Index:
    """Understand an index. Raises FormatError, NewerFormatError."""
    raw = _unpacked(blob)
    magic, form, cut_bytes, salt_size, salt, size, blocks, different, frames = _HEAD.unpack_from(raw)
    if magic != _MAGIC:
        raise FormatError("this is not an index of blocks")
    if form > FORMAT:
        raise NewerFormatError(f"this index has format {form}, and this version of Skerry knows {FORMAT}")
    wanted = _HEAD.size + blocks * cut_bytes + different + frames * 8
    if cut_bytes != CUT_BYTES or salt_size > 64 or size > MOST_BYTES or blocks != -(-size // BLOCK_BYTES) \
            or len(raw) != wanted:  # fmt: skip
        raise FormatError("this index contradicts itself")
    at = _HEAD.size
    ids, known = array("I"), dict[bytes, int]()
    for offset in range(at, at + blocks * CUT_BYTES, CUT_BYTES):
        ids.append(known.setdefault(raw[offset : offset + CUT_BYTES], len(known)))
    at += blocks * CUT_BYTES
    classes = raw[at : at + different]
    table = array("I", raw[at + different :])
    if len(known) != different:
        raise FormatError("this index contradicts itself")
    return Index(size, salt[:salt_size], ids, tuple(known), _frames(classes, table))


def locate(index: Index, digests: Iterable[bytes]) -> Found:
    """Find blocks by the cut digests of an older version, in the order of its blocks."""
    block = array("i", [_NOWHERE]) * len(index.digests)
    wanted = {digest: one for one, digest in enumerate(index.digests)}
    for at, digest in enumerate(digests):
        one = wanted.get(digest)
        if one is not None and block[one] == _NOWHERE:
            block[one] = at
    needed = tuple(
        number
        for number, frame in enumerate(index.frames)
        if any(block[one] == _NOWHERE for one in frame.ids)
    )
    return Found(block, needed)


def _runs(classes: bytes) -> Iterator[Sequence[int]]:
    """Which blocks make each frame: class by class, the newest first, in order of their use."""
    for kind in sorted(set(classes), reverse=True):
        members = [one for one, its in enumerate(classes) if its == kind]
        length = FRAME_BLOCKS[kind > 0]
        for at in range(0, len(members), length):
            yield members[at : at + length]


def _frames(classes: bytes, table: array[int]) -> tuple[Frame, ...]:
    order = array("I")
    for kind in sorted(set(classes), reverse=True):
        order.extend(one for one, its in enumerate(classes) if its == kind)
    frames, at, taken = [], 0, 0
    for number in range(0, len(table), 2):
        stored, count = table[number], table[number + 1]
        if not 0 < count <= MOST_FRAME_BLOCKS or not 0 < stored <= 2 * MOST_FRAME_BLOCKS * BLOCK_BYTES:
            raise FormatError("this index has a frame that cannot be")
        frames.append(Frame(at, stored, order[taken : taken + count]))
        at += stored
        taken += count
    if taken != len(order):
        raise FormatError("the frames of this index are not all of its blocks")
    return tuple(frames)


def _block(file: IO[bytes], number: int) -> bytes:
    file.seek(number * BLOCK_BYTES)
    return file.read(BLOCK_BYTES).ljust(BLOCK_BYTES, b"\0")


def _unpacked(blob: bytes) -> bytes:
    """All of an index blob; the head says how much that may be."""
    import zstandard

    try:
        parameters = zstandard.get_frame_parameters(blob)
    except zstandard.ZstdError as error:
        raise FormatError(f"this is not an index of blocks: {error}") from error
    # A block takes its digest, a class, and at most a frame of its own.
    size = parameters.content_size
    if not _HEAD.size <= size <= min(64 << 20, _HEAD.size + (MOST_BYTES // BLOCK_BYTES) * 15):
        raise FormatError("this index has a size that cannot be")
    return packing.unpack(blob, size)
