"""The journal of a unit, read and followed through `journalctl -o json`.

Bounded on every side: so many lines back, so many characters a line. A message that is not text is
shown with its bytes replaced. Field names: systemd.journal-fields(7).
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from skerry.host.units.errors import UnitError
from skerry.host.units.name import parse_name
from skerry.kit.run import ProgramError, lines_async

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

MOST_LINES = 10_000
LONGEST_MESSAGE = 16 * 1024
_FIELDS = "MESSAGE,PRIORITY,_PID,SYSLOG_IDENTIFIER,_COMM,_HOSTNAME"
DEFAULT_PRIORITY = 6  # info


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of the journal.

    `time_us` are microseconds since 1970-01-01 UTC; `priority` is syslog's, 0 to 7; `cursor` is where
    to go on from.
    """

    time_us: int
    message: str
    priority: int
    identifier: str
    pid: int | None
    host: str
    cursor: str


def command(unit: str, *, lines: int, follow: bool, after: str | None = None) -> list[str]:
    """The journalctl that reads a unit. Raises UnitNameError, so that no name is taken for an option."""
    count = max(0, min(lines, MOST_LINES))
    argv = ["journalctl", "--quiet", "--no-pager", "--all", "--output=json", f"--output-fields={_FIELDS}"]
    argv += [f"--unit={parse_name(unit).full}"]
    argv += [f"--after-cursor={after}"] if after is not None else [f"--lines={count}"]
    return [*argv, "--follow"] if follow else argv


async def read_journal(
    unit: str, *, lines: int = 10, follow: bool = False, after: str | None = None
) -> AsyncGenerator[Line, None]:
    """The last `lines` entries of a unit, oldest first, and with `follow` every one that comes after.

    `unit` is the unit that systemd runs. With `after`, a cursor, all entries since. Close the
    iterator to end following. Raises UnitError.
    """
    argv = command(unit, lines=lines, follow=follow, after=after)
    try:
        async with aclosing(lines_async(argv)) as texts:
            async for text in texts:
                line = parse_line(text)
                if line is not None:
                    yield line
    except ProgramError as error:
        raise UnitError(f"the journal of {unit} cannot be read: {error.message}") from error


def parse_line(text: bytes) -> Line | None:
    """One line of `journalctl -o json`; None for what is no entry."""
    try:
        fields = msgspec.json.decode(text, type=dict[str, object])
    except msgspec.DecodeError:
        return None
    if "__REALTIME_TIMESTAMP" not in fields:
        return None
    return Line(
        time_us=_number(fields.get("__REALTIME_TIMESTAMP")) or 0,
        message=_text(fields.get("MESSAGE"))[:LONGEST_MESSAGE],
        priority=_priority(fields.get("PRIORITY")),
        identifier=_text(fields.get("SYSLOG_IDENTIFIER")) or _text(fields.get("_COMM")),
        pid=_number(fields.get("_PID")),
        host=_text(fields.get("_HOSTNAME")),
        cursor=_text(fields.get("__CURSOR")),
    )


def _text(value: object) -> str:
    """A field as text: journalctl shows bytes as numbers, a repeated field as a list."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        if all(isinstance(byte, int) and 0 <= byte < 256 for byte in value):
            return bytes(value).decode(errors="replace")
        return _text(value[0])
    return ""


def _number(value: object) -> int | None:
    text = _text(value)
    return int(text) if text.isdecimal() else None


def _priority(value: object) -> int:
    number = _number(value)
    return DEFAULT_PRIORITY if number is None or number > 7 else number
