"""System extensions: Debian packages on top of one image, merged into its /usr by systemd-sysext.

    NAME.raw       EROFS of usr/ and opt/: what the packages add, and extension-release.NAME that says to what
    NAME.verity    its dm-verity hash tree, with the salt of the product
    NAME.roothash  its root hash, in hexadecimal
    NAME.json      Extension, as below

An extension belongs to one build of one version of an image: it is stored in that image's directory, under
extensions, and leaves with it. See systemd-sysext(8), and for its recipe docs/reference/extensions.md.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from skerry.image.compose import epoch, mirror, mmdebstrap, reader, root
from skerry.image.compose.build import Store, tools_of
from skerry.image.compose.errors import ComposeError
from skerry.image.compose.recipe import ADDRESS, PACKAGE
from skerry.image.compose.sandbox import Bind, Sandbox
from skerry.image.compose.workshop import Workshop, identity
from skerry.kit.errors import ProblemsError
from skerry.kit.files import sync_directory, write_atomic
from skerry.kit.progress import Reporter, silent
from skerry.kit.run import ProgramError

if TYPE_CHECKING:
    from skerry.image.compose.build import Image
    from skerry.image.compose.layers import Layers
    from skerry.image.compose.mirror import Mirror
    from skerry.image.compose.reader import Reader

FORMAT = 1
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}", re.ASCII)
# systemd's names: https://www.freedesktop.org/software/systemd/man/257/os-release.html#ARCHITECTURE=
ARCHITECTURES = {"amd64": "x86-64"}
KEEP_PACKAGES = 'mkdir "$1/skerry-debs" && cp "$1"/var/cache/apt/archives/*.deb "$1/skerry-debs/"'


@dataclass(frozen=True, slots=True)
class ExtensionRecipe:
    """One extension, as declared."""

    name: str
    packages: tuple[str, ...]
    pockets: tuple[str, ...]
    files: tuple[Path, ...]
    remove: tuple[str, ...]
    mirror: str | None
    security_mirror: str | None
    document: Layers


class Package(msgspec.Struct, frozen=True):
    """A Debian package in an extension."""

    name: str
    version: str
    architecture: str


class Extension(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A finished extension; `left_out` are files of its packages outside of /usr and /opt."""

    format: int
    name: str
    image: str
    image_root_hash: str
    root_hash: str
    bytes: int
    packages: tuple[Package, ...]
    libraries: tuple[str, ...]
    left_out: tuple[str, ...]


def load(path: Path) -> ExtensionRecipe:
    """Read an extension's recipe. Raises ComposeError, or ProblemsError with every mistake on its line."""
    return reader.load(path, _read)


def keys() -> frozenset[str]:
    """Every key that an extension's recipe may have, dotted."""
    return reader.keys(_read)


def _read(read: Reader, document: Layers) -> ExtensionRecipe:
    read.formats()
    where = "an http, https or file address"
    return ExtensionRecipe(
        name=read.word("name", NAME, "a name", hint="small letters, digits and -, at most 32") or "",
        packages=read.words("packages.install", PACKAGE, "the name of a Debian package"),
        pockets=read.pockets("packages.pockets"),
        files=read.directories("tree.files", required=False),
        remove=read.paths("tree.remove", required=False),
        mirror=read.word("mirror.archive", ADDRESS, where, required=False),
        security_mirror=read.word("mirror.security", ADDRESS, where, required=False),
        document=document,
    )


def directory_of(store: Store, label: str) -> Path:
    """Where the extensions of an image are."""
    return store.path(label, "extensions")


def stored(store: Store, label: str) -> tuple[Extension, ...]:
    """The extensions of an image, by name. Raises ComposeError where there is no such image."""
    store.read(label)
    found = []
    for file in sorted(directory_of(store, label).glob("*.json")):
        try:
            found.append(msgspec.json.decode(file.read_bytes(), type=Extension))
        except msgspec.DecodeError as error:
            raise ComposeError(f"{file} is damaged: {error}", hint="build the extension again") from error
    return tuple(found)


def read(store: Store, label: str, name: str) -> Extension:
    """One extension of an image."""
    known = {one.name: one for one in stored(store, label)}
    if name not in known:
        hint = f"there are {', '.join(known)}" if known else "build one with `skerry image extension build`"
        raise ComposeError(f"{label} has no extension {name}", hint=hint)
    return known[name]


def remove(store: Store, label: str, name: str) -> None:
    """Forget an extension."""
    read(store, label, name)
    for suffix in ("json", "raw", "verity", "roothash"):  # what names it goes first
        (directory_of(store, label) / f"{name}.{suffix}").unlink(missing_ok=True)


def build(
    recipe: ExtensionRecipe, image: Image, *, store: Store | None = None, report: Reporter = silent,
    refresh: bool = False,
) -> Extension:  # fmt: skip
    """Build an extension of an image and store it there, in place of one of the same name."""
    store = store or Store()
    workshop = Workshop(store.cache, report)
    tools = tools_of(image, store.cache)
    if not tools.is_dir():
        raise ComposeError("the tools that built this image are gone", hint="run `skerry image build` again")
    sandbox = Sandbox(tools)
    source = mirror.find_mirror(recipe=recipe.mirror, recipe_security=recipe.security_mirror)
    debs = _packages(workshop, source, recipe, image, refresh=refresh)
    made = _sealed(workshop, sandbox, debs, recipe, image, store)
    result = json.loads((made / "result.json").read_text())
    seal = msgspec.json.decode((made / f"{recipe.name}.json").read_bytes(), type=root.Seal)
    one = Extension(
        format=FORMAT,
        name=recipe.name,
        image=image.label,
        image_root_hash=image.root_hash,
        root_hash=seal.root_hash,
        bytes=seal.bytes,
        packages=tuple(Package(**package) for package in result["packages"]),
        libraries=tuple(result["libraries"]),
        left_out=tuple(result["left_out"]),
    )
    _store(store, one, made)
    return one


def _packages(
    workshop: Workshop, source: Mirror, recipe: ExtensionRecipe, image: Image, *, refresh: bool
) -> Path:
    """Step `extension-packages`: the packages and what they depend on, as files in a tar."""
    sources = source.sources(image.suite, pockets=recipe.pockets)
    wanted = sorted(recipe.packages)
    # What the mirror has must be what the image was made of, so a new image asks anew.
    given = identity(Path(__file__), Path(mmdebstrap.__file__), wanted, sources, image.steps["packages"])

    def produce(directory: Path) -> str:
        workshop.room(500 << 20, "the packages")
        try:
            mmdebstrap.bootstrap(
                directory / "debs.tar", image.suite, source, wanted, pockets=recipe.pockets,
                variant="extract", step="extension-packages", report=workshop.report, hooks=(KEEP_PACKAGES,),
            )  # fmt: skip
        except mmdebstrap.UnknownPackageError as error:
            problems = [
                recipe.document.problem(f"{image.suite} has no package {name}", "packages.install", text=name)
                for name in error.names
            ]
            raise ProblemsError(f"{recipe.document.file} cannot be built", problems) from error
        return ""

    if refresh:
        workshop.forget("extension-packages", given)
    return workshop.make("extension-packages", given, produce)


def _sealed(
    workshop: Workshop, sandbox: Sandbox, debs: Path, recipe: ExtensionRecipe, image: Image, store: Store
) -> Path:
    """Step `extension`: the sealed image."""
    inventory = json.loads(store.path(image.label, "packages.json").read_text())
    spec: dict[str, object] = {
        "name": [recipe.name],
        "remove": recipe.remove,
        "inventory": inventory,
        "release": extension_release(image),
        "epoch": [str(epoch.PRODUCT)],
    }
    code = (Path(__file__), Path(root.__file__), Path(__file__).parent / "inside")
    given = identity(*code, debs.name, image.steps["tree"], image.name, spec, *recipe.files)

    def produce(directory: Path) -> str:
        with tempfile.TemporaryDirectory(prefix="skerry-extension-") as name:
            written = Path(name, "spec.json")
            written.write_text(json.dumps(spec))
            binds = [
                Bind(debs / "debs.tar", "/in/debs.tar"),
                Bind(store.path(image.label, "tree.tar"), "/in/tree.tar"),
                Bind(written, "/in/spec.json"),
                Bind(directory, "/out", writable=True),
            ]
            binds += [Bind(files, f"/files/{number}") for number, files in enumerate(recipe.files)]
            try:
                sandbox.run_inside("skerry.image.compose.inside.extension", binds=binds)
            except ProgramError as error:
                raise ComposeError(f"the extension could not be composed\n{error}") from error
        result = json.loads((directory / "result.json").read_text())
        _refuse(result, recipe, image)
        seal = root.seal(sandbox, directory / "extension.tar", directory, image.name, recipe.name)
        return f"{result['files']} files, {seal.bytes / (1 << 20):.1f} MiB"

    return workshop.make("extension", given, produce)


def _refuse(result: dict[str, list[str]], recipe: ExtensionRecipe, image: Image) -> None:
    """Raise ComposeError for what would not work on a host."""
    if result["other_versions"]:
        raise ComposeError(
            f"packages are not those that {image.label} was made of: {'; '.join(result['other_versions'])}",
            hint="build the image again with --refresh, or take the same pockets, then the extension",
        )
    if result["missing"]:
        raise ComposeError(
            f"{image.label} lacks what the extension {recipe.name} needs: {', '.join(result['missing'])}",
            hint="name the package that has it in packages.install, or keep it in the image",
        )
    if result["strange"]:
        raise ComposeError(
            f"an extension is laid over /usr and /opt only, not over {', '.join(result['strange'][:5])}",
            hint="tree.files of an extension hold usr and opt",
        )


def extension_release(image: Image) -> list[str]:
    """Which host an extension is for: this very version, see os-release(5)."""
    return [
        "ID=skerry",
        f"VERSION_ID={image.version}",
        f"ARCHITECTURE={ARCHITECTURES[image.architecture]}",
    ]


def _store(store: Store, one: Extension, made: Path) -> None:
    """Put the files beside the image; NAME.json, which says that it is there, goes first and comes last."""
    directory = directory_of(store, one.image)
    directory.mkdir(exist_ok=True)
    (directory / f"{one.name}.json").unlink(missing_ok=True)
    for source, suffix in (("erofs", "raw"), ("verity", "verity")):
        partial = directory / f".{one.name}.{suffix}"
        shutil.copyfile(made / f"{one.name}.{source}", partial)
        partial.rename(directory / f"{one.name}.{suffix}")
    write_atomic(directory / f"{one.name}.roothash", f"{one.root_hash}\n")
    sync_directory(directory)
    content = msgspec.json.format(msgspec.json.encode(one)) + b"\n"
    write_atomic(directory / f"{one.name}.json", content)
