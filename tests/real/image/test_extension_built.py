"""A real extension of the shipped image: what is in it, that it is sealed, that its programs run."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from skerry.image.compose import extension
from skerry.image.compose.build import Image, Store
from skerry.image.compose.errors import ComposeError
from skerry.image.compose.sandbox import MOUNT_POINTS, Bind, Sandbox
from skerry.kit.errors import ProblemsError

if TYPE_CHECKING:
    from pathlib import Path

TOOLS = 'format = 1\nname = "{name}"\n[packages]\ninstall = ["{package}"]\n[tree]\nfiles = ["over"]\n'


@pytest.fixture(scope="module")
def own_store(image: Image, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with the image in it, whose steps are the machine's."""
    own = Store(tmp_path_factory.mktemp("cache"))
    (own.cache / "steps").symlink_to(store.cache / "steps")
    names = ("tree.tar", "packages.json")
    own.add(image, {name: store.path(image.label, name).resolve() for name in names})
    return own


def recipe(directory: Path, name: str, package: str, file: str = "usr/share/skerry/hello") -> Path:
    (directory / "over" / file).parent.mkdir(parents=True)
    (directory / "over" / file).write_text("hello\n")
    path = directory / f"{name}.toml"
    path.write_text(TOOLS.format(name=name, package=package))
    return path


@pytest.fixture(scope="module")
def built(own_store: Store, image: Image, tmp_path_factory: pytest.TempPathFactory) -> extension.Extension:
    path = recipe(tmp_path_factory.mktemp("recipe"), "tools", "jq")
    return extension.build(extension.load(path), image, store=own_store)


@pytest.fixture(scope="module")
def tree(
    built: extension.Extension, own_store: Store, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What is in the extension, as the real tool reads it."""
    out = tmp_path_factory.mktemp("out")
    raw = extension.directory_of(own_store, built.image) / "tools.raw"
    binds = [Bind(raw, "/in/tools.raw"), Bind(out, "/out", writable=True)]
    sandbox.run(["fsck.erofs", "--extract=/out/tree", "/in/tools.raw"], binds=binds)
    return out / "tree"


def test_it_holds_what_its_packages_add_and_nothing_of_the_image(
    built: extension.Extension, tree: Path, own_store: Store
) -> None:
    assert {package.name for package in built.packages} == {"jq", "libjq1", "libonig5"}
    listed = subprocess.run(
        ["tar", "-t", "-f", str(own_store.path(built.image, "tree.tar"))],
        check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    files = {str(path.relative_to(tree)) for path in tree.rglob("*") if not path.is_dir()}
    assert "usr/bin/jq" in files
    assert "usr/share/skerry/hello" in files
    assert files & {name.removeprefix("./") for name in listed} == set()
    assert {path.split("/")[0] for path in files} == {"usr"}
    assert not [path for path in files if path.startswith("usr/share/doc")]


def test_it_says_which_host_it_is_for(tree: Path, image: Image) -> None:
    text = (tree / "usr/lib/extension-release.d/extension-release.tools").read_text()
    assert text.splitlines() == ["ID=skerry", f"VERSION_ID={image.version}", "ARCHITECTURE=x86-64"]


def test_it_is_sealed(built: extension.Extension, own_store: Store, sandbox: Sandbox) -> None:
    binds = [Bind(extension.directory_of(own_store, built.image), "/in")]
    sandbox.run(["veritysetup", "verify", "/in/tools.raw", "/in/tools.verity", built.root_hash], binds=binds)
    roothash = extension.directory_of(own_store, built.image) / "tools.roothash"
    assert roothash.read_text() == f"{built.root_hash}\n"


def test_its_program_runs_on_the_image_with_it_merged(
    tree: Path, built: extension.Extension, own_store: Store, tmp_path: Path
) -> None:
    archive = str(own_store.path(built.image, "tree.tar"))
    subprocess.run(["tar", "-x", "-f", archive, "-C", str(tmp_path), "--no-same-owner"], check=True)
    subprocess.run(["cp", "-r", f"{tree}/usr", str(tmp_path)], check=True)
    for name in MOUNT_POINTS:
        (tmp_path / name).mkdir(exist_ok=True)
    assert Sandbox(tmp_path).run(["/usr/bin/jq", "-n", "-c", "[1+1]"]).text == "[2]\n"


def test_the_same_input_gives_the_same_extension(
    built: extension.Extension, image: Image, own_store: Store, tmp_path: Path
) -> None:
    made = extension.load(recipe(tmp_path, "tools", "jq"))
    other = Store(tmp_path / "cache")
    steps = own_store.cache / "steps"
    (other.cache / "steps").mkdir(parents=True)
    for path in (*steps.glob("extension-packages-*"), steps / f"tools-{image.steps['tools']}"):
        (other.cache / "steps" / path.name).symlink_to(path)
    names = ("tree.tar", "packages.json")
    other.add(image, {name: own_store.path(image.label, name).resolve() for name in names})
    assert extension.build(made, image, store=other).root_hash == built.root_hash


def test_a_package_that_is_not_there_is_on_its_line(image: Image, own_store: Store, tmp_path: Path) -> None:
    path = recipe(tmp_path, "gone", "jqq-gone")
    with pytest.raises(ProblemsError, match="trixie has no package jqq-gone") as error:
        extension.build(extension.load(path), image, store=own_store)
    assert error.value.problems[0].line == 4


def test_files_outside_of_usr_are_refused(image: Image, own_store: Store, tmp_path: Path) -> None:
    path = recipe(tmp_path, "strange", "jq", "etc/strange.conf")
    with pytest.raises(ComposeError, match=r"not over etc/strange\.conf"):
        extension.build(extension.load(path), image, store=own_store)
    assert [one.name for one in extension.stored(own_store, image.label) if one.name == "strange"] == []
