"""Step `initrd`: the kernel as packaged, and the little that brings it to the sealed root.

vmlinuz         the kernel, byte for byte from its package
initrd.cpio     os/initrd/init, its modules and two programs; compressed in transport only
result.json     {"kernel": release, "modules": […]}
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.image.compose import epoch
from skerry.image.compose.errors import ComposeError
from skerry.image.compose.sandbox import Bind
from skerry.image.compose.workshop import identity
from skerry.kit.run import ProgramError

if TYPE_CHECKING:
    from skerry.image.compose.recipe import Recipe
    from skerry.image.compose.sandbox import Sandbox
    from skerry.image.compose.workshop import Workshop


def make(workshop: Workshop, sandbox: Sandbox, packages: Path, recipe: Recipe, init: Path) -> Path:
    """The directory with kernel and initrd, from the result of step `packages`; `init` is the script."""
    spec = {
        "modules": [*recipe.initrd_needed, *recipe.initrd_modules],
        "needed": recipe.initrd_needed,
        "programs": recipe.initrd_programs,
        "epoch": [str(epoch.PRODUCT)],
    }
    given = identity(Path(__file__), packages.name, spec, init, Path(__file__).parent / "inside")

    def produce(directory: Path) -> str:
        with tempfile.TemporaryDirectory(prefix="skerry-initrd-") as name:
            written = Path(name, "spec.json")
            written.write_text(json.dumps(spec))
            binds = [
                Bind(packages / "packages.tar", "/in/packages.tar"),
                Bind(written, "/in/spec.json"),
                Bind(init, "/in/init"),
                Bind(directory, "/out", writable=True),
            ]
            try:
                sandbox.run_inside("skerry.image.compose.inside.initrd", binds=binds)
            except ProgramError as error:
                raise ComposeError(f"the initrd could not be made\n{error}") from error
            result = json.loads((directory / "result.json").read_text())
            if result["unknown_modules"]:
                raise recipe.refuse_all(
                    f"{recipe.kernel_package} has no module", ("initrd.needed", "initrd.modules"),
                    result["unknown_modules"],
                )  # fmt: skip
            if result["unknown_programs"]:
                raise recipe.refuse_all(
                    "the packages have no program", ("initrd.programs",), result["unknown_programs"]
                )
        size = (directory / "initrd.cpio").stat().st_size
        return f"kernel {result['kernel']}, initrd {size / (1 << 20):.1f} MiB"

    return workshop.make("initrd", given, produce)
