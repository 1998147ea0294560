"""What commands write: tables and JSON to stdout, the conversation to stderr.

A table is plain text, aligned, with no frames, so that `awk` reads it as well as people do. Colour and
moving bars appear only on a terminal, and never where NO_COLOR is set or TERM is dumb. rich is imported
only when a bar has something to show for longer than a second.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import TextIO

    from skerry.kit.http import Json
    from skerry.kit.progress import Reporter

GAP = 2
RED, GREEN, YELLOW, BOLD = "31", "32", "33", "1"


def table(
    rows: Iterable[Sequence[str]], columns: Sequence[str], *, legend: bool = True, full: bool = True
) -> None:
    """Print rows under their columns' names. Empty cells become "-"; `full` False cuts to the terminal."""
    cells = [[cell or "-" for cell in row] for row in rows]
    if legend:
        cells.insert(0, [column.upper() for column in columns])
    widths = [max((len(row[i]) for row in cells), default=0) for i in range(len(columns))]
    limit = _terminal_width() if not full and sys.stdout.isatty() else 0
    for row in cells:
        padded = [cell.ljust(width + GAP) for cell, width in zip(row, widths, strict=True)]
        line = "".join(padded).rstrip()
        print(line if not limit or len(line) <= limit else line[: limit - 1] + "…")


class Lines:
    """Rows that follow a table as things change, under its columns; a cell that is wider pushes the rest."""

    def __init__(self, rows: Sequence[Sequence[str]], columns: Sequence[str], *, legend: bool = True) -> None:
        cells = [*rows, [column if legend else "" for column in columns]]
        self._widths = [max(len(row[i] or "-") for row in cells) for i in range(len(columns))]

    def add(self, row: Sequence[str]) -> None:
        padded = [(cell or "-").ljust(width + GAP) for cell, width in zip(row, self._widths, strict=True)]
        print("".join(padded).rstrip(), flush=True)


def emit_json(value: Json) -> None:
    """Print one JSON document: indented for a person's terminal, on one line for a program."""
    indent = 2 if sys.stdout.isatty() else None
    print(json.dumps(value, ensure_ascii=False, indent=indent), flush=True)


def say(text: str) -> None:
    """A line of conversation, to stderr."""
    print(text, file=sys.stderr)


def warn(text: str) -> None:
    """A warning, to stderr, yellow on a terminal."""
    say(f"{colour('warning:', YELLOW, sys.stderr)} {text}")


def colour(text: str, code: str, stream: TextIO | None = None) -> str:
    """`text` in an ANSI colour where `stream` (stdout) goes to a person's eyes."""
    return f"\033[{code}m{text}\033[0m" if is_fancy(stream or sys.stdout) else text


def is_fancy(stream: TextIO) -> bool:
    """Whether colour and movement are welcome there."""
    quiet = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not quiet


def show_size(size_bytes: float) -> str:
    """1536 → "1.5 KiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size_bytes) < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"


def show_duration(seconds: float) -> str:
    """75.3 → "1 min 15 s"; two units at most."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for size, name, smaller, smaller_name in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // smaller} {smaller_name}"
    return f"{whole} s"


def progress(*, as_json: bool = False) -> AbstractContextManager[Reporter]:
    """A reporter for long work, to stderr: bars on a terminal, lines elsewhere, JSON lines on request."""
    from skerry.entry.cli import bars

    return bars.json_lines() if as_json else bars.bars() if is_fancy(sys.stderr) else bars.plain_lines()


def fields(asked: str | None, known: Mapping[str, object], default: str) -> list[str]:
    """The columns that `--fields=a,b` asks for. Misuse (exit 2) where one is not known."""
    names = [name.strip() for name in (asked or default).split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        import click

        said = f"no field is called {', '.join(unknown)}" if unknown else "no field is given"
        raise click.UsageError(f"{said}; known are {', '.join(known)}")
    return names


def _terminal_width() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        return 0
