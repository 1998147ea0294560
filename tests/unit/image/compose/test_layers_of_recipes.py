"""A recipe over another says what is different, and a mistake is shown in the file it was made in."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.recipes import SMALL, changed
from skerry.image.compose.layers import lay
from skerry.image.compose.recipe import Recipe, load, parse
from skerry.kit.errors import Problem, ProblemsError

if TYPE_CHECKING:
    from pathlib import Path

OVER = 'format = 1\nbase = "small.toml"\nversion = "2026.12.0"\n'


def over(directory: Path, text: str, base: str = SMALL) -> Recipe:
    """The recipe `text` in a folder beside the one of its base."""
    (directory / "small.toml").write_text(base)
    return parse(OVER + textwrap.dedent(text), directory / "over.toml")


def refused(directory: Path, text: str, base: str = SMALL) -> list[Problem]:
    with pytest.raises(ProblemsError) as error:
        over(directory, text, base)
    return list(error.value.problems)


def test_what_is_not_said_is_the_base_s(tmp_path: Path) -> None:
    recipe = over(tmp_path, "[disk]\nesp_mib = 100")
    assert (recipe.name, recipe.version, recipe.disk.esp_mib, recipe.disk.slot_mib) == (
        "small", "2026.12.0", 100, 128,
    )  # fmt: skip


def test_lists_add_to_the_base_s_and_what_both_have_stands_once(tmp_path: Path) -> None:
    recipe = over(tmp_path, '[packages]\ninstall = ["jq", "crun"]')
    assert recipe.packages == ("podman", "crun", "jq")


def test_pockets_stand_over_the_base_s(tmp_path: Path) -> None:
    base = changed(("[packages]", '[packages]\npockets = ["release", "updates"]'))
    assert over(tmp_path, '[packages]\npockets = ["release"]', base).pockets == ("release",)


def test_paths_are_relative_to_the_file_they_are_written_in(tmp_path: Path) -> None:
    (tmp_path / "mine/more").mkdir(parents=True)
    (tmp_path / "below").mkdir()
    (tmp_path / "small.toml").write_text(changed(("files = []", 'files = ["below"]')))
    (tmp_path / "mine/over.toml").write_text(
        OVER.replace('"small.toml"', '"../small.toml"') + '[tree]\nfiles = ["more"]\n'
    )
    assert load(tmp_path / "mine/over.toml").files == (
        (tmp_path / "below").resolve(), (tmp_path / "mine/more").resolve(),
    )  # fmt: skip


def test_a_mistake_in_the_base_is_shown_there(tmp_path: Path) -> None:
    base = changed(('"crun"', '"Crun"'))
    (problem,) = refused(tmp_path, '[packages]\ninstall = ["jq"]', base)
    assert (problem.file, problem.line) == (
        str(tmp_path / "small.toml"),
        base[: base.index('"Crun"')].count("\n") + 1,
    )


def test_a_mistake_over_the_base_is_shown_there(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, '[packages]\ninstall = [\n  "jq",\n  "Crun",\n]')
    assert (problem.file, problem.line) == (str(tmp_path / "over.toml"), 7)


def test_what_a_step_finds_is_in_the_file_that_says_it(tmp_path: Path) -> None:
    recipe = over(tmp_path, '[packages]\ninstall = ["jqq"]')
    error = recipe.refuse_all("there is no", ("packages.install",), ["crun", "jqq"])
    assert {problem.file for problem in error.problems} == {
        str(tmp_path / "small.toml"), str(tmp_path / "over.toml"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('format = 1\nbase = "gone.toml"\nname = "x"\n', "cannot read 'gone.toml'"),
        ('format = 1\nbase = "over.toml"\nname = "x"\n', "is a recipe that this one is below of already"),
        ("format = 1\nbase = 4\n", "base must be a text"),
        ('format = 1\nbase = "small.toml"\n', "needs a version of its own"),
        ('format = 2\nbase = "small.toml"\nname = "x"\n', "recipe format 2 is not known"),
        ('format = 1\nbase = "a\\u0000b"\nname = "x"\n', "cannot read 'a\\x00b'"),
    ],
)
def test_a_base_that_cannot_be_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "small.toml").write_text(SMALL)
    with pytest.raises(ProblemsError) as error:
        parse(text, tmp_path / "over.toml")
    (problem,) = error.value.problems
    assert said in problem.message
    assert problem.line == (1 if "format = 2" in text else 2)


def test_bases_without_end_are_refused(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"{number}.toml").write_text(f'base = "{number + 1}.toml"\n')
    with pytest.raises(ProblemsError, match="more than 8 recipes"):
        load(tmp_path / "0.toml")


VALUES = st.recursive(
    st.one_of(st.integers(), st.lists(st.text(max_size=2), max_size=4, unique=True)),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
)
TABLES = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)


@given(TABLES, TABLES)
def test_laying_nothing_or_twice_changes_nothing(one: dict[str, object], two: dict[str, object]) -> None:
    assert lay({}, one) == one
    assert lay(one, {}) == one
    assert lay(lay(one, two), two) == lay(one, two)
