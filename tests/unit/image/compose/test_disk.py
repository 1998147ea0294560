"""The disk's layout, and how a file gets into its partition."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.recipes import small
from skerry.image.compose.disk import MIB, Partition, _copy, _table, layout
from skerry.image.compose.errors import BudgetError

if TYPE_CHECKING:
    from pathlib import Path


def test_both_slots_are_alike_and_only_one_has_a_name(tmp_path: Path) -> None:
    found = [(part.kind, part.name, part.size_mib) for part in layout(small(tmp_path))]
    assert found == [
        ("esp", "esp", 64),
        ("root", "small_2026.11.0", 128),
        ("verity", "small_2026.11.0_verity", 4),
        ("root", "_empty", 128),
        ("verity", "_empty", 4),
        ("data", "skerry_data", 144),
    ]


def test_partitions_follow_each_other_from_the_first_mib_on(tmp_path: Path) -> None:
    at = 1
    for part in layout(small(tmp_path)):
        assert part.start_mib == at
        at += part.size_mib


def test_the_longest_name_and_version_fit_a_label(tmp_path: Path) -> None:
    longest = small(tmp_path, ('"small"', '"abcdefghijklmnop"'), ('"2026.11.0"', '"2026.11.1234"'))
    assert max(len(part.name) for part in layout(longest)) <= 36


def test_the_table_has_a_fixed_identifier_for_every_partition(tmp_path: Path) -> None:
    recipe = small(tmp_path)
    table = _table(recipe, layout(recipe))
    identifiers = [word for word in table.replace(",", "").split() if word.startswith("uuid=")]
    assert len(set(identifiers)) == 6
    assert table == _table(recipe, layout(recipe))


@settings(deadline=None)  # a disk may be slow
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5)), max_size=6), st.integers(0, 4095))
def test_data_is_copied_and_holes_stay_holes(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[bool, int]], tail: int
) -> None:
    directory = tmp_path_factory.mktemp("copy")
    source, target = directory / "source", directory / "target"
    at = 0
    with source.open("wb") as file:
        for number, (is_data, blocks) in enumerate(runs, 1):
            if is_data:
                os.pwrite(file.fileno(), bytes([number]) * blocks * 65536, at)
            at += blocks * 65536
        file.truncate(at + tail)
    with target.open("wb") as file:
        file.truncate(4 * MIB)
        _copy(source, file.fileno(), Partition("data", "x", 1, 2))
    wanted = source.read_bytes()
    assert target.read_bytes() == bytes(MIB) + wanted + bytes(3 * MIB - len(wanted))
    assert target.stat().st_blocks <= source.stat().st_blocks


def test_what_does_not_fit_its_partition_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "root.verity"
    with source.open("wb") as file:
        file.truncate(MIB + 1)
    with (tmp_path / "disk").open("wb") as target, pytest.raises(BudgetError, match=r"root\.verity has"):
        _copy(source, target.fileno(), Partition("verity", "x", 1, 1))
    assert (tmp_path / "disk").stat().st_size == 0
