"""`skerry image extension`, through its command line, on images that are there already."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest

from skerry.entry.cli.main import cli, run
from skerry.image.compose.build import Image, Store
from skerry.image.compose.extension import Extension, Package, directory_of

if TYPE_CHECKING:
    from pathlib import Path

OLD = Image(
    format=1, name="small", version="2026.10.0", suite="trixie", architecture="amd64", root_hash="ab",
    root_bytes=1, uki_bytes=2, disk_bytes=3, packages=4, kernel="6.12", built=100.0, packages_as_of=50.0,
    steps={"tools": "0123"},
)  # fmt: skip
NEW = msgspec.structs.replace(OLD, version="2026.11.0", built=200.0)
TOOLS = Extension(
    1, "tools", NEW.label, "ab", "cd" * 32, 1 << 20, (Package("jq", "1.7", "amd64"),), ("libz.so.1",),
    ("etc/jq",),
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Two images, the newer with an extension."""
    monkeypatch.setenv("SKERRY_CACHE", str(tmp_path))
    store = Store(tmp_path)
    store.add(OLD, {})
    store.add(NEW, {})
    directory_of(store, NEW.label).mkdir()
    for suffix in ("raw", "verity", "roothash"):
        (directory_of(store, NEW.label) / f"tools.{suffix}").write_text("")
    (directory_of(store, NEW.label) / "tools.json").write_bytes(msgspec.json.encode(TOOLS))
    return store


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = run(cli, ["image", "extension", *words], name="skerry")
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.mark.usefixtures("store")
def test_those_of_the_newest_image_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = typed(capsys, "list")
    assert status == 0
    assert out.splitlines()[1].split() == ["tools", "small_2026.11.0", "1.0", "MiB", "1"]


@pytest.mark.usefixtures("store")
def test_those_of_another_image_are_listed_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = typed(capsys, "list", "--image", OLD.label, "--json")
    assert (status, json.loads(out)) == (0, [])


def test_one_is_shown_with_what_is_not_in_it(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = typed(capsys, "show", "tools")
    assert status == 0
    assert "jq 1.7" in out
    assert "libz.so.1, which the image left out" in out
    assert "Left out: etc/jq" in out
    assert str(directory_of(store, NEW.label) / "tools.raw") in out


def test_one_is_shown_to_programs_with_its_file(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = typed(capsys, "show", "tools", "--json")
    assert json.loads(out)["path"] == str(directory_of(store, NEW.label) / "tools.raw")


def test_a_removed_one_is_gone(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(capsys, "remove", "tools")[0] == 0
    assert list(directory_of(store, NEW.label).iterdir()) == []


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("words", [("show", "gone"), ("remove", "gone"), ("list", "--image", "gone")])
def test_what_is_not_there_is_an_error_with_a_hint(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    status, out, err = typed(capsys, *words)
    assert (status, out) == (1, "")
    assert "hint: there are" in err


@pytest.mark.usefixtures("store")
def test_a_recipe_that_is_wrong_is_told_on_its_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tools.toml"
    path.write_text('format = 1\nname = "Tools"\n[packages]\ninstall = ["jq"]\n')
    status, _, err = typed(capsys, "build", str(path))
    assert status == 1
    assert f"{path}:2: error: 'Tools' is not a name" in err
