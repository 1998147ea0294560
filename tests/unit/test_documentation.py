"""The pages under docs say what the code does: every key has its line, every link leads somewhere."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from skerry.entry.cli.main import NOUNS
from skerry.entry.daemon.settings import Settings
from skerry.host.provision.keys import COREOS_KEYS, FILE_KEYS, SKERRY_KEYS, TOP_KEYS, UNIT_KEYS, USER_KEYS
from skerry.host.units.requirements import KEYS
from skerry.host.units.skerry_section import KEYS as IN_X_SKERRY
from skerry.image.compose.recipe import keys, parse

if TYPE_CHECKING:
    from collections.abc import Collection

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")


def words_in_code(page: str) -> set[str]:
    """The words that a page shows as code."""
    text = (ROOT / "docs" / page).read_text()
    spans = re.findall(r"```.*?```|`[^`]+`", text, re.DOTALL)
    return {word for span in spans for word in re.findall(r"[\w.-]+", span)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()] == []


@pytest.mark.parametrize(
    "keys",
    [TOP_KEYS, USER_KEYS, FILE_KEYS, UNIT_KEYS, COREOS_KEYS, SKERRY_KEYS],
    ids=lambda keys: next(iter(keys)),
)
def test_reference_has_every_key_of_a_cloud_config(keys: dict[str, object]) -> None:
    assert set(keys) - words_in_code("reference/cloud-config.md") == set()


def test_reference_has_every_setting() -> None:
    assert {field.name for field in fields(Settings)} - words_in_code("reference/settings.md") == set()


def test_reference_has_every_key_of_a_recipe() -> None:
    page = (ROOT / "docs" / "reference" / "recipe.md").read_text()
    assert set(re.findall(r"^\| `([\w.]+)`", page, re.MULTILINE)) == keys()


def test_examples_in_the_reference_of_recipes_are_good(tmp_path: Path) -> None:
    (tmp_path / "root.json").write_text('{"signed": {"_type": "root"}}')
    page = (ROOT / "docs" / "reference" / "recipe.md").read_text()
    found = re.findall(r"^\| `([\w.]+)`.*\| `([^`]+)` \|$", page, re.MULTILINE)
    text = "\n".join(f"{key} = {value}" for key, value in found)
    text = text.replace("path/to/root.json", str(tmp_path / "root.json"))
    assert parse(text, ROOT / "os" / "images" / "example.toml").name == "skerry"


def test_guide_has_every_key_of_fleet() -> None:
    assert set(KEYS.values()) - words_in_code("guide/units.md") == set()


@pytest.mark.parametrize("keys", [KEYS, IN_X_SKERRY], ids=["X-Fleet", "X-Skerry"])
def test_reference_has_every_key_of_placement(keys: Collection[str]) -> None:
    assert set(keys) - words_in_code("reference/placement.md") == set()


def test_guide_has_every_verb_of_units() -> None:
    from skerry.entry.cli.unit import unit

    assert set(unit.commands) - words_in_code("guide/units.md") == set()


def test_first_page_or_a_guide_has_every_noun() -> None:
    said = "\n".join(page.read_text() for page in PAGES)
    assert [noun for noun in NOUNS if f"skerry {noun}" not in said] == []
