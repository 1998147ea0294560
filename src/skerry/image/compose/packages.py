"""Step `packages`: the recipe's Debian packages and what they depend on, installed into a tar.

    packages.tar    the tree as the packages leave it
    packages.json   [{"name", "version", "architecture", "size"}] sorted by name: the inventory; bytes

The result stands for what the mirror had when it was made; `as_of` is that time, `--refresh` makes it anew.
"""

from __future__ import annotations

import difflib
import json
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.image.compose import mmdebstrap
from skerry.image.compose.errors import ComposeError
from skerry.image.compose.workshop import identity

if TYPE_CHECKING:
    from skerry.image.compose.mirror import Mirror
    from skerry.image.compose.recipe import Recipe
    from skerry.image.compose.workshop import Workshop
    from skerry.kit.errors import ProblemsError

STATUS = "./var/lib/dpkg/status"


def make(workshop: Workshop, mirror: Mirror, recipe: Recipe, *, generation: str) -> Path:
    """The directory with the two files. `generation` changes when newer packages are asked for."""
    wanted = sorted({*recipe.packages, recipe.kernel_package})
    given = identity(
        Path(__file__),
        Path(mmdebstrap.__file__),
        wanted,
        mirror.sources(recipe.suite, pockets=recipe.pockets),
        generation,
    )

    def produce(directory: Path) -> str:
        workshop.room(1500 << 20, "installing packages")
        archive = directory / "packages.tar"
        try:
            mmdebstrap.bootstrap(
                archive,
                recipe.suite,
                mirror,
                wanted,
                pockets=recipe.pockets,
                variant="essential",
                step="packages",
                report=workshop.report,
            )
        except mmdebstrap.UnknownPackageError as error:
            raise _on_their_lines(recipe, error) from error
        inventory = _inventory(archive)
        (directory / "packages.json").write_text(json.dumps(inventory, indent=1) + "\n")
        return f"{len(inventory)} packages"

    return workshop.make("packages", given, produce)


def _on_their_lines(recipe: Recipe, error: mmdebstrap.UnknownPackageError) -> ProblemsError:
    # apt's list also has the names that it was only asked for.
    known = set(error.known) - set(error.names)
    near = {name: difflib.get_close_matches(name, sorted(known), 3, 0.75) for name in error.names}
    keys = ("packages.install", "kernel.package")
    return recipe.refuse_all(f"{recipe.suite} has no package", keys, error.names, near)


def _inventory(archive: Path) -> list[dict[str, str | int]]:
    with tarfile.open(archive) as tar:
        try:
            status = tar.extractfile(STATUS)
        except KeyError:
            status = None
        if status is None:
            raise ComposeError(f"{archive} holds no dpkg status")
        text = status.read().decode()
    found: list[dict[str, str | int]] = []
    for stanza in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status") == "install ok installed":
            keys = ("Package", "Version", "Architecture")
            size = int(fields.get("Installed-Size", 0)) * 1024  # in KiB: deb-control(5)
            named = {key.lower().replace("package", "name"): fields[key] for key in keys}
            found.append({**named, "size": size})
    return sorted(found, key=lambda package: str(package["name"]))
