"""Reading YAML with the author's lines, within bounds."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.host.provision import document
from skerry.host.provision.document import Mapping, Scalar, Sequence, read
from skerry.host.provision.keys import COREOS_KEYS, FILE_KEYS, SKERRY_KEYS, TOP_KEYS, UNIT_KEYS, USER_KEYS
from skerry.host.provision.reading import read_config
from skerry.kit.errors import Severity


def tree_of(text: str | bytes) -> Mapping:
    data = text.encode() if isinstance(text, str) else text
    found = read(data, "doc")
    assert found.problems == ()
    assert found.tree is not None
    return found.tree


def problem_of(data: str | bytes) -> tuple[int | None, str]:
    found = read(data.encode() if isinstance(data, str) else data, "doc")
    assert len(found.problems) == 1
    return found.problems[0].line, found.problems[0].message


def test_each_value_knows_its_line() -> None:
    tree = tree_of("#cloud-config\n\nhostname: web1\nusers:\n  - name: a\n  - name: b\n")
    users = tree.get("users")
    assert isinstance(users, Sequence)
    assert tree.line_of("hostname") == 3
    assert [item.line for item in users.items] == [5, 6]


@pytest.mark.parametrize(
    "data",
    [
        b"#cloud-config\r\nhostname: web1\r\n",
        b"\xef\xbb\xbf#cloud-config\nhostname: web1\n",
        b"#cloud-config  \t\nhostname: web1",
        b"#cloud-config\n---\nhostname: web1\n...\n",
        gzip.compress(b"#cloud-config\nhostname: web1\n"),
    ],
    ids=["crlf", "bom", "blanks after the header", "document markers", "gzip"],
)
def test_the_header_is_found(data: bytes) -> None:
    name = tree_of(data).get("hostname")
    assert isinstance(name, Scalar)
    assert name.text == "web1"


@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        ("hostname: web1\n", 1, "the first line must be #cloud-config"),
        ("#cloud-config: yes\n", 1, "the first line must be #cloud-config"),
        ("#!/bin/sh\necho\n", 1, "this is a script; Skerry runs no scripts at boot"),
        ('{"ignition": {"version": "3.4.0"}}', 1, "this is an Ignition document, which Skerry does not read"),
        ("Content-Type: multipart/mixed\n", 1, "this is a MIME archive, of which Skerry reads none"),
        ("", None, "the document is empty"),
        ("#cloud-config\nhostname: \x07\n", 2, "the character U+0007 must not stand in a YAML document"),
        (b"#cloud-config\nhostname: \xff\n", 2, "this is not UTF-8"),
        ("#cloud-config\n".encode("utf-16"), 1, "the document is UTF-16"),
        ("#cloud-config\n- a\n", 2, "the document must be a mapping of keys to values"),
        ("#cloud-config\na: 1\na: 2\n", 3, "'a' stands twice, first on line 2"),
        (
            "#cloud-config\nwrite-files: []\nwrite_files: []\n",
            3,
            "'write_files' stands twice, first on line 2",
        ),
        ("#cloud-config\na: *b\n", 2, "nothing above is anchored as &b"),
        ("#cloud-config\na: !foo b\n", 2, "the tag !foo is not known here"),
        ("#cloud-config\na: !!binary '*'\n", 2, "this is tagged !!binary and is not base64"),
        ("#cloud-config\n? [a]\n: b\n", 2, "a key must be a word, not a list or a mapping"),
        ("#cloud-config\na: 1\n---\nb: 2\n", 3, "a second document begins here; only the first is read"),
        ("#cloud-config\na: " + "[" * 40 + "]" * 40, 2, "this is nested more than 32 deep"),
        (b"\x1f\x8b12345", None, "the document is compressed, and damaged"),
    ],
)
def test_what_is_wrong_is_said_on_its_line(data: str | bytes, line: int | None, message: str) -> None:
    found_line, found = problem_of(data)
    assert found_line == line
    assert found.startswith(message)


def test_broken_yaml_points_at_the_place() -> None:
    line, message = problem_of("#cloud-config\nhostname: web1\nusers: a: b\n")
    assert line == 3
    assert message.startswith("this is not YAML")


def test_aliases_do_not_multiply() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    _, message = problem_of("#cloud-config\n" + "\n".join(levels))
    assert message == "the document has more than 100000 values, aliases expanded"


def test_anchors_and_merges_are_read() -> None:
    tree = tree_of("#cloud-config\na: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\n")
    merged = tree.get("b")
    assert isinstance(merged, Mapping)
    assert {e.key: e.value.text for e in merged.entries if isinstance(e.value, Scalar)} == {
        "x": "1",
        "y": "3",
    }


def test_line_breaks_that_only_yaml_counts_do_not_shift_lines() -> None:
    assert tree_of("#cloud-config\na: 'x\u2028y'\nb: 1\n").line_of("b") == 3


def test_a_document_that_is_too_large_is_refused() -> None:
    data = gzip.compress(b"#cloud-config\n#" + b"x" * document.LARGEST_BYTES)
    assert problem_of(data) == (None, "the document is larger than 4 MiB")


KEYS = sorted({*TOP_KEYS, *COREOS_KEYS, *UNIT_KEYS, *USER_KEYS, *FILE_KEYS, *SKERRY_KEYS, "prefix", "mirror"})
MARKS = (
    ":",
    " ",
    "\n",
    "- ",
    "  ",
    "[",
    "]",
    "{",
    "}",
    "&a",
    "*a",
    "|",
    ">",
    "'",
    '"',
    "#",
    "~",
    "\t",
    "<<",
    "=",
)
ODDITIES = ("?", "!!int", "0x_", "1e999", "-.inf", "2001-01-01", "\u2028", "$private_ipv4", "gz+b64", "%")
YAML_PIECES = st.sampled_from((*KEYS, *MARKS, *ODDITIES))


@settings(max_examples=300, deadline=None)
@given(st.lists(YAML_PIECES, max_size=60).map("".join))
def test_no_text_crashes_the_reader(text: str) -> None:
    _, problems = read_config(f"#cloud-config\n{text}".encode(), "doc")
    lines = text.count("\n") + 2
    assert all(p.line is None or 1 <= p.line <= lines for p in problems)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    read_config(data, "doc")
    read_config(b"#cloud-config\n" + data, "doc")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.binary(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=25,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6))
def test_no_structure_crashes_the_reader(tree: dict[str, object]) -> None:
    import yaml

    text = yaml.safe_dump(tree, allow_unicode=True)
    _, problems = read_config(f"#cloud-config\n{text}".encode(errors="replace"), "doc")
    assert all(p.severity in Severity for p in problems)
