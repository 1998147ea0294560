"""The bytes of a release, made of the image that is shipped and by the tools that others have."""

from __future__ import annotations

import hashlib
import mmap
import tarfile
from typing import TYPE_CHECKING

import pytest

from skerry.image.compose.sandbox import Bind, Sandbox
from skerry.image.content import delta, erofs, verity

if TYPE_CHECKING:
    from pathlib import Path

    from skerry.image.compose.build import Image, Store

pytestmark = pytest.mark.timeout(600)


def test_the_images_hash_tree_is_made_again_byte_for_byte(image: Image, store: Store) -> None:
    root, hashes = store.path(image.label, "root.erofs"), store.path(image.label, "root.verity")
    sealed = verity.describe(hashes, image.root_hash)
    hasher = verity.Hasher(bytes.fromhex(sealed.salt))
    with root.open("rb") as file:
        while chunk := file.read(1 << 20):
            hasher.update(chunk)
    assert verity.make(hasher, sealed) == hashes.read_bytes()
    assert verity.leaves(hashes) == hasher.leaves()


def test_the_files_of_the_image_are_found_where_they_are(image: Image, store: Store) -> None:
    wanted = {}
    with tarfile.open(store.path(image.label, "tree.tar")) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() and member.size else None
            if content is not None:
                wanted[member.name.removeprefix("./")] = hashlib.sha256(content.read()).digest()
    with store.path(image.label, "root.erofs").open("rb") as file:
        root = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        found = {
            name: hashlib.sha256(b"".join(root[at : at + size] for at, size in extents)).digest()
            for name, extents in erofs.files(root).items()
        }
        regions = sorted(extent for region in delta.regions(root).values() for extent in region)
        size = len(root)
    assert {name: found.get(name) for name in wanted} == wanted
    ends = [at + length for at, length in regions]
    assert [at for at, _ in regions] == [0, *ends[:-1]]
    assert ends[-1] == size


def test_the_sections_of_the_uki_are_found(image: Image, store: Store) -> None:
    uki = store.path(image.label, "skerry.efi").read_bytes()
    found = delta.sections(uki)
    assert {".linux", ".initrd", ".cmdline"} <= set(found)
    [(at, size)] = found[".cmdline"]
    assert image.root_hash.encode() in uki[at : at + size]


def test_veritysetup_takes_a_tree_of_ours(sandbox: Sandbox, tmp_path: Path) -> None:
    data = b"".join(hashlib.sha256(b"%d" % number).digest() * 128 for number in range(300))
    hasher = verity.Hasher(b"salt")
    hasher.update(data)
    tree = hasher.tree()
    (tmp_path / "data").write_bytes(data)
    (tmp_path / "hashes").write_bytes(tree.device(b"salt", "e57dd25c-b0e3-5f05-9117-bfe6b24885b0"))
    sandbox.run(
        ["veritysetup", "verify", "/in/data", "/in/hashes", tree.root_hash],
        binds=[Bind(tmp_path / "data", "/in/data"), Bind(tmp_path / "hashes", "/in/hashes")],
    )
