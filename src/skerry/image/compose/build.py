"""From a recipe to a bootable image: the steps in their order, and the store of finished images.

    CACHE/images/NAME_VERSION/    image.json and links to the steps' results:
        disk.raw  root.erofs  root.verity  skerry.efi  tree.tar  packages.json

An image appears under its name whole or not at all; building the same version again replaces it at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from pathlib import Path

import msgspec

from skerry.image.compose import disk, initrd, mirror, packages, root, stored, tools, tree, uki
from skerry.image.compose.errors import ComposeError
from skerry.image.compose.recipe import Recipe, load
from skerry.image.compose.workshop import Workshop, identity
from skerry.kit.files import write_atomic
from skerry.kit.paths import cache_dir
from skerry.kit.progress import Reporter, silent

FORMAT = 1
OS_DIRECTORY = Path(__file__).parents[4] / "os"
DEFAULT_RECIPE = OS_DIRECTORY / "images" / "skerry.toml"


class Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A finished image. `built` is in seconds since 1970; sizes are in bytes; `steps` are the identities."""

    format: int
    name: str
    version: str
    suite: str
    architecture: str
    root_hash: str
    root_bytes: int
    uki_bytes: int
    disk_bytes: int
    packages: int
    kernel: str
    built: float
    packages_as_of: float
    steps: dict[str, str]

    @property
    def label(self) -> str:
        return f"{self.name}_{self.version}"


class Store:
    """The finished images of this machine."""

    def __init__(self, cache: Path | None = None) -> None:
        self.cache = cache or cache_dir()
        self._images = self.cache / "images"

    def path(self, label: str, file: str = "") -> Path:
        """Where an image's file is."""
        return self._images / label / file

    def list(self) -> list[Image]:
        """Every image, the newest build first."""
        found = [self.read(label) for label in self._labels()]
        return sorted(found, key=lambda image: -image.built)

    def read(self, label: str) -> Image:
        """One image by its label. Raises ComposeError where there is none."""
        file = self.path(label, "image.json")
        try:
            image = msgspec.json.decode(file.read_bytes(), type=Image)
        except FileNotFoundError as error:
            raise self._unknown(label) from error
        except msgspec.DecodeError as error:
            raise ComposeError(f"{file} is damaged: {error}", hint="build the image again") from error
        if image.format != FORMAT:
            raise ComposeError(f"{file} has format {image.format}, and this version knows {FORMAT}")
        return image

    def choose(self, label: str | None) -> Image:
        """One image by its label, the newest where none is named. Raises ComposeError where there is none."""
        if label is not None:
            return self.read(label)
        images = self.list()
        if not images:
            raise ComposeError("no image has been built on this machine", hint="run `skerry image build`")
        return images[0]

    def remove(self, label: str) -> None:
        """Forget an image; what other images share stays in the cache until it is pruned."""
        if label not in self._labels():
            raise self._unknown(label)
        shutil.rmtree(self.path(label))

    def add(self, image: Image, files: dict[str, Path]) -> None:
        """Put a finished image under its name, in one step."""
        self._images.mkdir(parents=True, exist_ok=True)
        with (self._images / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in self._images.glob(".*/"):  # by one that was killed
                shutil.rmtree(left)
            fresh, old = self._images / f".{image.label}", self._images / f".{image.label}.old"
            fresh.mkdir()
            try:
                self._keep_extensions(image, fresh)
                for name, source in files.items():
                    (fresh / name).hardlink_to(source)
                write_atomic(fresh / "image.json", msgspec.json.format(msgspec.json.encode(image)) + b"\n")
                final = self.path(image.label)
                if final.exists():
                    final.rename(old)
                fresh.rename(final)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
                shutil.rmtree(old, ignore_errors=True)

    def _keep_extensions(self, image: Image, fresh: Path) -> None:
        """An image that is built again to the same root keeps its extensions."""
        extensions = self.path(image.label, "extensions")
        if extensions.is_dir() and self.read(image.label).root_hash == image.root_hash:
            shutil.copytree(extensions, fresh / extensions.name, copy_function=os.link)

    def _unknown(self, label: str) -> ComposeError:
        known = self._labels()
        hint = f"there are {', '.join(known)}" if known else "build one with `skerry image build`"
        return ComposeError(f"there is no image {label}", hint=hint)

    def _labels(self) -> tuple[str, ...]:
        """Names that begin with a dot are of images in the making."""
        found = (path.parent.name for path in self._images.glob("*/image.json"))
        return tuple(sorted(name for name in found if not name.startswith(".")))


def build(
    recipe_path: Path = DEFAULT_RECIPE,
    *,
    cache: Path | None = None,
    report: Reporter = silent,
    refresh: bool = False,
) -> Image:
    """Build the image of a recipe, reusing every step whose input is unchanged.

    `refresh` asks for newer packages than those of the last build.
    """
    recipe = load(recipe_path)
    store = Store(cache)
    workshop = Workshop(store.cache, report)
    source = mirror.find_mirror(recipe=recipe.mirror, recipe_security=recipe.security_mirror)
    sandbox = tools.make(workshop, source, recipe.suite)
    generation = _generation(store.cache, recipe, refresh=refresh)
    installed = packages.make(workshop, source, recipe, generation=str(generation))
    composed = tree.make(workshop, sandbox, installed, recipe)
    sealed = root.make(workshop, sandbox, composed, recipe)
    started = initrd.make(workshop, sandbox, installed, recipe, OS_DIRECTORY / "initrd" / "init")
    kernel = stored.make(workshop, sandbox, started)
    unified = uki.make(workshop, sandbox, kernel, started, sealed, recipe)
    whole = disk.make(workshop, sandbox, sealed, unified, recipe)
    seal = root.read_seal(sealed)
    files = {
        "disk.raw": whole / "disk.raw",
        "root.erofs": sealed / "root.erofs",
        "root.verity": sealed / "root.verity",
        "skerry.efi": unified / "skerry.efi",
        "tree.tar": composed / "tree.tar",
        "packages.json": installed / "packages.json",
    }
    made = (sandbox.tools.parent, installed, composed, sealed, started, kernel, unified, whole)
    image = Image(
        format=FORMAT,
        name=recipe.name,
        version=recipe.version,
        suite=recipe.suite,
        architecture=recipe.architecture,
        root_hash=seal.root_hash,
        root_bytes=seal.bytes,
        uki_bytes=files["skerry.efi"].stat().st_size,
        disk_bytes=files["disk.raw"].stat().st_size,
        packages=len(json.loads(files["packages.json"].read_text())),
        kernel=json.loads((started / "result.json").read_text())["kernel"],
        built=time.time(),
        packages_as_of=(installed / "packages.json").stat().st_mtime,
        steps={path.name.rpartition("-")[0]: path.name.rpartition("-")[2] for path in made},
    )  # fmt: skip
    store.add(image, files)
    return image


def tools_of(image: Image, cache: Path | None = None) -> Path:
    """The tools tree an image was built with: whoever converts it uses the same tools."""
    return Store(cache).cache / "steps" / f"tools-{image.steps['tools']}" / "tree"


def _generation(cache: Path, recipe: Recipe, *, refresh: bool) -> int:
    """A number that stays the same until newer packages are asked for, kept for each suite and mirror."""
    file = cache / f"generation-{identity(recipe.suite, recipe.mirror)}"
    try:
        number = int(file.read_text())
    except (FileNotFoundError, ValueError):
        number = 0
    if refresh:
        number += 1
        cache.mkdir(parents=True, exist_ok=True)
        write_atomic(file, str(number))
    return number
