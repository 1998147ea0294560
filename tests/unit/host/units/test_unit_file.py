"""Reading and writing unit files, and fleet's hash of them."""

from __future__ import annotations

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from skerry.host.units.errors import UnitFileError
from skerry.host.units.unit_file import Option, from_options, parse_unit, serialise, unit_hash

HELLO = """\
[Unit]
Description=Hello World
Requires=docker.service

[Service]
# a comment
ExecStart=/usr/bin/docker run --name helloworld \\
                              -P \\
                              tutum/hello-world

[X-Fleet]
Global=true
"""


def triples(text: str) -> list[tuple[str, str, str]]:
    return [(o.section, o.name, o.value) for o in parse_unit(text).options]


def test_hash_is_that_of_fleet() -> None:
    assert (
        unit_hash(parse_unit("[Service]\nExecStart=/bin/sleep 100\n"))
        == "1c6fb6f3684bafb0c173d8b8b957ceff031180c1"
    )


def test_comments_blank_lines_and_spaces_do_not_change_the_hash() -> None:
    untidy = "\n# about\n[Service]\n\n; more\n  ExecStart = /bin/sleep 100  \r\n"
    assert unit_hash(parse_unit(untidy)) == unit_hash(parse_unit("[Service]\nExecStart=/bin/sleep 100\n"))


def test_options_carry_the_lines_of_their_author() -> None:
    assert [(o.name, o.line) for o in parse_unit(HELLO).options] == [
        ("Description", 2),
        ("Requires", 3),
        ("ExecStart", 7),
        ("Global", 12),
    ]


def test_continuations_are_kept_in_the_value_and_joined_for_reading() -> None:
    option = parse_unit(HELLO).all("Service", "ExecStart")[0]
    assert option.value.count("\\\n") == 2
    assert option.joined == "/usr/bin/docker run --name helloworld -P tutum/hello-world"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[A]\nx=1\n[B]\ny=2\n[A]\nz=3", [("A", "x", "1"), ("B", "y", "2"), ("A", "z", "3")]),
        ("[A]\nx=1\nx=2\nx=", [("A", "x", "1"), ("A", "x", "2"), ("A", "x", "")]),
        ("[A]\nx=a=b", [("A", "x", "a=b")]),
        ("[A]\nx=a \\\n\ny=b", [("A", "x", "a \\"), ("A", "y", "b")]),
        ("[A]\nx=a \\", [("A", "x", "a \\")]),
        ("[A]\nx=\\\n  b", [("A", "x", "\\\n  b")]),
        ("[A]\nx=a\\\n#c\\\nb", [("A", "x", "a\\\n#c\\\nb")]),
        ("", []),
        ("[A]\n", []),
    ],
)
def test_reading(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert triples(text) == expected


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[Unit]\nnonsense\n", 2, "expected Name=value"),
        ("x=1\n", 1, "before any section"),
        ("[Unit\nx=1\n", 1, "lacks its ]"),
        ("[Unit] more\n", 1, "unexpected 'more'"),
        ("[]\n", 1, "no section header"),
        ("[A]\n=b\n", 2, "no name before"),
        ("[A]\nx=a\0b\n", 2, "zero byte"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(text: str, line: int, said: str) -> None:
    with pytest.raises(UnitFileError) as caught:
        parse_unit(text, "my.service")
    assert [(p.file, p.line) for p in caught.value.problems] == [("my.service", line)]
    assert said in str(caught.value)


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(UnitFileError) as caught:
        parse_unit("[Unit]\nfoo\nA=b\nbar\n[Service\nX=y\n[S]\nbaz")
    assert [p.line for p in caught.value.problems] == [2, 4, 5, 8]


def test_a_huge_file_is_refused() -> None:
    with pytest.raises(UnitFileError, match="larger than 512 KiB"):
        parse_unit("[A]\nx=" + "y" * 600_000)


def test_options_from_fleets_api_make_a_file() -> None:
    unit = from_options(
        [("Unit", "Description", "x"), ("Service", "ExecStart", "a \\\n b"), ("Unit", "After", "y")]
    )
    assert serialise(unit.options) == "[Unit]\nDescription=x\nAfter=y\n\n[Service]\nExecStart=a \\\n b\n"


@pytest.mark.parametrize(
    "option",
    [
        ("Service", "ExecStart", "a\nExecStartPre=b"),
        ("Service", "Exec=Start", "a"),
        ("Service", "Exec\nStart", "a"),
        ("Ser]vice", "ExecStart", "a"),
        ("Service]\n[Install", "ExecStart", "a"),
        ("Service", "", "a"),
        ("", "A", "a"),
        ("Service", "#A", "a"),
        ("Service", "[A", "a"),
    ],
)
def test_an_option_cannot_smuggle_in_another(option: tuple[str, str, str]) -> None:
    with pytest.raises(UnitFileError, match="cannot stand in a unit file"):
        from_options([("Unit", "Description", "x"), option])


words = st.text(
    st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp", "Zs"), blacklist_characters="[]=#;\\"),
    min_size=1,
)
line = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp"), blacklist_characters="\\"))
values = st.one_of(
    line.map(str.strip),
    st.lists(line.map(lambda t: "x" + t.strip()), min_size=2, max_size=4).map(" \\\n".join),
)
options = st.lists(st.builds(Option, section=words, name=words, value=values), max_size=12)


@given(options)
def test_what_was_written_is_read_again(written: list[Option]) -> None:
    text = serialise(written)
    read = parse_unit(text).options
    grouped = [
        o for section in dict.fromkeys(w.section for w in written) for o in written if o.section == section
    ]
    assert [(o.section, o.name, o.value) for o in read] == [(o.section, o.name, o.value) for o in grouped]
    assert serialise(read) == text


texts = st.lists(st.sampled_from(["[A]", "[B]", "x=1", "y=a \\", "", "#c", "z= b\\", "  w = \\", ";"])).map(
    "\n".join
)


@given(st.one_of(texts, st.text()))
def test_any_text_that_can_be_read_survives_writing(text: str) -> None:
    try:
        read = parse_unit(text).options
    except UnitFileError as error:
        event(f"refused: {len(error.problems)} problems")
        return
    again = parse_unit(serialise(read)).options
    for section in {o.section for o in read}:
        before = [(o.name, o.value) for o in read if o.section == section]
        assert [(o.name, o.value) for o in again if o.section == section] == before
