"""How a host comes by a part with the fewest bytes: the same, a patch, blocks, or all of it. Pure.

    same     an older version on this host has it, byte for byte: nothing is fetched
    patch    made for exactly a version that this host has
    blocks   the index, and the frames of the pack with blocks that a version on this host has not
    full     the whole part, compressed; nothing ever costs more

All that is decided on is in the signed manifest: sizes of blobs, and what each release that was published
before lacks of the pack. To look into the index first would cost its bytes, also where blocks do not win.
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


def blocks_for(part: Part, bases: Sequence[Base]) -> tuple[int, Base] | None:
    """What blocks cost, index and all, and from which version that is here; None where that is not known."""
    known = part.blocks_from
    fitting = [(part.index.size + known[base.sha256], base) for base in bases if base.sha256 in known]
    return min(fitting, key=lambda one: one[0], default=None)


def choose(part: Part, bases: Sequence[Base]) -> PartPlan:
    """The way that fetches least; of equals the simpler one."""
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
    by_blocks = blocks_for(part, bases)
    if by_blocks is not None:
        cost, base = by_blocks
        why = f"most blocks are here already, in {base.version}"
        plans.append(PartPlan(part.name, Kind.BLOCKS, cost, why, base.version))
    return min(plans, key=lambda plan: plan.bytes_to_fetch)


def _why_full(bases: Sequence[Base]) -> str:
    if not bases:
        return "no older version is here to make it from"
    return "nothing that is here makes it smaller"
