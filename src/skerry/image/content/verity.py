"""dm-verity's hash tree, made here byte for byte as `veritysetup format` makes it, and read as an index.

    block 0      superblock: magic, version, type 1, UUID, "sha256", block sizes, blocks, salt; zeros
    block 1 …    the tree, the root's level first, the leaves last; 128 digests of 32 bytes in a block

A digest is SHA-256 of the salt and a block of 4096 bytes; the root hash is that of the tree's first block (of
the data themselves where they are one block). So the tree need not be shipped: who has the data makes it, and
the root hash says whether it is right. Its leaves tell which blocks a slot holds, without reading the slot.

Layout: https://gitlab.com/cryptsetup/cryptsetup/-/wikis/DMVerity (lib/verity/verity.c, verity_hash.c).
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.image.content.errors import DeviceError, FormatError, MismatchError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from pathlib import Path

    from skerry.image.release.manifest import Verity

BLOCK_BYTES = 4096
DIGEST_BYTES = 32
_PER_BLOCK = BLOCK_BYTES // DIGEST_BYTES
_SUPERBLOCK = struct.Struct("<8sII16s32sIIQH6x256s168x")
_MAGIC = b"verity\0\0"
_CHUNK_BYTES = 1 << 20
_MOST_BLOCKS = 1 << 24  # 64 GiB: no slot is larger, and a wrong number must not make us allocate


class Hasher:
    """Takes data in any pieces and keeps the digest of each block; whole blocks only."""

    def __init__(self, salt: bytes) -> None:
        self._salted = hashlib.sha256(salt)
        self._leaves = bytearray()
        self._rest = b""

    def update(self, data: bytes | memoryview) -> None:
        """Take what follows."""
        view = memoryview(data)
        if self._rest:
            missing = BLOCK_BYTES - len(self._rest)
            self._rest += view[:missing]
            view = view[missing:]
            if len(self._rest) < BLOCK_BYTES:
                return
            self._leaves += self._digest(self._rest)
        whole = len(view) - len(view) % BLOCK_BYTES
        for at in range(0, whole, BLOCK_BYTES):
            self._leaves += self._digest(view[at : at + BLOCK_BYTES])
        self._rest = bytes(view[whole:])

    def leaves(self) -> bytes:
        """The digests of the blocks so far. Raises FormatError in the middle of a block."""
        if self._rest or not self._leaves:
            raise FormatError("the data are not whole blocks of 4096 bytes")
        return bytes(self._leaves)

    def tree(self) -> Tree:
        """The hash tree over all that was given."""
        levels = [self.leaves()]
        while len(levels[-1]) > DIGEST_BYTES:
            below = levels[-1]
            levels.append(
                b"".join(
                    self._digest(below[at : at + BLOCK_BYTES].ljust(BLOCK_BYTES, b"\0"))
                    for at in range(0, len(below), BLOCK_BYTES)
                )
            )
        return Tree(levels[-1].hex(), tuple(reversed(levels[:-1])), len(levels[0]) // DIGEST_BYTES)

    def _digest(self, block: bytes | memoryview) -> bytes:
        hashed = self._salted.copy()
        hashed.update(block)
        return hashed.digest()


@dataclass(frozen=True, slots=True)
class Tree:
    """A root hash in hex, the levels under it as digests one after the other, and the number of blocks."""

    root_hash: str
    levels: tuple[bytes, ...]
    blocks: int

    def device(self, salt: bytes, identifier: str) -> bytes:
        """The content of the hash device."""
        head = _SUPERBLOCK.pack(
            _MAGIC, 1, 1, uuid.UUID(identifier).bytes, b"sha256",
            BLOCK_BYTES, BLOCK_BYTES, self.blocks, len(salt), salt,
        )  # fmt: skip
        return b"".join(
            part.ljust(-(-len(part) // BLOCK_BYTES) * BLOCK_BYTES, b"\0") for part in (head, *self.levels)
        )


def make(hasher: Hasher, verity: Verity) -> bytes:
    """The hash device for the data that `hasher` was given.

    Raises MismatchError where they do not have the signed root hash.
    """
    tree = hasher.tree()
    if tree.root_hash != verity.root_hash or tree.blocks != verity.blocks:
        raise MismatchError(
            f"the data have the root hash {tree.root_hash[:16]}… over {tree.blocks} blocks, "
            f"not the signed {verity.root_hash[:16]}… over {verity.blocks}"
        )
    return tree.device(bytes.fromhex(verity.salt), verity.uuid)


def check(data: Path, hashes: Path, verity: Verity) -> None:
    """Read a slot and its hash device back. Raises MismatchError where one is not what was signed.

    Whoever wants to know what is on the disk, and not in memory, drops the caches before.
    """
    hasher = Hasher(bytes.fromhex(verity.salt))
    try:
        left = verity.blocks * BLOCK_BYTES
        with data.open("rb", buffering=0) as file:
            while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
                hasher.update(chunk)
                left -= len(chunk)
        if left:
            raise MismatchError(f"{data} ends {left} bytes too early")
        wanted = make(hasher, verity)
        with hashes.open("rb") as file:
            found = file.read(len(wanted))
    except OSError as error:
        raise DeviceError(f"a slot cannot be read back: {error}") from error
    if found != wanted:
        raise MismatchError(f"{hashes} does not hold the hash tree of {data}")


def leaves(hashes: Path, *, salt: bytes | None = None) -> bytes:
    """The digests of a slot's blocks, 32 bytes each, from its hash device; no data are read.

    They are only as good as the device: what is taken by them must be verified in the end. Where `salt` is
    given, the device must be of that salt. Raises FormatError where it is no hash device of ours.
    """
    try:
        with hashes.open("rb") as file:
            head = file.read(_SUPERBLOCK.size)
            blocks = _blocks(hashes, head, salt)
            file.seek(_leaf_block(blocks) * BLOCK_BYTES)
            found = file.read(blocks * DIGEST_BYTES)
    except OSError as error:
        raise DeviceError(f"the hash device {hashes} cannot be read: {error}") from error
    if len(found) != blocks * DIGEST_BYTES or blocks == 1:
        raise FormatError(f"{hashes} is too short for {blocks} blocks")
    return found


def digests(leaf_hashes: bytes) -> Iterator[bytes]:
    """One digest after the other."""
    for at in range(0, len(leaf_hashes), DIGEST_BYTES):
        yield leaf_hashes[at : at + DIGEST_BYTES]


def describe(hashes: Path, root_hash: str) -> Verity:
    """What a manifest says of a hash device. Raises FormatError, DeviceError."""
    from skerry.image.release.manifest import Verity

    try:
        with hashes.open("rb") as file:
            head = file.read(_SUPERBLOCK.size)
    except OSError as error:
        raise DeviceError(f"the hash device {hashes} cannot be read: {error}") from error
    blocks = _blocks(hashes, head, None)
    fields = _SUPERBLOCK.unpack(head)
    salt: bytes = fields[9][: fields[8]]
    return Verity(root_hash, salt.hex(), blocks, str(uuid.UUID(bytes=fields[3])))


def _blocks(path: os.PathLike[str], head: bytes, salt: bytes | None) -> int:
    """The number of data blocks that a superblock tells, if it is of the one kind we use."""
    if len(head) < _SUPERBLOCK.size:
        raise FormatError(f"{path} is no verity hash device")
    magic, version, kind, _, algorithm, data_block, hash_block, blocks, salt_size, salted = (
        _SUPERBLOCK.unpack(head)
    )
    if magic != _MAGIC:
        raise FormatError(f"{path} is no verity hash device")
    if (version, kind, algorithm.rstrip(b"\0"), data_block, hash_block) != (
        1, 1, b"sha256", BLOCK_BYTES, BLOCK_BYTES,
    ) or not 0 < blocks <= _MOST_BLOCKS or salt_size > 256:  # fmt: skip
        raise FormatError(f"{path} is a verity hash device of another kind")
    if salt is not None and salted[:salt_size] != salt:
        raise FormatError(f"{path} has another salt: an image of another product")
    return int(blocks)


def _leaf_block(blocks: int) -> int:
    """In which block of the hash device the leaves begin."""
    above, level = 0, -(-blocks // _PER_BLOCK)
    while level > 1:
        level = -(-level // _PER_BLOCK)
        above += level
    return 1 + above
