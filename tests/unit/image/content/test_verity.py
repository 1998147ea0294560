"""The hash tree against what veritysetup of Debian trixie made of the same data."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.image.content import verity
from skerry.image.content.errors import FormatError, MismatchError
from skerry.image.release.manifest import Verity

if TYPE_CHECKING:
    from pathlib import Path

SALT = "00112233"
UUID = "e57dd25c-b0e3-5f05-9117-bfe6b24885b0"

# blocks, root hash and SHA-256 of the hash device, of `veritysetup format` 2.7.5
MADE = [
    (1, "d730c3cc80441be1102d215bf57743c4c21fe5edd01e813b9f8b74dab215fc17",
     "22968c6e2c4cf5cf8a41a542dcde948025f9d428287e2dd6578e2241d06e38b4"),
    (2, "9dcd65def0b884fa3d3463e257a7f8280df177a955b62e9c1dbe6a6c207f45b0",
     "875830c729c28dae5c224890737baf2db5a6b5eb5d13441df29f3c3511312ae8"),
    (128, "b0b7c05f70225b422d0bc8a73d7ca4feb42677436c6475691b8227a32422ad2e",
     "4116c00c7ab946aee42b6d3d908a8b237fdc542a8ce719f347b0718df56b54f3"),
    (129, "667908abaf7dc615f2242b925eca46b5c5ddf03cd21d44ef27ad6baf622949aa",
     "32ebabd5ef2978bb33812b3d6835ad54d7863febceed6837dff34777273532e6"),
    (16385, "19beb6eb2a05cc6b1fbf79c7f4dfbfa74c86fc679e40cbf735169134a6054fcc",
     "658f7bc19e8b3b4fb86386212920105869a4254b22efb3f20440009989118b5e"),
]  # fmt: skip


def data_of(blocks: int) -> bytes:
    return b"".join(hashlib.sha256(b"%d" % (one % 7)).digest() * 128 for one in range(blocks))


def hasher_of(data: bytes) -> verity.Hasher:
    hasher = verity.Hasher(bytes.fromhex(SALT))
    hasher.update(data)
    return hasher


@pytest.mark.parametrize(("blocks", "root_hash", "device_sha256"), MADE)
def test_the_tree_is_what_veritysetup_makes(blocks: int, root_hash: str, device_sha256: str) -> None:
    device = verity.make(hasher_of(data_of(blocks)), Verity(root_hash, SALT, blocks, UUID))
    assert hashlib.sha256(device).hexdigest() == device_sha256


@given(st.lists(st.integers(min_value=1, max_value=9000), max_size=20))
def test_pieces_may_end_anywhere(sizes: list[int]) -> None:
    data = data_of(12)
    hasher, at = verity.Hasher(b"salt"), 0
    for size in [*sizes, len(data)]:
        hasher.update(data[at : at + size])
        at += size
    whole = verity.Hasher(b"salt")
    whole.update(data)
    assert hasher.tree() == whole.tree()


def test_half_a_block_is_no_data() -> None:
    with pytest.raises(FormatError, match="whole blocks"):
        hasher_of(data_of(2)[:-1]).tree()


@pytest.mark.parametrize("blocks", [2, 129, 16385])
def test_leaves_are_read_without_the_data(tmp_path: Path, blocks: int) -> None:
    hasher = hasher_of(data_of(blocks))
    device = tmp_path / "hashes"
    device.write_bytes(hasher.tree().device(bytes.fromhex(SALT), UUID) + b"the partition is larger")
    assert verity.leaves(device, salt=bytes.fromhex(SALT)) == hasher.leaves()


@pytest.fixture
def slot(tmp_path: Path) -> tuple[Path, Path, Verity]:
    """A slot of 129 blocks, its hash device, and what was signed for it."""
    data = data_of(129)
    tree = hasher_of(data).tree()
    (tmp_path / "data").write_bytes(data + b"what an older and larger version left")
    (tmp_path / "hashes").write_bytes(tree.device(bytes.fromhex(SALT), UUID))
    return tmp_path / "data", tmp_path / "hashes", Verity(tree.root_hash, SALT, 129, UUID)


def test_a_good_slot_passes(slot: tuple[Path, Path, Verity]) -> None:
    verity.check(*slot)
    assert verity.describe(slot[1], slot[2].root_hash) == slot[2]


@pytest.mark.parametrize("at", [0, 4096, 129 * 4096 - 1])
def test_one_wrong_byte_of_data_is_found(slot: tuple[Path, Path, Verity], at: int) -> None:
    flip(slot[0], at)
    with pytest.raises(MismatchError, match="not the signed"):
        verity.check(*slot)


@pytest.mark.parametrize("at", [0, 511, 4096, 4097, 3 * 4096 + 31])
def test_one_wrong_byte_of_the_tree_is_found(slot: tuple[Path, Path, Verity], at: int) -> None:
    flip(slot[1], at)
    with pytest.raises(MismatchError, match="does not hold the hash tree"):
        verity.check(*slot)


def test_a_slot_that_is_too_short_is_found(slot: tuple[Path, Path, Verity]) -> None:
    slot[0].write_bytes(slot[0].read_bytes()[: 128 * 4096])
    with pytest.raises(MismatchError, match="4096 bytes too early"):
        verity.check(*slot)


def test_another_products_tree_is_no_index(slot: tuple[Path, Path, Verity]) -> None:
    with pytest.raises(FormatError, match="another salt"):
        verity.leaves(slot[1], salt=b"other")


@given(st.binary(max_size=600), st.integers(0, 511), st.integers(0, 255))
def test_what_is_no_hash_device_is_said_to_be_none(
    tmp_path_factory: pytest.TempPathFactory, rubbish: bytes, at: int, byte: int
) -> None:
    device = bytearray(hasher_of(data_of(2)).tree().device(bytes.fromhex(SALT), UUID))
    path = tmp_path_factory.getbasetemp() / "rubbish"
    path.write_bytes(rubbish)
    with pytest.raises(FormatError):
        verity.leaves(path)
    device[at] = byte
    path.write_bytes(device)
    try:
        found = verity.leaves(path)
    except FormatError:
        return
    assert len(found) <= len(device)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
