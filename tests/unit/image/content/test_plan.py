"""The planner: the fewest bytes, and it says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.image.content.plan import Base, Kind, choose
from skerry.image.release.manifest import Blob, Part, Patch

HASHES = [f"{one:064x}" for one in range(6)]


def blob(size: int) -> Blob:
    return Blob("f" * 64, size)


def part(
    *,
    full: int = 1000,
    index: int = 10,
    patches: tuple[Patch, ...] = (),
    needed: dict[int, int] | None = None,
) -> Part:
    """`needed`: bytes of the pack by the number of the base."""
    reach = {HASHES[number]: size for number, size in (needed or {}).items()}
    return Part("root", 4096, HASHES[0], blob(full), blob(index), blob(2000), patches, blocks_from=reach)


def base(number: int, *, known: bool = True) -> Base:
    return Base(f"2026.{number}.0", Path("/dev/null"), 4096, HASHES[number] if known else None)


def patch(number: int, size: int) -> Patch:
    return Patch(f"2026.{number}.0", HASHES[number], blob(size))


CASES = [
    ("nothing is here", part(), [], Kind.FULL, 1000, "no older version"),
    ("the same is here", part(needed={1: 5}), [base(1), base(0)], Kind.SAME, 0, "2026.0.0 has the same root"),
    ("a patch", part(patches=(patch(1, 50),)), [base(1)], Kind.PATCH, 50, "from 2026.1.0"),
    ("two", part(patches=(patch(1, 50), patch(2, 40))), [base(1), base(2)], Kind.PATCH, 40, "2026.2.0"),
    ("a patch for another", part(patches=(patch(1, 50),)), [base(2)], Kind.FULL, 1000, "nothing"),
    ("unknown", part(patches=(patch(1, 50),)), [base(1, known=False)], Kind.FULL, 1000, "nothing"),
    ("a patch larger than all", part(patches=(patch(1, 1001),)), [base(1)], Kind.FULL, 1000, "nothing"),
    ("blocks", part(needed={1: 300}), [base(1)], Kind.BLOCKS, 310, "in 2026.1.0"),
    ("of two", part(needed={1: 300, 2: 200}), [base(1), base(2)], Kind.BLOCKS, 210, "in 2026.2.0"),
    ("blocks of another", part(needed={2: 300}), [base(1)], Kind.FULL, 1000, "nothing"),
    ("of what is not known", part(needed={1: 300}), [base(1, known=False)], Kind.FULL, 1000, "nothing"),
    ("blocks, patch", part(patches=(patch(1, 311),), needed={1: 300}), [base(1)], Kind.BLOCKS, 310, "blocks"),
    ("patch, blocks", part(patches=(patch(1, 310),), needed={1: 300}), [base(1)], Kind.PATCH, 310, "patch"),
    ("the index tips it", part(needed={1: 991}), [base(1)], Kind.FULL, 1000, "nothing"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("release", "bases", "kind", "size", "why"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_way_that_is_taken(release: Part, bases: list[Base], kind: Kind, size: int, why: str) -> None:
    plan = choose(release, bases)
    assert (plan.kind, plan.bytes_to_fetch) == (kind, size)
    assert why in plan.why


patches = st.lists(st.builds(patch, st.integers(1, 5), st.integers(1, 3000)), max_size=5).map(tuple)
reaches = st.dictionaries(st.integers(1, 5), st.integers(0, 3000))
parts = st.builds(
    part, full=st.integers(1, 2000), index=st.integers(1, 2000), patches=patches, needed=reaches
)
bases = st.lists(st.builds(base, st.integers(0, 5), known=st.booleans()), max_size=4)


@given(parts, bases)
def test_never_more_than_full_and_always_possible(release: Part, here: list[Base]) -> None:
    plan = choose(release, here)
    assert plan.bytes_to_fetch <= release.full.size
    assert plan.why
    hashes = {one.sha256 for one in here if one.version == plan.base}
    if plan.kind is Kind.PATCH:
        assert plan.patch in release.patches
        assert plan.patch is not None
        assert plan.patch.from_sha256 in hashes
    if plan.kind is Kind.SAME:
        assert release.sha256 in hashes
    if plan.kind is Kind.BLOCKS:
        known = [release.blocks_from[one] for one in hashes if one in release.blocks_from]
        assert plan.bytes_to_fetch - release.index.size in known


@given(parts, bases)
def test_having_more_never_costs_more(release: Part, here: list[Base]) -> None:
    assert choose(release, here).bytes_to_fetch <= choose(release, here[1:]).bytes_to_fetch
