"""Problems of a TOML document stand on the lines that a person wrote."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.kit.errors import ProblemsError
from skerry.kit.toml_lines import parse

SOURCE = """# a comment
name = "one"

[packages]
install = [
    "podman",  # "not this"
    # "nor this",
    'crun', "systemd",
]
disk.slot_mib = 5

"quoted key" = 1
words = [
    "console=ttyS0",
    "quiet",
]

[[mirror]]
url = "x"
"""


@pytest.mark.parametrize(
    ("key", "text", "line"),
    [
        ("name", None, 2),
        ("packages", None, 4),
        ("packages.install", None, 5),
        ("packages.install", "podman", 6),
        ("packages.install", "crun", 8),
        ("packages.install", "systemd", 8),
        ("packages.install", "not there", 5),
        ("packages.disk.slot_mib", None, 10),
        ("packages.nothing", None, 4),
        ("packages.quoted key", None, 12),
        ("packages.words", "console=ttyS0", 14),
        ("packages.words", "quiet", 15),
        ("mirror.url", None, 19),
        ("nothing", None, None),
        ("packages.install", "nor this", 5),
    ],
)
def test_a_place_has_its_line(key: str, text: str | None, line: int | None) -> None:
    assert parse(SOURCE, "r.toml").line(key, text) == line


@pytest.mark.parametrize(
    ("source", "line"), [("a = 1\nb = = 2\n", 2), ("a = [\n1,\n", 2), ("a = 1\na = 2\n", 2), ("\n\n[x", 3)]
)
def test_what_is_not_toml_has_its_line(source: str, line: int) -> None:
    with pytest.raises(ProblemsError) as refused:
        parse(source, "r.toml")
    assert refused.value.problems[0].line == line


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        with pytest.raises(ProblemsError):
            parse(text, "r.toml")
    else:
        assert parse(text, "r.toml").values == values
