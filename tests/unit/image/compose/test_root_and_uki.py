"""Budgets of the root, the one time of an image, and what the kernel is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest

from fakes.recipes import small
from skerry.image.compose import epoch
from skerry.image.compose.errors import BudgetError
from skerry.image.compose.root import Seal, _within_budget, product_uuid
from skerry.image.compose.tree import os_release
from skerry.image.compose.uki import command_line, within_budget

if TYPE_CHECKING:
    from pathlib import Path


def test_a_root_within_its_budget(tmp_path: Path) -> None:
    _within_budget(small(tmp_path), 100 << 20)


@pytest.mark.parametrize(
    ("size", "budget", "said"),
    [
        ((100 << 20) + 4096, "100", r"the root is 100\.0 MiB and the recipe allows 100 MiB"),
        (103 << 20, "200", "less than 20% of its 128 MiB slot"),
    ],
)
def test_a_root_too_large_is_refused(tmp_path: Path, size: int, budget: str, said: str) -> None:
    with pytest.raises(BudgetError, match=said):
        _within_budget(small(tmp_path, ("root_mib = 100", f"root_mib = {budget}")), size)


def test_time_is_the_version_s_month() -> None:
    assert epoch.of("2026.11.7") == datetime(2026, 11, 1, tzinfo=UTC).timestamp()


def test_identifiers_differ_by_product_and_use_only() -> None:
    assert product_uuid("a", "disk") == product_uuid("a", "disk")
    assert len({product_uuid("a", "disk"), product_uuid("b", "disk"), product_uuid("a", "esp")}) == 3


def test_the_command_line_has_image_and_seal_first(tmp_path: Path) -> None:
    (tmp_path / "root.json").write_bytes(msgspec.json.encode(Seal("ab" * 32, "cd" * 32, 7, 28672)))
    recipe = small(tmp_path, ("[kernel]", '[kernel]\ncommand_line = ["quiet", "panic=5"]'))
    assert command_line(recipe, tmp_path) == (
        f"skerry.image=small_2026.11.0 skerry.verity={'ab' * 32},{'cd' * 32},7 quiet panic=5"
    )


def test_os_release_names_the_image(tmp_path: Path) -> None:
    found = dict(line.split("=", 1) for line in os_release(small(tmp_path)))
    assert (found["ID"], found["IMAGE_ID"], found["IMAGE_VERSION"]) == ("skerry", "small", "2026.11.0")


@pytest.mark.parametrize(
    ("size_mib", "esp_mib", "said"),
    [
        (50.5, 512, r"the UKI is 50\.5 MiB and the recipe allows 50 MiB"),
        (18, 64, "with 3 of them less than 20% of the 64 MiB ESP would be free"),
    ],
)
def test_a_uki_too_large_is_refused(tmp_path: Path, size_mib: float, esp_mib: int, said: str) -> None:
    with pytest.raises(BudgetError, match=said):
        within_budget(small(tmp_path, ("esp_mib = 64", f"esp_mib = {esp_mib}")), size_mib)


def test_a_uki_that_fits_three_times_is_good(tmp_path: Path) -> None:
    within_budget(small(tmp_path), 17)
