"""Step `packages`: the recipe's Debian packages and what they depend on, installed into a tar.

    packages.tar    the tree as the packages leave it
    packages.json   [{"name", "version", "architecture"}] sorted by name: the inventory

The result stands for what the mirror had when it was made; `as_of` is that time, `--refresh` makes it anew.
"""

from __future__ import annotations

import difflib
import json
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.image.compose import mmdebstrap
from skerry.image.compose.errors import ComposeError
from skerry.image.compose.mirror import KEYRING
from skerry.image.compose.workshop import identity
from skerry.kit.errors import ProblemsError
from skerry.kit.run import ProgramError, run

if TYPE_CHECKING:
    from skerry.image.compose.mirror import Mirror
    from skerry.image.compose.recipe import Recipe
    from skerry.image.compose.workshop import Workshop

STATUS = "./var/lib/dpkg/status"


def make(workshop: Workshop, mirror: Mirror, recipe: Recipe, *, generation: str) -> Path:
    """The directory with the two files. `generation` changes when newer packages are asked for."""
    wanted = sorted({*recipe.packages, recipe.kernel_package})
    given = identity(
        Path(__file__), Path(mmdebstrap.__file__), wanted, recipe.suite, mirror.archive, generation
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
                variant="essential",
                step="packages",
                report=workshop.report,
            )
        except mmdebstrap.UnknownPackageError as error:
            raise _on_their_lines(recipe, mirror, error.names) from error
        inventory = _inventory(archive)
        (directory / "packages.json").write_text(json.dumps(inventory, indent=1) + "\n")
        return f"{len(inventory)} packages"

    return workshop.make("packages", given, produce)


def _on_their_lines(recipe: Recipe, mirror: Mirror, unknown: tuple[str, ...]) -> ProblemsError:
    known = _names(recipe.suite, mirror)
    problems = []
    for name in unknown:
        near = difflib.get_close_matches(name, known, 3, 0.75)
        key = "kernel.package" if name == recipe.kernel_package else "packages.install"
        problems.append(
            recipe.document.problem(
                f"{recipe.suite} has no package {name}",
                key,
                text=name,
                hint=f"did you mean {', '.join(near)}?" if near else None,
            )
        )
    return ProblemsError(f"{recipe.document.file} cannot be built", problems)


def _names(suite: str, mirror: Mirror) -> list[str]:
    """Every package name of the suite, by apt in a directory of its own; empty where apt cannot say."""
    with tempfile.TemporaryDirectory(prefix="skerry-names-") as name:
        root = Path(name)
        for directory in ("lists/partial", "cache/archives/partial", "parts"):
            (root / directory).mkdir(parents=True)
        lines = [line.replace("deb ", f"deb [signed-by={KEYRING}] ", 1) for line in mirror.sources(suite)]
        (root / "sources.list").write_text("\n".join(lines) + "\n")
        options = {
            "Dir::State::lists": root / "lists",
            "Dir::Etc::sourcelist": root / "sources.list",
            "Dir::Etc::sourceparts": root / "parts",
            "Dir::Cache": root / "cache",
            "Acquire::Languages": "none",
        }
        flags = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        try:
            run(["apt-get", *flags, "update"], timeout_s=180)
            return run(["apt-cache", *flags, "pkgnames"]).text.split()
        except ProgramError:
            return []


def _inventory(archive: Path) -> list[dict[str, str]]:
    with tarfile.open(archive) as tar:
        status = tar.extractfile(STATUS)
        if status is None:
            raise ComposeError(f"{archive} holds no dpkg status")
        text = status.read().decode()
    found = []
    for stanza in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status") == "install ok installed":
            keys = ("Package", "Version", "Architecture")
            found.append({key.lower().replace("package", "name"): fields[key] for key in keys})
    return sorted(found, key=lambda package: package["name"])
