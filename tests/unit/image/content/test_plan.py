"""The planner: the fewest bytes, and it says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.image.content.plan import Base, Kind, choose, worth_looking
from skerry.image.release.manifest import Blob, Part, Patch

HASHES = [f"{one:064x}" for one in range(6)]


def blob(size: int) -> Blob:
    return Blob("f" * 64, size)


def part(*, full: int = 1000, index: int = 10, patches: tuple[Patch, ...] = ()) -> Part:
    return Part("root", 4096, HASHES[0], blob(full), blob(index), blob(2000), patches)


def base(number: int, *, known: bool = True) -> Base:
    return Base(f"2026.{number}.0", Path("/dev/null"), 4096, HASHES[number] if known else None)


def patch(number: int, size: int) -> Patch:
    return Patch(f"2026.{number}.0", HASHES[number], blob(size))


CASES = [
    ("nothing is here", part(), [], None, Kind.FULL, 1000, "no older version"),
    ("the same is here", part(), [base(1), base(0)], 5, Kind.SAME, 0, "2026.0.0 has the same root"),
    ("a patch", part(patches=(patch(1, 50),)), [base(1)], None, Kind.PATCH, 50, "from 2026.1.0"),
    ("two", part(patches=(patch(1, 50), patch(2, 40))), [base(1), base(2)], None, Kind.PATCH, 40, "2026.2.0"),
    ("a patch for another", part(patches=(patch(1, 50),)), [base(2)], None, Kind.FULL, 1000, "nothing"),
    ("unknown", part(patches=(patch(1, 50),)), [base(1, known=False)], None, Kind.FULL, 1000, "nothing"),
    ("a patch larger than all", part(patches=(patch(1, 1001),)), [base(1)], None, Kind.FULL, 1000, "nothing"),
    ("blocks", part(), [base(1), base(2)], 300, Kind.BLOCKS, 310, "in 2026.1.0 and 2026.2.0"),
    ("blocks against a patch", part(patches=(patch(1, 311),)), [base(1)], 300, Kind.BLOCKS, 310, "blocks"),
    ("a patch against blocks", part(patches=(patch(1, 310),)), [base(1)], 300, Kind.PATCH, 310, "patch"),
    ("the index tips it", part(), [base(1)], 990, Kind.FULL, 1000, "nothing"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("release", "bases", "pack_bytes", "kind", "size", "why"), [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)  # fmt: skip
def test_the_way_that_is_taken(
    release: Part, bases: list[Base], pack_bytes: int | None, kind: Kind, size: int, why: str
) -> None:
    plan = choose(release, bases, pack_bytes=pack_bytes)
    assert (plan.kind, plan.bytes_to_fetch) == (kind, size)
    assert why in plan.why


patches = st.lists(st.builds(patch, st.integers(1, 5), st.integers(1, 3000)), max_size=5).map(tuple)
parts = st.builds(part, full=st.integers(1, 2000), index=st.integers(1, 2000), patches=patches)
bases = st.lists(st.builds(base, st.integers(0, 5), known=st.booleans()), max_size=4)


@given(parts, bases, st.none() | st.integers(0, 3000))
def test_never_more_than_full_and_always_possible(
    release: Part, here: list[Base], pack_bytes: int | None
) -> None:
    plan = choose(release, here, pack_bytes=pack_bytes)
    assert plan.bytes_to_fetch <= release.full.size
    assert plan.why
    names = {one.version: one for one in here}
    if plan.kind is Kind.PATCH:
        assert plan.patch in release.patches
        assert plan.base is not None
        assert plan.patch is not None
        assert any(one.version == plan.base and one.sha256 == plan.patch.from_sha256 for one in here)
    if plan.kind is Kind.SAME:
        assert plan.base in names
    if plan.kind is Kind.BLOCKS:
        assert pack_bytes is not None


@given(parts, bases, st.integers(0, 3000))
def test_knowing_more_never_costs_more(release: Part, here: list[Base], pack_bytes: int) -> None:
    blind = choose(release, here)
    assert choose(release, here, pack_bytes=pack_bytes).bytes_to_fetch <= blind.bytes_to_fetch
    assert choose(release, []).bytes_to_fetch >= blind.bytes_to_fetch


def test_looking_is_worth_it_only_where_blocks_can_win() -> None:
    assert worth_looking(part(), [base(1)])
    assert not worth_looking(part(), [])
    assert not worth_looking(part(), [base(0)])
    assert not worth_looking(part(patches=(patch(1, 50),)), [base(1)])
    assert not worth_looking(part(index=900), [base(1)])
