"""Skerry's own ways from one image to the next: published by image.content, and made by it as on a host."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from skerry.image.compose.build import Store
from skerry.image.content.plan import Base
from skerry.image.content.publish import Older, Raw, parts_of, sha256_of
from updates.measure import Cost, cost, same

if TYPE_CHECKING:
    from skerry.image.release.manifest import Part
    from updates.pair import Side
    from updates.served import Served

PROGRAM = Path(__file__).resolve().parents[1] / "programs" / "update_part.py"
FILES = {"root": "root.erofs", "uki": "skerry.efi"}


class NotTakenError(Exception):
    """The host chose another way."""


def publish(old: Side, new: Side, directory: Path) -> dict[str, Part]:
    """The parts of the new image, with their blobs where a server of `directory` has them."""
    raw = (
        Raw("root", new.path("root.erofs"), new.path("root.verity"), new.root_hash),
        Raw("uki", new.path("skerry.efi")),
    )
    older = tuple(Older(name, old.version, old.path(file)) for name, file in FILES.items())
    made = parts_of(raw, older, Store().cache / "releases")  # where `skerry release publish` makes them
    for one in made:
        for blob in one.part.blobs:
            path = directory / blob.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            os.link(one.files[blob.sha256], path)
    return {one.part.name: one.part for one in made}


def apply(part: Part, way: str, old: Side, new: Side, served: Served, scratch: Path) -> Cost:
    """Make a part by "patch", "blocks" or "full". Raises NotTakenError where another way was less."""
    file = FILES[part.name]
    base = Base(
        old.version, old.path(file), old.path(file).stat().st_size, sha256_of(old.path(file)),
        old.path("root.verity") if part.name == "root" else None,
    )  # fmt: skip
    if way == "blocks":
        part = msgspec.structs.replace(part, patches=())
    tree = scratch / "new.verity" if part.name == "root" else None
    job = {
        "part": part, "bases": [] if way == "full" else [base], "url": served.url, "blobs": scratch / "blobs",
        "target": scratch / "new", "hashes": tree,
    }  # fmt: skip
    (scratch / "job.json").write_bytes(msgspec.json.encode(job, enc_hook=str))
    served.reset()
    said = scratch / "said"
    script = f'exec "$0" "$1" "$2" >{said}'
    used = cost(["sh", "-c", script, sys.executable, PROGRAM, scratch / "job.json"])
    if (how := said.read_text().strip()) != way:
        raise NotTakenError(f"{part.name} by {way} would be more than by {how}")
    same(scratch / "new", new.path(file))
    if tree is not None:
        same(tree, new.path("root.verity"))
    return Cost(served.bytes) + used
