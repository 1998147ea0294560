"""Recipes of extensions, and where finished ones are kept."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from skerry.image.compose.build import Image, Store
from skerry.image.compose.errors import ComposeError
from skerry.image.compose.extension import (
    Extension,
    _refuse,
    _store,
    directory_of,
    extension_release,
    keys,
    load,
    read,
    remove,
    stored,
)
from skerry.kit.errors import ProblemsError

TOOLS = 'format = 1\nname = "tools"\n\n[packages]\ninstall = [\n    "jq",\n]\n'
IMAGE = Image(
    format=1, name="small", version="2026.11.0", suite="trixie", architecture="amd64", root_hash="ab",
    root_bytes=1, uki_bytes=2, disk_bytes=3, packages=4, kernel="6.12", built=100.0, packages_as_of=50.0,
    steps={"tools": "0123"},
)  # fmt: skip
ONE = Extension(1, "tools", IMAGE.label, "ab", "cd" * 32, 4096, (), (), ())
NOTHING: dict[str, list[str]] = {"other_versions": [], "missing": [], "strange": []}


def recipe(directory: Path, text: str = TOOLS) -> Path:
    path = directory / "tools.toml"
    path.write_text(text)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "cache")
    store.add(IMAGE, {})
    return store


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """What the step leaves."""
    directory = tmp_path / "made"
    directory.mkdir()
    (directory / "tools.erofs").write_bytes(b"erofs")
    (directory / "tools.verity").write_bytes(b"hashes")
    return directory


def test_a_recipe_is_as_written(tmp_path: Path) -> None:
    found = load(recipe(tmp_path))
    assert (found.name, found.packages, found.files) == ("tools", ("jq",), ())


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("format = 1", "format = 2", 1, "recipe format 2"),
        ('"tools"', '"Tools"', 2, "'Tools' is not a name"),
        ('"jq"', '"Jq"', 6, "'Jq' is not the name of a Debian package"),
        ("[packages]", "[package]", 5, "unknown key package.install"),
        ('name = "tools"', 'version = "2026.1.1"', 2, "unknown key version"),
    ],
)
def test_a_mistake_is_on_its_line(tmp_path: Path, old: str, new: str, line: int, said: str) -> None:
    with pytest.raises(ProblemsError) as error:
        load(recipe(tmp_path, TOOLS.replace(old, new)))
    assert any(problem.line == line and said in problem.message for problem in error.value.problems)


def test_the_reference_has_every_key_with_a_good_example(tmp_path: Path) -> None:
    page = (Path(__file__).parents[4] / "docs/reference/extensions.md").read_text()
    rows = re.findall(r"^\| `([\w.]+)`.*\| `([^`]+)` \|$", page, re.MULTILINE)
    assert {key for key, _ in rows} == keys()
    (tmp_path / "files").mkdir()
    load(recipe(tmp_path, "\n".join(f"{key} = {value}" for key, value in rows)))


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ComposeError, match="cannot read the recipe"):
        load(tmp_path / "gone.toml")


def test_an_extension_is_for_its_image_only() -> None:
    assert extension_release(IMAGE) == ["ID=skerry", "VERSION_ID=2026.11.0", "ARCHITECTURE=x86-64"]


def test_what_was_stored_is_read(store: Store, made: Path) -> None:
    _store(store, ONE, made)
    assert stored(store, IMAGE.label) == (ONE,)
    assert read(store, IMAGE.label, "tools") == ONE
    files = {path.name: path.read_bytes() for path in directory_of(store, IMAGE.label).glob("tools.[rv]*")}
    assert files == {
        "tools.raw": b"erofs", "tools.verity": b"hashes", "tools.roothash": b"cd" * 32 + b"\n",
    }  # fmt: skip


def test_one_that_is_not_there_is_told_with_those_that_are(store: Store, made: Path) -> None:
    _store(store, ONE, made)
    with pytest.raises(ComposeError, match="has no extension gone") as error:
        read(store, IMAGE.label, "gone")
    assert error.value.hint == "there are tools"


def test_a_removed_one_leaves_nothing(store: Store, made: Path) -> None:
    _store(store, ONE, made)
    remove(store, IMAGE.label, "tools")
    assert list(directory_of(store, IMAGE.label).iterdir()) == []


@pytest.mark.parametrize(("root_hash", "kept"), [("ab", True), ("ef", False)])
def test_a_rebuilt_image_keeps_the_extensions_of_the_same_root(
    store: Store, made: Path, root_hash: str, *, kept: bool
) -> None:
    _store(store, ONE, made)
    store.add(msgspec.structs.replace(IMAGE, root_hash=root_hash), {})
    assert (directory_of(store, IMAGE.label) / "tools.raw").exists() is kept


def test_a_damaged_one_is_told(store: Store, made: Path) -> None:
    _store(store, ONE, made)
    (directory_of(store, IMAGE.label) / "tools.json").write_text("{")
    with pytest.raises(ComposeError, match="is damaged"):
        stored(store, IMAGE.label)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (
            {"other_versions": ["libc6 3, and the image has 2"]},
            "are not those that small_2026.11.0 was made of",
        ),
        ({"missing": ["the library libgone.so.1"]}, "lacks what the extension tools needs: the library"),
        ({"strange": ["etc/hosts"]}, "over /usr and /opt only, not over etc/hosts"),
    ],
)
def test_what_would_not_work_is_refused(tmp_path: Path, result: dict[str, list[str]], said: str) -> None:
    with pytest.raises(ComposeError, match=said):
        _refuse(NOTHING | result, load(recipe(tmp_path)), IMAGE)
