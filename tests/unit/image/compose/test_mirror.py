"""Where packages come from: the recipe, the environment, the machine's own apt, in this order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from skerry.image.compose.errors import NoMirrorError
from skerry.image.compose.mirror import Mirror, find_mirror

if TYPE_CHECKING:
    from pathlib import Path

DEB822 = """# Debian's own
Types: deb deb-src
URIs: http://one.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://one.example/debian-security
Suites: bookworm-security
Components: main
"""
ONE_LINE = """
# deb http://old.example/debian bookworm main
deb [signed-by=/x.gpg arch=amd64] https://two.example/debian/ bookworm main contrib  # ours
deb-src http://three.example/debian bookworm main
deb http://two.example/debian-security bookworm-security main
"""
IMITATOR = "deb https://containers.example/linux/debian bookworm stable\n"


def apt(tmp_path: Path, **files: str) -> Path:
    """An /etc/apt with these files; `list` is sources.list, others stand in sources.list.d."""
    (tmp_path / "sources.list.d").mkdir()
    for name, text in files.items():
        path = "sources.list" if name == "list" else f"sources.list.d/{name.replace('_', '.')}"
        (tmp_path / path).write_text(text)
    return tmp_path


def test_recipe_goes_before_all(tmp_path: Path) -> None:
    found = find_mirror(
        recipe="http://recipe.example/debian",
        environment={"SKERRY_MIRROR": "http://env.example/debian"},
        apt=apt(tmp_path, list=ONE_LINE),
    )
    assert found == Mirror("http://recipe.example/debian", None)


def test_environment_goes_before_apt(tmp_path: Path) -> None:
    given = {"SKERRY_MIRROR": "http://env.example/debian", "SKERRY_SECURITY_MIRROR": "http://env.example/sec"}
    found = find_mirror(environment=given, apt=apt(tmp_path, list=ONE_LINE))
    assert found == Mirror("http://env.example/debian", "http://env.example/sec")


ONE = Mirror("http://one.example/debian", "http://one.example/debian-security")
TWO = Mirror("https://two.example/debian/", "http://two.example/debian-security")
DISABLED = DEB822.replace("URIs: http", "Enabled: no\nURIs: http", 1)


@pytest.mark.parametrize(
    ("files", "mirror"),
    [
        ({"list": ONE_LINE}, TWO),
        ({"d_sources": DEB822}, ONE),
        ({"d_sources": DEB822, "a_list": IMITATOR}, ONE),
        ({"d_sources": DISABLED, "list": ONE_LINE}, TWO),
    ],
    ids=["one-line", "deb822", "not-an-imitator", "not-disabled"],
)
def test_apt_is_read(tmp_path: Path, files: dict[str, str], mirror: Mirror) -> None:
    assert find_mirror(environment={}, apt=apt(tmp_path, **files)) == mirror


def test_no_mirror_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(NoMirrorError) as refused:
        find_mirror(environment={}, apt=apt(tmp_path, a_list=IMITATOR))
    assert "SKERRY_MIRROR" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("suite", "pockets"), [("trixie", ["trixie", "trixie-updates", "trixie-security"]), ("sid", ["sid"])]
)
def test_pockets_of_a_suite(suite: str, pockets: list[str]) -> None:
    lines = Mirror("http://a.example/debian", "http://a.example/debian-security").sources(suite)
    assert [line.split()[2] for line in lines] == pockets


def test_pockets_that_are_not_asked_for_are_left_out() -> None:
    mirror = Mirror("http://m/debian", "http://m/debian-security")
    assert mirror.sources("trixie", pockets=("release",)) == ("deb http://m/debian trixie main",)
