r"""Globs mean what Go's path.Match means by them; the table is that of its own documentation and tests."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.host.units.glob import compile_glob, glob_matches, literal_start


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("abc", "abc", True),
        ("*", "abc", True),
        ("*c", "abc", True),
        ("a*", "a", True),
        ("a*", "abc", True),
        ("a*b*c*d*e*", "axbxcxdxe", True),
        ("a*b*c*d*e*", "axbxcxdxexxx", True),
        ("a*b?c*x", "abxbbxdbxebxczzx", True),
        ("a*b?c*x", "abxbbxdbxebxczzy", False),
        ("ab[c]", "abc", True),
        ("ab[b-d]", "abc", True),
        ("ab[e-g]", "abc", False),
        ("ab[^c]", "abc", False),
        ("ab[^b-d]", "abc", False),
        ("ab[^e-g]", "abc", True),
        ("a\\*b", "a*b", True),
        ("a\\*b", "ab", False),
        ("a?b", "a☺b", True),
        ("a[^a]b", "a☺b", True),
        ("a???b", "a☺b", False),
        ("[a-ζ]*", "α", True),
        ("*[a-ζ]", "A", False),
        ("[\\]a]", "]", True),
        ("[\\-]", "-", True),
        ("[x\\-]", "x", True),
        ("[x\\-]", "-", True),
        ("[x\\-]", "z", False),
        ("[\\-x]", "a", False),
        ("[!a]", "!", True),
        ("[!a]", "b", False),
        ("[b-a]", "a", False),
        ("[^b-a]", "a", True),
        ("*x", "xxx", True),
        ("web@*.service", "web@1.service", True),
        ("web@*.service", "web@1.socket", False),
        ("foo\\\\x2d*", "foo\\x2dbar.service", True),
        ("", "", True),
        ("", "a", False),
        ("a", "a\n", False),
    ],
)
def test_as_path_match(pattern: str, name: str, expected: bool) -> None:
    assert glob_matches(pattern, name) is expected


@pytest.mark.parametrize(
    "pattern", ["[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "[^bc", "a[", "\\", "a\\", "[a-", "[]"]
)
def test_what_is_not_well_formed_matches_nothing(pattern: str) -> None:
    assert compile_glob(pattern) is None
    assert not glob_matches(pattern, "a")


@given(st.text("ab@.-", min_size=1))
def test_a_name_is_a_pattern_for_itself_alone(name: str) -> None:
    assert glob_matches(name, name)
    assert not glob_matches(name, name + "x")


@given(st.text("ab*?[]^-\\", max_size=8), st.text("ab", max_size=6))
def test_a_match_begins_with_the_literal_start(pattern: str, name: str) -> None:
    assert not glob_matches(pattern, name) or name.startswith(literal_start(pattern))


def test_many_stars_are_not_slow() -> None:
    assert compile_glob("a***b") == re.compile(r"a[^/]*b\Z", re.DOTALL)
