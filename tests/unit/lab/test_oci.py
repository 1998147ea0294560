"""Images are the same bytes for the same input, and a layout gives back what was written."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry_lab.oci import Config, Entry, OciError, make_image, make_layer, read_layout, write_layout

if TYPE_CHECKING:
    from pathlib import Path

NAMES = st.text("abc", min_size=1, max_size=3)


@given(st.dictionaries(NAMES, st.binary(max_size=20), max_size=5), st.randoms())
def test_a_layer_does_not_depend_on_the_order_of_its_entries(files: dict[str, bytes], random: object) -> None:
    entries = [Entry(f"d/{name}", content=content) for name, content in files.items()]
    shuffled = sorted(entries, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert make_layer(entries).digest == make_layer(shuffled).digest


def test_a_layer_holds_parents_links_modes_and_no_times() -> None:
    layer = make_layer([Entry("a/b/run", content=b"x", mode=0o755, uid=33), Entry("a/l", link="b/run")])
    with tarfile.open(fileobj=io.BytesIO(layer.data)) as tar:
        told = [(m.name, m.type, m.mode, m.uid, m.mtime, m.linkname) for m in tar]
    assert told == [
        ("a", tarfile.DIRTYPE, 0o755, 0, 0, ""),
        ("a/b", tarfile.DIRTYPE, 0o755, 0, 0, ""),
        ("a/b/run", tarfile.REGTYPE, 0o755, 33, 0, ""),
        ("a/l", tarfile.SYMTYPE, 0o777, 0, 0, "b/run"),
    ]


def test_a_layout_is_read_back(tmp_path: Path) -> None:
    layer = make_layer([Entry("hello", content=b"world")])
    image = make_image(
        "library/x:latest", [layer], Config(command=("sh",), ports=("80/tcp",)), architecture="amd64"
    )
    write_layout(image, tmp_path / "layout")
    assert read_layout(tmp_path / "layout") == image


def test_the_config_names_the_layers_by_what_they_hold() -> None:
    layer = make_layer([Entry("hello", content=b"world")])
    image = make_image("x:y", [layer], Config(environment={"B": "2", "A": "1"}), architecture="amd64")
    config = json.loads(image.blobs[0].data)
    assert config["rootfs"]["diff_ids"] == [layer.digest]
    assert config["config"]["Env"] == ["A=1", "B=2"]
    assert (image.repository, image.tag) == ("x", "y")


def test_a_damaged_blob_is_refused(tmp_path: Path) -> None:
    image = make_image("x:y", [make_layer([Entry("a", content=b"1")])], Config(), architecture="amd64")
    write_layout(image, tmp_path / "layout")
    hidden = tmp_path / "layout" / "blobs" / "sha256" / image.blobs[1].digest.removeprefix("sha256:")
    hidden.write_bytes(b"other")
    with pytest.raises(OciError, match="has other content"):
        read_layout(tmp_path / "layout")


def test_what_is_no_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OciError, match="is not an image layout"):
        read_layout(tmp_path)
