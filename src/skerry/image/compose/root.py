"""Step `root`: the tree as an EROFS image, and its dm-verity hash tree.

    root.erofs      4 KiB blocks, uncompressed (compressed in transport instead: smaller, better deltas)
    root.verity     superblock, then the hash tree
    root.json       {"root_hash", "salt", "blocks", "bytes"}

The salt and the identifiers are fixed per product, so that equal blocks of two versions have equal hashes.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from skerry.image.compose import epoch
from skerry.image.compose.errors import BudgetError, ComposeError
from skerry.image.compose.sandbox import Bind
from skerry.image.compose.workshop import identity

if TYPE_CHECKING:
    from skerry.image.compose.recipe import Recipe
    from skerry.image.compose.sandbox import Sandbox
    from skerry.image.compose.workshop import Workshop

BLOCK_BYTES = 4096
LABEL = 15  # bytes that the name of an EROFS volume may have
SLOT_ROOM = 0.2  # of a slot is left free, so that later versions fit too


class Seal(msgspec.Struct, frozen=True):
    """What the kernel must be told to trust a root."""

    root_hash: str
    salt: str
    blocks: int
    bytes: int


def make(workshop: Workshop, sandbox: Sandbox, tree: Path, recipe: Recipe) -> Path:
    """The directory with the sealed root. Raises BudgetError where it is too large."""
    given = identity(Path(__file__), tree.name, recipe.name, recipe.version)

    def produce(directory: Path) -> str:
        workshop.room(400 << 20, "the root image")
        sealed = seal(sandbox, tree / "tree.tar", directory, recipe.name)
        return f"{sealed.bytes / (1 << 20):.1f} MiB, root hash {sealed.root_hash[:12]}…"

    made = workshop.make("root", given, produce)
    _within_budget(recipe, read_seal(made).bytes)
    return made


def seal(sandbox: Sandbox, archive: Path, directory: Path, product: str, part: str = "root") -> Seal:
    """Make PART.erofs, PART.verity and PART.json in `directory` of the tree in a tar."""
    binds = [Bind(archive, "/in/tree.tar"), Bind(directory, "/out", writable=True)]
    own = "" if part == "root" else f" {part}"
    # The ends of files stand in blocks of their own, not beside the inodes: so a file that grows moves no
    # other. It costs 4 % on the disk and saves 11 % of what an update by blocks fetches (ADR 0008).
    sandbox.run(
        ["mkfs.erofs", "--quiet", "-b", str(BLOCK_BYTES), "-E", "noinline_data",
         "-T", str(epoch.PRODUCT), "--mkfs-time",
         "-U", str(product_uuid(product, f"erofs{own}")), "-L", (product if part == "root" else part)[:LABEL],
         "--tar=f", f"/out/{part}.erofs", "/in/tree.tar"],
        binds=binds,
    )  # fmt: skip
    image = directory / f"{part}.erofs"
    _pad(image)
    salt = hashlib.sha256(f"skerry verity salt {product}".encode()).hexdigest()
    said = sandbox.run(
        ["veritysetup", "format", f"/out/{part}.erofs", f"/out/{part}.verity", f"--salt={salt}",
         "--hash=sha256", f"--uuid={product_uuid(product, f'verity{own}')}"],
        binds=binds,
    ).text  # fmt: skip
    found = re.search(r"Root hash:\s+([0-9a-f]{64})", said)
    if found is None:
        raise ComposeError(f"veritysetup told no root hash\n{said}")
    size = image.stat().st_size
    sealed = Seal(found.group(1), salt, size // BLOCK_BYTES, size)
    (directory / f"{part}.json").write_bytes(msgspec.json.encode(sealed) + b"\n")
    return sealed


def read_seal(directory: Path) -> Seal:
    """The seal that the step left."""
    return msgspec.json.decode((directory / "root.json").read_bytes(), type=Seal)


def product_uuid(name: str, what: str) -> uuid.UUID:
    """An identifier that is the same in every build of a product, so that builds are comparable."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"skerry:{name}:{what}")


def _pad(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(-(-size // BLOCK_BYTES) * BLOCK_BYTES)


def _within_budget(recipe: Recipe, size: int) -> None:
    budget = recipe.root_budget_mib << 20
    if size > budget:
        raise BudgetError(
            f"the root is {size / (1 << 20):.1f} MiB and the recipe allows {recipe.root_budget_mib} MiB",
            hint="remove packages or files, or raise budget.root_mib in the recipe",
        )
    if size > (recipe.disk.slot_mib << 20) * (1 - SLOT_ROOM):
        raise BudgetError(
            f"the root is {size >> 20} MiB: less than {SLOT_ROOM:.0%} of its {recipe.disk.slot_mib} MiB slot "
            "would be free",
            hint="a slot never grows on a host: make the image smaller, or disk.slot_mib larger "
            "before the first release",
        )
