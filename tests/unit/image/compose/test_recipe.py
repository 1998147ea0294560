"""A recipe is read whole or refused whole, with every problem on its own line."""

from __future__ import annotations

from pathlib import Path

import pytest

from skerry.image.compose.errors import ComposeError
from skerry.image.compose.recipe import Recipe, load, parse
from skerry.kit.errors import ProblemsError

OURS = Path(__file__).resolve().parents[4] / "os" / "images" / "skerry.toml"
SMALL = """format = 1
name = "small"
version = "2026.11.0"
suite = "trixie"
architecture = "amd64"
[packages]
install = ["systemd",
    "podman"]
[kernel]
package = "linux-image-amd64"
modules = ["erofs"]
[initrd]
needed = ["erofs"]
modules = []
programs = ["usr/bin/busybox"]
[tree]
files = []
[disk]
esp_mib = 128
slot_mib = 256
verity_mib = 8
data_mib = 64
[budget]
root_mib = 100
download_mib = 50
"""


def read(source: str, directory: Path = Path("/nonexistent")) -> Recipe:
    return parse(source, directory / "small.toml")


def problems(source: str) -> list[tuple[int | None, str, str | None]]:
    with pytest.raises(ProblemsError) as refused:
        read(source)
    return [(p.line, p.message, p.hint) for p in refused.value.problems]


def test_ours_is_a_recipe() -> None:
    assert load(OURS).name == "skerry"


def test_a_small_one_is_a_recipe() -> None:
    assert read(SMALL).packages == ("systemd", "podman")


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("format = 1", "format = 2", 1, "recipe format 2 is not known to this version of Skerry"),
        ("format = 1", "format = true", 1, "format must be a whole number"),
        ('name = "small"', 'name = "Small!"', 2, "'Small!' is not a name"),
        ('name = "small"', "name = 5", 2, "name must be a text"),
        ('"2026.11.0"', '"1.0"', 3, "'1.0' is not a version"),
        ('"amd64"', '"riscv"', 5, "architecture 'riscv' is not supported"),
        ('    "podman"', '    "systemd"', 7, "'systemd' stands twice in packages.install"),
        ('    "podman"', "    5", 7, "packages.install must hold texts only, and holds 5"),
        ("slot_mib = 256", "slot_mib = 1", 20, "disk.slot_mib is 1; it must be from 128 to 16384"),
        ("slot_mib = 256", "slots_mib = 256", 20, "unknown key disk.slots_mib"),
        ("files = []", 'files = ["../no"]', 17, "there is no directory ../no"),
    ],
)
def test_a_problem_stands_on_its_line(old: str, new: str, line: int, said: str) -> None:
    assert (line, said) in [(at, message) for at, message, _ in problems(SMALL.replace(old, new))]


def test_all_problems_are_told_at_once() -> None:
    wrong = SMALL.replace("format = 1", "format = 9").replace("root_mib = 100", "root_mib = 0")
    assert [line for line, _, _ in problems(wrong)] == [1, 24]


def test_a_misspelt_key_has_a_hint() -> None:
    found = problems(SMALL.replace("[tree]\n", '[tree]\nremoves = ["usr/share/doc"]\n'))
    assert found == [(17, "unknown key tree.removes", "did you mean tree.remove?")]


def test_a_missing_key_is_named() -> None:
    assert (None, "suite is missing", None) in problems(SMALL.replace('suite = "trixie"\n', ""))


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ComposeError, match="cannot read the recipe"):
        load(tmp_path / "none.toml")


def test_directories_are_relative_to_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert read(SMALL.replace("files = []", 'files = ["mine"]'), tmp_path).files == (tmp_path / "mine",)
