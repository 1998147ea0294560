"""Step `tree`: the file system of the image, trimmed and laid over, as a tar.

tree.tar       the tree; an nspawn node boots from exactly this
result.json    what the composer noticed: patterns that matched nothing, libraries that left
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.image.compose import epoch
from skerry.image.compose.errors import ComposeError
from skerry.image.compose.sandbox import SOURCE, Bind
from skerry.image.compose.workshop import identity
from skerry.kit.run import ProgramError

if TYPE_CHECKING:
    from skerry.image.compose.recipe import Recipe
    from skerry.image.compose.sandbox import Sandbox
    from skerry.image.compose.workshop import Workshop

# Of our own code what hosts get, so what a tree depends on.
CODE = ("__init__.py", "kit", "image/__init__.py", "image/release", "image/content", "host", "fleet", "entry")


def make(workshop: Workshop, sandbox: Sandbox, packages: Path, recipe: Recipe) -> Path:
    """The directory with the tree of `recipe`, from the result of step `packages`."""
    spec: dict[str, object] = {
        "modules": recipe.kernel_modules,
        "remove": recipe.remove,
        "keep": recipe.keep,
        "libraries": recipe.libraries,
        "enable": recipe.enable,
        "mask": recipe.mask,
        "os_release": os_release(recipe),
        "epoch": [str(epoch.PRODUCT), str(epoch.of(recipe.version))],
    }
    code = [SOURCE / "skerry" / part for part in CODE]
    trust = [recipe.update.root] if recipe.update.root is not None else []
    spec["update"] = update_settings(recipe)
    given = identity(packages.name, spec, Path(__file__).parent / "inside", *code, *recipe.files, *trust)

    def produce(directory: Path) -> str:
        workshop.room(600 << 20, "the tree")
        with tempfile.TemporaryDirectory(prefix="skerry-tree-") as name:
            written = Path(name, "spec.json")
            written.write_text(json.dumps(spec))
            binds = [
                Bind(packages / "packages.tar", "/in/packages.tar"),
                Bind(packages / "packages.json", "/in/packages.json"),
                Bind(written, "/in/spec.json"),
                Bind(directory, "/out", writable=True),
            ]
            binds += [Bind(files, f"/files/{number}") for number, files in enumerate(recipe.files)]
            binds += [Bind(root, "/in/root.json") for root in trust]
            try:
                sandbox.run_inside("skerry.image.compose.inside.tree", binds=binds, timeout_s=900)
            except ProgramError as error:
                raise ComposeError(f"the tree could not be composed\n{error}") from error
        result = json.loads((directory / "result.json").read_text())
        if result["unknown_modules"]:
            raise recipe.refuse_all(
                f"{recipe.kernel_package} has no module", ("kernel.modules",), result["unknown_modules"]
            )
        if result["unknown_units"]:
            raise recipe.refuse_all("the tree has no unit", ("presets.enable",), result["unknown_units"])
        return f"{result['files']} files"

    return workshop.make("tree", given, produce)


def update_settings(recipe: Recipe) -> list[str]:
    """The lines of update.toml: what a host does about updates until its settings say otherwise."""
    told = {"repository": recipe.update.repository, "channel": recipe.update.channel}
    # A JSON text without control characters is a TOML text too.
    return [f"{key} = {json.dumps(value)}" for key, value in told.items() if value is not None]


def os_release(recipe: Recipe) -> list[str]:
    """os-release(5) of an image."""
    return [
        'NAME="Skerry"',
        "ID=skerry",
        "ID_LIKE=debian",
        "DEFAULT_HOSTNAME=skerry",
        f'PRETTY_NAME="Skerry {recipe.version} (Debian {recipe.suite})"',
        f"VERSION_ID={recipe.version}",
        f"VERSION_CODENAME={recipe.suite}",
        f"IMAGE_ID={recipe.name}",
        f"IMAGE_VERSION={recipe.version}",
    ]
