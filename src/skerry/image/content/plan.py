"""How a host comes by a part with the fewest bytes: the same, a patch, blocks, or all of it. Pure.

    same     an older version on this host has it, byte for byte: nothing is fetched
    patch    made for exactly a version that this host has
    blocks   the index, and the frames of the pack with blocks that this host has not
    full     the whole part, compressed; nothing ever costs more

Looking into the index costs its bytes, so `worth_looking` says first whether blocks can win at all.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from skerry.image.release.manifest import Patch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skerry.image.release.manifest import Part


class Kind(enum.StrEnum):
    SAME = "same"
    PATCH = "patch"
    BLOCKS = "blocks"
    FULL = "full"


class Base(msgspec.Struct, frozen=True):
    """An older version's part on this host: a slot's device or a file, `size` raw bytes of it.

    `sha256` is from that version's signed manifest, None where there is none: then no patch can be taken.
    `verity` is its hash device, which tells its blocks without reading it. Only what was verified at its own
    installation belongs here; what is made of it is verified again in any case.
    """

    version: str
    path: Path
    size: int
    sha256: str | None = None
    verity: Path | None = None


class PartPlan(msgspec.Struct, frozen=True):
    """How one part is had. `bytes_to_fetch` of the network; `base` the version it is made from, if of one."""

    part: str
    kind: Kind
    bytes_to_fetch: int
    why: str
    base: str | None = None
    patch: Patch | None = None


def patch_for(part: Part, bases: Sequence[Base]) -> tuple[Patch, Base] | None:
    """The smallest patch that fits a version which is here."""
    fitting = [(patch, base) for patch in part.patches for base in bases if base.sha256 == patch.from_sha256]
    return min(fitting, key=lambda one: one[0].blob.size, default=None)


def worth_looking(part: Part, bases: Sequence[Base]) -> bool:
    """Whether to fetch the index: not where nothing is to be found, nor where a patch costs as little."""
    if not bases or any(base.sha256 == part.sha256 for base in bases):
        return False
    found = patch_for(part, bases)
    return part.index.size < (part.full.size if found is None else found[0].blob.size) / 8


def choose(part: Part, bases: Sequence[Base], *, pack_bytes: int | None = None) -> PartPlan:
    """The way that fetches least; of equals the simpler one.

    `pack_bytes` is how much of the pack is needed (blocks.locate); None where nobody looked.
    """
    for base in bases:
        if base.sha256 == part.sha256:
            return PartPlan(part.name, Kind.SAME, 0, f"{base.version} has the same {part.name}", base.version)
    plans = [PartPlan(part.name, Kind.FULL, part.full.size, _why_full(bases))]
    found = patch_for(part, bases)
    if found is not None:
        patch, base = found
        plans.append(
            PartPlan(
                part.name, Kind.PATCH, patch.blob.size, f"a patch from {base.version} is the smallest",
                base.version, patch,
            )
        )  # fmt: skip
    if pack_bytes is not None:
        cost = part.index.size + pack_bytes
        of = " and ".join(base.version for base in bases)
        plans.append(
            PartPlan(part.name, Kind.BLOCKS, cost, f"most blocks are here already, in {of}", bases[0].version)
            if bases
            else PartPlan(part.name, Kind.BLOCKS, cost, "its blocks come to less than the whole")
        )
    return min(plans, key=lambda plan: plan.bytes_to_fetch)


def _why_full(bases: Sequence[Base]) -> str:
    if not bases:
        return "no older version is here to make it from"
    return "nothing that is here makes it smaller"
