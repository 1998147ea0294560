"""A recipe is read whole, or refused with every problem on the line where it was written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.recipes import SMALL, changed, small
from skerry.image.compose.build import DEFAULT_RECIPE
from skerry.image.compose.errors import ComposeError
from skerry.image.compose.recipe import Disk, Recipe, Update, load, parse
from skerry.kit.errors import ProblemsError

NOWHERE = Path("/nonexistent/small.toml")


def problems(text: str) -> list[tuple[int | None, str, str | None]]:
    with pytest.raises(ProblemsError) as refused:
        parse(text, NOWHERE)
    return [(problem.line, problem.message, problem.hint) for problem in refused.value.problems]


def line_of(text: str, words: str) -> int:
    """Where `words` first stand in a text."""
    return next(number for number, line in enumerate(text.splitlines(), 1) if words in line)


def test_values_are_as_written() -> None:
    recipe = parse(SMALL, NOWHERE)
    assert (recipe.name, recipe.packages, recipe.disk, recipe.mask, recipe.mirror) == (
        "small", ("podman", "crun"), Disk(64, 128, 4, 144), (), None,
    )  # fmt: skip


def test_files_are_relative_to_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "over").mkdir()
    assert small(tmp_path, ("files = []", 'files = ["over"]')).files == ((tmp_path / "over").resolve(),)


def test_pockets_are_all_where_nothing_is_said(tmp_path: Path) -> None:
    assert small(tmp_path).pockets == ("release", "updates", "security")


def test_what_hosts_are_told_of_updates(tmp_path: Path) -> None:
    (tmp_path / "root.json").write_text('{"signed": {"_type": "root"}}')
    told = 'root = "root.json"\nrepository = "https://u.example/s"\nchannel = "beta"'
    update = small(tmp_path, ("[tree]", f"[update]\n{told}\n[tree]")).update
    assert update == Update((tmp_path / "root.json").resolve(), "https://u.example/s", "beta")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"signed": {"_type": "targets"}}', b"\xff"])
def test_what_is_no_root_role_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "root.json").write_bytes(content)
    with pytest.raises(ProblemsError, match=r"root\.json is not the root role of a repository"):
        small(tmp_path, ("[tree]", '[update]\nroot = "root.json"\n[tree]'))


def test_the_shipped_recipe_is_one() -> None:
    assert load(DEFAULT_RECIPE).name == "skerry"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("format = 1", "format = 2", "format 2 is not known"),
        ('name = "small"', 'name = "Small one"', "'Small one' is not a name"),
        ('name = "small"', 'name = "abcdefghijklmnopq"', "is not a name"),
        ('name = "small"', "name = 5", "name must be a text"),
        ('"2026.11.0"', '"2026.13.0"', "'2026.13.0' is not a version"),
        ('"2026.11.0"', '"2026.0.0"', "is not a version"),
        ('"2026.11.0"', '"26.11"', "is not a version"),
        ('"2026.11.0"', '"٢٠٢٦.11.0"', "is not a version"),
        ('"trixie"', '"trixie main"', "is not a suite"),
        ('"amd64"', '"riscv"', "architecture 'riscv' is not supported"),
        ('"podman"', '"Podman"', "'Podman' is not the name of a Debian package"),
        ('"podman"', '"--mode=root"', "is not the name of a Debian package"),
        ('"crun"', '"podman"', "'podman' stands twice in packages.install"),
        ('"linux-image-amd64"', '"linux image"', "is not the name of a Debian package"),
        ('"ext4"', '"ext4 vfat"', "is not the name of a module"),
        ('["ext4"]', '["ext4", 4]', "kernel.modules must hold texts only, and holds 4"),
        ('["ext4"]', '"ext4"', "kernel.modules must be a list"),
        ('"usr/share/doc"', '"/usr/share/doc"', "is not a path in the tree"),
        ('"usr/share/doc"', '"usr/../../etc"', "is not a path in the tree"),
        ('"usr/share/doc"', '""', "is not a path in the tree"),
        ('"usr/share/doc"', '"usr/{a,b}/{c,d}"', "more than one pair of braces"),
        ('"usr/share/doc"', '"usr/{a,b"', "half a pair"),
        ("files = []", 'files = ["gone"]', "there is no directory gone"),
        ('"ssh.service"', '"ssh"', "'ssh' is not the name of a unit"),
        ("esp_mib = 64", "esp_mib = 1", "disk.esp_mib is 1; it must be from 64 to 4096"),
        ("data_mib = 144", "data_mib = 96", "disk.data_mib is 96; it must be from 144 to 16384"),
        ("esp_mib = 64", "esp_mib = true", "disk.esp_mib must be a whole number"),
        ("esp_mib = 64", "esp_mib = 64.0", "disk.esp_mib must be a whole number"),
        ("root_mib = 100", "root_mib = 0", "budget.root_mib is 0"),
        ("[tree]", "[tree]\nremoves = []", "unknown key tree.removes"),
        ("[tree]", "[extra]\n[tree]", "unknown key extra"),
        ("[tree]", "[mirror]\narchive = 'gopher://x'\n[tree]", "is not an http, https or file address"),
        ("[tree]", "[mirror]\nsecurity = 'http://x/ y'\n[tree]", "is not an http, https or file address"),
        ("[packages]", "[packages]\npockets = ['updates']", 'packages.pockets lacks "release"'),
        ("[packages]", "[packages]\npockets = ['release', 'new']", "'new' is no pocket"),
        ("[tree]", "[update]\nroot = 'gone.json'\n[tree]", "cannot read gone.json: No such file"),
        ("[tree]", "[update]\nrepository = 'ftp://x'\n[tree]", "is not an http, https or file:/// address"),
        ("[tree]", "[update]\nchannel = 'Stable'\n[tree]", "'Stable' is not the name of a channel"),
    ],
)
def test_a_problem_stands_on_its_line(old: str, new: str, said: str) -> None:
    text = changed((old, new))
    (found,) = problems(text)
    shown = new.splitlines()[1 if new.startswith("[tree]") or "=" in new.partition("\n")[2] else 0]
    assert said in found[1]
    assert found[0] == line_of(text, shown)


def test_a_problem_of_a_listed_text_is_on_the_text_s_line() -> None:
    text = changed(('"crun"', '"Crun"'))
    assert problems(text)[0][0] == line_of(text, "Crun")


def test_an_unknown_key_is_told_what_it_may_have_been() -> None:
    (found,) = problems(changed(("[tree]", "[tree]\nremoved = []")))
    assert found[2] == "did you mean tree.remove?"


def test_a_missing_key_is_on_its_table_s_line() -> None:
    text = changed(("slot_mib = 128\n", ""))
    assert problems(text) == [(line_of(text, "[disk]"), "disk.slot_mib is missing", None)]


def test_every_problem_is_told_at_once_in_the_order_of_lines() -> None:
    text = changed(
        ('"amd64"', '"arm"'), ("slot_mib = 128", "slot_mib = 'big'"), ("[presets]", "[presets]\nstart = 1")
    )
    found = problems(text)
    assert [line for line, _, _ in found] == [
        line_of(text, word) for word in ('"arm"', "start = 1", "slot_mib")
    ]


def test_what_is_no_toml_has_its_line() -> None:
    assert problems(changed(("[disk]", "[disk")))[0][0] == line_of(SMALL, "[disk]")


def test_a_table_that_is_a_value_is_told() -> None:
    start = SMALL[: SMALL.index("[disk]")]
    assert "unknown key budget" in [message for _, message, _ in problems("budget = 3\n" + start)]


@pytest.mark.parametrize("content", [None, b"\xff\xfe"], ids=["absent", "not-utf-8"])
def test_a_recipe_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "r.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ComposeError, match="cannot read the recipe"):
        load(path)


def test_what_a_step_finds_is_on_the_recipe_s_lines(tmp_path: Path) -> None:
    recipe = small(tmp_path)
    error = recipe.refuse_all("there is no", ("packages.install",), ["crun"], {"crun": ["runc"]})
    (problem,) = error.problems
    assert (problem.line, problem.message, problem.hint) == (
        line_of(SMALL, '"crun"'), "there is no crun", "did you mean runc?",
    )  # fmt: skip


def test_what_a_step_finds_is_looked_for_in_every_list(tmp_path: Path) -> None:
    keys = ("initrd.needed", "initrd.modules")
    (problem,) = small(tmp_path).refuse_all("no module", keys, ["virtio_blk"]).problems
    assert problem.where == "initrd.modules"


LINES = SMALL.splitlines()
TEXTS = st.one_of(
    st.text(),
    st.lists(st.sampled_from(LINES)).map("\n".join),
    st.tuples(st.integers(0, len(SMALL)), st.integers(0, len(SMALL)), st.text(max_size=8)).map(
        lambda cut: SMALL[: min(cut[:2])] + cut[2] + SMALL[max(cut[:2]) :]
    ),
    st.tuples(st.sampled_from(LINES), st.text(max_size=8)).map(
        lambda cut: SMALL.replace(cut[0], f"{cut[0].split('=')[0]}= {cut[1]}")
    ),
)


@given(TEXTS)
def test_any_text_is_a_recipe_or_refused_with_problems(text: str) -> None:
    try:
        assert isinstance(parse(text, NOWHERE), Recipe)
    except ProblemsError as error:
        assert error.problems  # noqa: PT017 - both ends are good
