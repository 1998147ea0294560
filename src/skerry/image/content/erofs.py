"""Where the files of an EROFS image are, to pair those of two images; uncompressed, as we make it.

    1024         superblock: magic, block size, root's nid, address of metadata
    inodes       32 or 64 bytes at meta_blkaddr * block + nid * 32; layout plain (0) or inline (2)
    directory    in each block: entries of 12 bytes (nid, name's offset, type), then the names

Only regular files are told. Refuses compressed and chunked inodes by passing over them: what is not told is
paired as metadata, which costs bytes, not correctness. Only publishing machines read images so.

Layout: https://erofs.docs.kernel.org/en/latest/ondisk/core_ondisk.html.
"""

from __future__ import annotations

import mmap
import stat
import struct
from typing import TYPE_CHECKING

from skerry.image.content.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

Extent = tuple[int, int]  # from, size
Image = bytes | mmap.mmap

_MAGIC = 0xE0F5E1E2
_DIRENT = struct.Struct("<QHBB")
_PLAIN, _INLINE = 0, 2
_DEPTH = 64


def is_erofs(image: Image) -> bool:
    return len(image) >= 1152 and struct.unpack_from("<I", image, 1024)[0] == _MAGIC


def files(image: Image) -> dict[str, tuple[Extent, ...]]:
    """Path (without the first /) to extents. Raises FormatError."""
    if not is_erofs(image):
        raise FormatError("this is not an EROFS image")
    reader = _Reader(image)
    try:
        return dict(reader.walk(reader.root, "", 0))
    except (struct.error, IndexError) as error:
        raise FormatError(f"this EROFS image is damaged: {error}") from error


class _Reader:
    def __init__(self, image: Image) -> None:
        self._image = image
        self._block = 1 << image[1024 + 12]
        (self.root,) = struct.unpack_from("<H", image, 1024 + 14)
        (self._meta,) = struct.unpack_from("<I", image, 1024 + 40)

    def walk(self, nid: int, path: str, depth: int) -> Iterator[tuple[str, tuple[Extent, ...]]]:
        """Regular files below a directory, in the order of the disk's names."""
        if depth > _DEPTH:
            raise FormatError("this EROFS image has directories within themselves")
        _, size, extents = self._inode(nid)
        content = b"".join(self._image[at : at + count] for at, count in extents)[:size]
        for start in range(0, size, self._block):
            for name, child, kind in _entries(content[start : start + self._block]):
                if name in (".", ".."):
                    continue
                if kind == 2:
                    yield from self.walk(child, f"{path}{name}/", depth + 1)
                elif kind == 1:
                    mode, _, found = self._inode(child)
                    if stat.S_ISREG(mode) and found:
                        yield f"{path}{name}", found

    def _inode(self, nid: int) -> tuple[int, int, tuple[Extent, ...]]:
        """Mode, size, extents."""
        at = self._meta * self._block + nid * 32
        form, xattrs, mode = struct.unpack_from("<HHH", self._image, at)
        if form & 1:
            (size,) = struct.unpack_from("<Q", self._image, at + 8)
            head = 64
        else:
            (size,) = struct.unpack_from("<I", self._image, at + 8)
            head = 32
        (block,) = struct.unpack_from("<I", self._image, at + 16)
        tail_at = at + head + (12 + 4 * (xattrs - 1) if xattrs else 0)
        layout = form >> 1 & 7
        if not size or layout not in (_PLAIN, _INLINE):
            return mode, size if layout in (_PLAIN, _INLINE) else 0, ()
        if layout == _PLAIN:
            return mode, size, ((block * self._block, size),)
        whole = size - size % self._block
        tail = ((tail_at, size - whole),) if size > whole else ()
        return mode, size, (((block * self._block, whole),) if whole else ()) + tail


def _entries(block: bytes) -> Iterator[tuple[str, int, int]]:
    """Name, nid and type of each entry of one directory block."""
    count = _DIRENT.unpack_from(block, 0)[1] // _DIRENT.size
    heads = [_DIRENT.unpack_from(block, one * _DIRENT.size) for one in range(count)]
    ends = [offset for _, offset, _, _ in heads[1:]] + [len(block)]
    for (nid, offset, kind, _), end in zip(heads, ends, strict=True):
        yield block[offset:end].rstrip(b"\0").decode(errors="surrogateescape"), nid, kind
