"""What a node is to hold, and the messages that tell it: one JSON object on each line (NDJSON).

    {"type": "full", "revision": 7, "assignments": [{"record": {…}, "fence": false}], "unreadable": {}}
    {"type": "change", "revision": 8, "set": [{…}], "gone": ["web.service"], "unreadable": {}}
    {"type": "beat", "revision": 8, "ttl_s": 15.0}

A stream begins with a Full; whatever is not in it is not this node's. A revision is the store's, of the last
change of units, placements and nodes that the sender had seen: the receiver knows all up to there.
`unreadable` names units whose record the sender, or the receiver, cannot read, with a sentence: they are
neither wanted nor unwanted. A message of an unknown type is no message: servers may be newer.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from skerry.fleet.state.document import RecordError
from skerry.fleet.state.unit import UnitRecord


class Assignment(msgspec.Struct, frozen=True):
    """A unit for one node. `fence`: it must be dead here before it may run elsewhere."""

    record: UnitRecord
    fence: bool = False


class Full(msgspec.Struct, frozen=True, tag="full", omit_defaults=True):
    """Everything that the node is to hold."""

    assignments: tuple[Assignment, ...]
    revision: int
    unreadable: dict[str, str] = {}


class Change(msgspec.Struct, frozen=True, tag="change", omit_defaults=True):
    """What is new or different, and the names of what the node is to hold no longer."""

    revision: int
    set: tuple[Assignment, ...] = ()
    gone: tuple[str, ...] = ()
    unreadable: dict[str, str] = {}


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """Nothing changed up to `revision`; after `ttl_s` without a heartbeat a node counts as lost."""

    ttl_s: float
    revision: int


Message: TypeAlias = Full | Change | Beat


def encode_message(message: Message) -> bytes:
    """One line, with its end."""
    return msgspec.json.encode(message) + b"\n"


def decode_message(line: bytes) -> Message | None:
    """The message, None for one of a type that is not known. Raises RecordError.

    A record that cannot be read spoils no other: its name goes to `unreadable`.
    """
    try:
        match msgspec.json.decode(line, type=_Kind).type:
            case "full":
                full = msgspec.json.decode(line, type=_Full)
                read, unreadable = _read(full.assignments)
                return Full(read, full.revision, full.unreadable | unreadable)
            case "change":
                change = msgspec.json.decode(line, type=_Change)
                read, unreadable = _read(change.set)
                return Change(change.revision, read, change.gone, change.unreadable | unreadable)
            case "beat":
                return msgspec.json.decode(line, type=Beat)
            case _:
                return None
    except msgspec.DecodeError as error:
        raise RecordError(f"a message of the server cannot be read: {error}") from error


class _Kind(msgspec.Struct, frozen=True):
    type: str


class _Name(msgspec.Struct, frozen=True):
    name: str


class _Assignment(msgspec.Struct, frozen=True):
    record: msgspec.Raw
    fence: bool = False


class _Full(msgspec.Struct, frozen=True, tag="full"):
    assignments: tuple[_Assignment, ...]
    revision: int
    unreadable: dict[str, str] = {}


class _Change(msgspec.Struct, frozen=True, tag="change"):
    revision: int
    set: tuple[_Assignment, ...] = ()
    gone: tuple[str, ...] = ()
    unreadable: dict[str, str] = {}


def _read(sent: tuple[_Assignment, ...]) -> tuple[tuple[Assignment, ...], dict[str, str]]:
    read: list[Assignment] = []
    unreadable: dict[str, str] = {}
    for one in sent:
        try:
            read.append(Assignment(UnitRecord.decode(bytes(one.record)), one.fence))
        except RecordError as error:
            unreadable[msgspec.json.decode(one.record, type=_Name).name] = error.message
    return tuple(read), unreadable
