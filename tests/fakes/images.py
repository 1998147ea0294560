"""A finished image in the store, of a few kilobytes: enough to be published, not to boot."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from typing import TYPE_CHECKING

from skerry.image.compose.build import Image, Store
from skerry.image.content.verity import Hasher

if TYPE_CHECKING:
    from pathlib import Path

SECTOR = 512
SALT = bytes(range(32))
UUID = "11111111-2222-3333-4444-555555555555"


def write_gpt(path: Path, parts: list[tuple[str, int]]) -> Path:
    """A disk whose table names these partitions, with their sizes in MiB; UEFI 2.10, 5.3."""
    entries, at = b"", 2048
    for name, mib in parts:
        sectors = mib * 2048
        label = name.encode("utf-16-le").ljust(72, b"\0")
        entries += struct.pack("<16s16sQQQ72s", b"t" * 16, b"u" * 16, at, at + sectors - 1, 0, label)
        at += sectors
    header = struct.pack(
        "<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, 1, 0, 0, 0, b"d" * 16, 2, 128, 128, 0
    )
    path.write_bytes(bytes(SECTOR) + header.ljust(SECTOR, b"\0") + entries.ljust(128 * 128, b"\0"))
    return path


def make_image(directory: Path, store: Store, version: str, *, root: bytes, uki: bytes) -> Image:
    """Put an image skerry_VERSION into the store; `root` in whole blocks of 4096 bytes."""
    directory.mkdir(parents=True)
    hasher = Hasher(SALT)
    hasher.update(root)
    tree = hasher.tree()
    contents = {
        "root.erofs": root,
        "root.verity": tree.device(SALT, UUID),
        "skerry.efi": uki,
        "packages.json": json.dumps(
            [{"name": "bash", "version": f"5.2+{version}", "architecture": "amd64"}]
        ).encode(),
        "tree.tar": _tree(version),
    }
    files = {name: directory / name for name in (*contents, "disk.raw")}
    for name, content in contents.items():
        files[name].write_bytes(content)
    write_gpt(files["disk.raw"], [("esp", 512), (f"skerry_{version}", 512), (f"skerry_{version}_verity", 16)])
    image = Image(
        format=1, name="skerry", version=version, suite="trixie", architecture="amd64",
        root_hash=tree.root_hash, root_bytes=len(root), uki_bytes=len(uki), disk_bytes=0, packages=1,
        kernel="6.12.0", built=1.0, packages_as_of=1.0, steps={},
    )  # fmt: skip
    store.add(image, files)
    return image


def _tree(version: str) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        member = tarfile.TarInfo("./etc/issue")
        content = f"Skerry {version}\n".encode()
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return written.getvalue()
