"""Manifests and channels as documents: they come back as they went out, and what is wrong is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.image.release import channel as channels
from skerry.image.release import manifest as manifests
from skerry.image.release import version as versions
from skerry.image.release.channel import Channel, ReleaseEntry
from skerry.image.release.errors import DocumentError, NewerFormatError
from skerry.image.release.manifest import Blob, Disk, Manifest, Package, Part, Patch, Verity
from skerry.image.release.rollout import DEFAULT_WAVES, Rollout

HASH = "ab" * 32
BLOB = Blob(HASH, 10)
ROOT = Part(
    "root", 4096, HASH, BLOB, BLOB, BLOB, (Patch("2026.10.0", HASH, BLOB),), Verity(HASH, "00", 1, "u")
)
MANIFEST = Manifest(
    "skerry", "2026.11.0", "trixie", "amd64", "6.12", (ROOT,), 1.5, "2026.9.0", "notes",
    (Package("bash", "5.2", 7),), BLOB, Disk(1, 2, 3),
)  # fmt: skip
CHANNEL = Channel(
    "stable",
    (ReleaseEntry("2026.9.0", 1.0), ReleaseEntry("2026.10.0", 2.0, Rollout(2.0, DEFAULT_WAVES), "2026.9.0")),
    paused=True,
    paused_at=3.0,
    withdrawn={"2026.9.0": "bad"},
    floor="2026.10.0",
)


def test_a_manifest_comes_back_as_it_was() -> None:
    assert manifests.decode(MANIFEST.encode()) == MANIFEST
    assert MANIFEST.encode() == manifests.decode(MANIFEST.encode()).encode()


def test_a_channel_comes_back_as_it_was() -> None:
    assert channels.decode(CHANNEL.encode()) == CHANNEL


def test_what_a_later_version_added_harmlessly_is_passed_over() -> None:
    later = MANIFEST.encode().replace(b'"version": "2026.11.0"', b'"version": "2026.11.0", "mood": 1')
    assert manifests.decode(later) == MANIFEST


@pytest.mark.parametrize("decode", [manifests.decode, channels.decode])
def test_a_later_format_is_refused_by_name(decode: object) -> None:
    with pytest.raises(NewerFormatError, match="has format 2, and this version of Skerry knows 1"):
        decode(b'{"format": 2, "all": "else is unknown"}')  # type: ignore[operator]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"2026.11.0"', b'"../../etc"'),
        (HASH.encode(), b"../" * 20 + b"abcd"),
        (b'"root"', b'"boot"'),
        (b'"skerry"', b'"Sk erry"'),
        (b'"size": 10', b'"size": -1'),
        (b'"parts"', b'"bits"'),
        (b'"from_version": "2026.10.0"', b'"from_version": "x"'),
    ],
)
def test_a_manifest_that_leads_astray_is_refused(old: bytes, new: bytes) -> None:
    assert old in MANIFEST.encode()
    with pytest.raises(DocumentError):
        manifests.decode(MANIFEST.encode().replace(old, new))


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b"\xff", b'{"format": "1"}', b'{"format": 1}'])
def test_rubbish_is_no_document(data: bytes) -> None:
    for decode in (manifests.decode, channels.decode):
        with pytest.raises(DocumentError):
            decode(data)


@pytest.mark.parametrize("name", ["", "Stable", "../x", "root", "timestamp", "a" * 33, "-x", "a.b"])
def test_names_that_no_channel_can_have(name: str) -> None:
    with pytest.raises(DocumentError):
        Channel(name)


@pytest.mark.parametrize("order", [("2026.10.0", "2026.9.0"), ("2026.9.0", "2026.09.0")])
def test_releases_out_of_order_are_refused(order: tuple[str, str]) -> None:
    with pytest.raises(DocumentError, match="out of order"):
        Channel("stable", tuple(ReleaseEntry(one, 0.0) for one in order))


def test_a_part_twice_is_refused() -> None:
    with pytest.raises(DocumentError, match="twice"):
        Manifest("skerry", "1", "trixie", "amd64", "6", (ROOT, ROOT))


def test_paths_in_a_repository() -> None:
    assert BLOB.path == f"blobs/ab/{HASH}"
    path = manifests.target_path("stable", "2026.11.0")
    assert manifests.stored_path(path, HASH) == f"targets/channels/stable/{HASH}.2026.11.0.json"


def test_every_blob_of_a_release_once() -> None:
    assert MANIFEST.blobs == (BLOB,)


def test_a_part_by_its_name() -> None:
    assert MANIFEST.part("root") is ROOT
    with pytest.raises(DocumentError, match="no uki"):
        MANIFEST.part("uki")


@pytest.mark.parametrize(
    ("older", "newer"), [("2026.9.0", "2026.10.0"), ("2026.10.9", "2026.10.10"), ("9", "10"), ("1.9", "2")]
)
def test_versions_are_numbers(older: str, newer: str) -> None:
    assert versions.is_newer(newer, older)
    assert versions.is_older(older, newer)
    assert not versions.is_newer(older, newer)


@pytest.mark.parametrize("text", ["", "1.", ".1", "1..2", "v1", "1.0-rc", "1/2", "1.0\n", "٣", "1" * 10])
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(DocumentError):
        versions.parse(text)


@given(st.lists(st.integers(0, 10**9 - 1), min_size=1, max_size=6))
def test_a_version_is_its_numbers(numbers: list[int]) -> None:
    assert versions.parse(".".join(map(str, numbers))) == tuple(numbers)
