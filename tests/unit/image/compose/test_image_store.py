"""Finished images: under their name whole or not at all, and gone when they are removed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from skerry.image.compose.build import Image, Store
from skerry.image.compose.errors import ComposeError, NoSpaceError
from skerry.image.compose.export import DiskFormat, export

IMAGE = Image(
    format=1, name="small", version="2026.11.0", suite="trixie", architecture="amd64", root_hash="ab",
    root_bytes=1, uki_bytes=2, disk_bytes=3, packages=4, kernel="6.12", built=100.0, packages_as_of=50.0,
    steps={"tools": "0123"},
)  # fmt: skip
NEWER = msgspec.json.encode(msgspec.structs.replace(IMAGE, format=9))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def add(store: Store, image: Image = IMAGE, *, disk: str = "disk") -> None:
    source = store.cache / "made"
    source.parent.mkdir(exist_ok=True)
    source.unlink(missing_ok=True)
    source.write_text(disk)
    store.add(image, {"disk.raw": source})


def test_what_was_added_is_read(store: Store) -> None:
    add(store)
    assert store.read("small_2026.11.0") == IMAGE
    assert store.path(IMAGE.label, "disk.raw").read_text() == "disk"


def test_the_newest_build_is_first(store: Store) -> None:
    newer = msgspec.structs.replace(IMAGE, version="2026.10.0", built=200.0)
    add(store)
    add(store, newer)
    assert store.list() == [newer, IMAGE]


def test_the_same_version_is_replaced(store: Store) -> None:
    add(store, disk="old")
    add(store, disk="new")
    assert store.path(IMAGE.label, "disk.raw").read_text() == "new"
    assert [path.name for path in (store.cache / "images").glob("*/")] == [IMAGE.label]


def test_a_failure_keeps_the_old_and_leaves_nothing(store: Store) -> None:
    add(store, disk="old")
    with pytest.raises(FileNotFoundError):
        store.add(IMAGE, {"disk.raw": store.cache / "absent"})
    assert store.path(IMAGE.label, "disk.raw").read_text() == "old"
    assert [path.name for path in (store.cache / "images").glob("*/")] == [IMAGE.label]


def test_what_a_killed_build_left_is_no_image_and_goes(store: Store) -> None:
    half = store.cache / "images" / f".{IMAGE.label}"
    half.mkdir(parents=True)
    (half / "image.json").write_bytes(msgspec.json.encode(IMAGE))
    assert store.list() == []
    add(store)
    assert not half.exists()


def test_remove(store: Store) -> None:
    add(store)
    store.remove(IMAGE.label)
    assert store.list() == []


def test_an_absent_image_names_those_there_are(store: Store) -> None:
    add(store)
    with pytest.raises(ComposeError, match="there is no image other") as refused:
        store.read("other")
    assert IMAGE.label in (refused.value.hint or "")


@pytest.mark.parametrize("label", ["none", "..", ""])
def test_only_images_are_removed(store: Store, label: str) -> None:
    with pytest.raises(ComposeError) as refused:
        store.remove(label)
    assert "skerry image build" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("text", "said"),
    [(b"{", "is damaged"), (b"{}", "is damaged"), (NEWER, "has format 9, and this version knows 1")],
    ids=["not-json", "not-an-image", "newer"],
)
def test_a_damaged_image_is_told_and_can_be_removed(store: Store, text: bytes, said: str) -> None:
    add(store)
    store.path(IMAGE.label, "image.json").write_bytes(text)
    with pytest.raises(ComposeError, match=said):
        store.read(IMAGE.label)
    store.remove(IMAGE.label)
    assert not store.path(IMAGE.label).exists()


# --- export


def test_export_replaces_nothing(store: Store, tmp_path: Path) -> None:
    add(store)
    (tmp_path / "disk.raw").write_text("mine")
    with pytest.raises(ComposeError, match="exists already"):
        export(IMAGE, tmp_path / "disk.raw", DiskFormat.RAW, store=store)


def test_export_makes_no_directories(store: Store, tmp_path: Path) -> None:
    add(store)
    with pytest.raises(ComposeError, match="there is no directory"):
        export(IMAGE, tmp_path / "absent" / "disk.raw", DiskFormat.RAW, store=store)


def test_export_without_tools_says_build_again(store: Store, tmp_path: Path) -> None:
    add(store)
    with pytest.raises(ComposeError, match="tools that built this image are gone") as refused:
        export(IMAGE, tmp_path / "disk.raw", DiskFormat.RAW, store=store)
    assert "skerry image build" in (refused.value.hint or "")


def test_export_without_room(store: Store) -> None:
    add(store)
    # A file system without a byte of room, and one that every Linux machine has.
    with pytest.raises(NoSpaceError, match="needs up to"):
        export(IMAGE, Path("/proc/disk.raw"), DiskFormat.RAW, store=store)
