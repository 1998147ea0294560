"""Small things that look like parts: blocks that repeat, change and move; programs that are built again."""

from __future__ import annotations

import hashlib
import os
import random
from typing import TYPE_CHECKING

from skerry.image.content import publish, verity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from skerry.image.release.manifest import Part

SALT = b"salt of the product"
UUID = "e57dd25c-b0e3-5f05-9117-bfe6b24885b0"


def blocks_of(numbers: Sequence[int]) -> bytes:
    """A block for each number; equal numbers are equal blocks."""
    return b"".join(random.Random(number).randbytes(4096) for number in numbers)  # noqa: S311


def program(size: int, version: int) -> bytes:
    """Something like a program: built again, a few of its bytes differ all over, and some are inserted."""
    data = bytearray(random.Random(0).randbytes(size))  # noqa: S311
    changes = random.Random(version)  # noqa: S311
    for at in range(changes.randrange(64), size, 200):
        data[at] = (data[at] + version) & 255
    at = changes.randrange(size)
    data[at:at] = changes.randbytes(version * 10)
    return bytes(data)


def write_root(directory: Path, data: bytes) -> publish.Raw:
    """A root with its hash device."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "root.erofs").write_bytes(data)
    hasher = verity.Hasher(SALT)
    hasher.update(data)
    tree = hasher.tree()
    (directory / "root.verity").write_bytes(tree.device(SALT, UUID))
    return publish.Raw("root", directory / "root.erofs", directory / "root.verity", tree.root_hash)


def serve_from(repository: Path, made: Sequence[publish.Published]) -> tuple[Part, ...]:
    """Lay blobs where a repository has them."""
    for one in made:
        for sha256, path in one.files.items():
            target = repository / "blobs" / sha256[:2] / sha256
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return tuple(one.part for one in made)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def open_new(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
