"""What of a journal a test takes for an error."""

from __future__ import annotations

import pytest

from skerry_lab.journal import Allowed, Entry, parse, unexpected


def line(priority: int = 3, identifier: str = "systemd", message: str = "it broke") -> Entry:
    return Entry(priority, "", identifier, message, 0)


def test_journalctl_is_read() -> None:
    text = (
        '{"PRIORITY":"3","_SYSTEMD_UNIT":"a.service","SYSLOG_IDENTIFIER":"a","MESSAGE":"m",'
        '"__REALTIME_TIMESTAMP":"7"}\n-- No entries --\n{"MESSAGE":[104,105,255],"_COMM":"b"}\n'
    )
    assert parse(text) == [Entry(3, "a.service", "a", "m", 7), Entry(6, "", "b", "hi\ufffd", 0)]


@pytest.mark.parametrize(("priority", "seen"), [(0, True), (3, True), (4, False), (6, False)])
def test_errors_are_lines_of_priority_err_and_worse(priority: int, *, seen: bool) -> None:
    assert bool(unexpected([line(priority)], [])) is seen


def test_what_a_container_writes_is_its_own_affair() -> None:
    text = (
        '{"PRIORITY":"3","_COMM":"conmon","CONTAINER_NAME":"web","MESSAGE":"woe"}\n'
        '{"PRIORITY":"3","_COMM":"podman","CONTAINER_NAME":"web","MESSAGE":"woe"}\n'
    )
    assert [entry.identifier for entry in unexpected(parse(text), [])] == ["podman"]


def test_a_rule_explains_the_lines_of_its_writer_only() -> None:
    rule = Allowed("systemd", r"^it .*ke$", "a test")
    assert unexpected([line(), line(identifier="sshd")], [rule]) == [line(identifier="sshd")]
