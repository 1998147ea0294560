"""What journalctl is asked, and what its lines mean."""

from __future__ import annotations

import json

import pytest

from skerry.host.units.errors import UnitNameError
from skerry.host.units.journal import LONGEST_MESSAGE, MOST_LINES, Line, command, parse_line

ENTRY = {
    "__CURSOR": "s=1",
    "__REALTIME_TIMESTAMP": "1795227015046101",
    "MESSAGE": "hello",
    "PRIORITY": "3",
    "_PID": "12",
    "SYSLOG_IDENTIFIER": "app",
    "_HOSTNAME": "node",
}


def parse(**changes: object) -> Line | None:
    return parse_line(json.dumps(ENTRY | changes).encode())


def test_an_entry() -> None:
    assert parse() == Line(1795227015046101, "hello", 3, "app", 12, "node", "s=1")


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ([104, 105, 255], "hi\ufffd"),
        (None, ""),
        (["one", "two"], "one"),
        ("x" * 20000, "x" * LONGEST_MESSAGE),
    ],
)
def test_messages_that_are_no_plain_text(message: object, shown: str) -> None:
    line = parse(MESSAGE=message)
    assert line is not None
    assert line.message == shown


@pytest.mark.parametrize(("field", "value"), [("PRIORITY", "99"), ("PRIORITY", None), ("PRIORITY", "x")])
def test_an_odd_priority_counts_as_information(field: str, value: object) -> None:
    line = parse(**{field: value})
    assert line is not None
    assert line.priority == 6


def test_a_process_without_a_name_of_its_own() -> None:
    line = parse(SYSLOG_IDENTIFIER=None, _COMM="sh", _PID=None)
    assert line is not None
    assert (line.identifier, line.pid) == ("sh", None)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b"-- No entries --"])
def test_what_is_no_entry_is_passed_over(text: bytes) -> None:
    assert parse_line(text) is None


def test_the_command() -> None:
    assert command("web.service", lines=10, follow=False)[-2:] == ["--unit=web.service", "--lines=10"]
    assert command("web.service", lines=10**9, follow=True)[-2:] == [f"--lines={MOST_LINES}", "--follow"]
    assert "--after-cursor=s=1" in command("web.service", lines=0, follow=False, after="s=1")


@pytest.mark.parametrize("unit", ["--file=/etc/shadow", "web", "a b.service"])
def test_only_unit_names_are_asked_for(unit: str) -> None:
    with pytest.raises(UnitNameError):
        command(unit, lines=1, follow=False)
