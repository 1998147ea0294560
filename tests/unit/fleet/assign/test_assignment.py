"""The messages of the stream: what is written is read again, and what is newer spoils nothing."""

from __future__ import annotations

import msgspec
import pytest

from skerry.fleet.assign.assignment import (
    Assignment,
    Beat,
    Change,
    Full,
    Message,
    decode_message,
    encode_message,
)
from skerry.fleet.state.document import RecordError
from skerry.fleet.state.unit import DesiredState, UnitRecord

RECORD = UnitRecord("web.service", "[Service]\n", "h", DesiredState.LAUNCHED, launch=2)


@pytest.mark.parametrize(
    "message",
    [
        Full((Assignment(RECORD), Assignment(RECORD, fence=True)), 7, {"x.service": "newer"}),
        Full((), 0),
        Change(8, (Assignment(RECORD),), ("a.service",)),
        Beat(15.0, 9),
    ],
)
def test_a_message_is_read_as_it_was_written(message: Message) -> None:
    line = encode_message(message)
    assert line.count(b"\n") == 1
    assert decode_message(line) == message


def test_a_record_of_a_newer_server_spoils_no_other() -> None:
    newer = msgspec.json.encode(RECORD).replace(b'"version":1', b'"version":99')
    newer = newer.replace(b"web.service", b"new.service")
    good = msgspec.json.encode(RECORD)
    line = b'{"type":"full","revision":3,"assignments":[{"record":%b},{"record":%b}]}' % (newer, good)
    message = decode_message(line)
    assert isinstance(message, Full)
    assert [a.record.name for a in message.assignments] == ["web.service"]
    assert "version 99" in message.unreadable["new.service"]


def test_an_unknown_type_is_no_message() -> None:
    assert decode_message(b'{"type":"secret","value":1}') is None


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"type":"full"}', b'{"type":"beat","ttl_s":"x"}'])
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(RecordError):
        decode_message(line)
