"""The text of a unit file and the list of its options; fleet's hash of it.

    [Section]
    Name=value, which goes on after a \\
      in the next line
    # a comment, ; another

Reading keeps the order, the repetitions and, in a value, the backslashes and line breaks of its
continuations. Comments and blank lines are dropped; a comment between continued lines stays part of
the value, as fleet had it (systemd skips it there). Writing groups the options by section in the
order in which the sections first appear. Invariant: reading what was written gives the same options.

The hash is the SHA-1 of the written form: it names a unit's content as fleet's did, it protects nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.host.units.errors import UnitFileError
from skerry.kit.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_LINE = 1024 * 1024  # systemd's LONG_LINE_MAX
LARGEST_FILE_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True)
class Option:
    """One assignment; `line` is where it begins in the author's file, 0 where there is no file."""

    section: str
    name: str
    value: str
    line: int = 0

    @property
    def joined(self) -> str:
        """The value on one line, as systemd reads it: continuations become a space."""
        lines = self.value.split("\n")
        kept = [lines[0], *(line for line in lines[1:] if not line.lstrip().startswith(("#", ";")))]
        return " ".join(line.rstrip("\\").strip() for line in kept).strip()


@dataclass(frozen=True, slots=True)
class UnitFile:
    """A parsed unit file. `sections` holds each header with its line, repetitions included."""

    file: str
    options: tuple[Option, ...]
    sections: tuple[tuple[str, int], ...] = ()

    def all(self, section: str, name: str) -> tuple[Option, ...]:
        """Every assignment of an option, in order."""
        return tuple(o for o in self.options if o.section == section and o.name == name)

    def last(self, section: str, name: str) -> str | None:
        """The value that counts for an option that holds one value; None where it is not set."""
        found = self.all(section, name)
        return found[-1].joined if found else None

    def has_section(self, section: str) -> bool:
        """True where any option stands in that section."""
        return any(o.section == section for o in self.options)


def parse_unit(text: str, file: str = "unit") -> UnitFile:
    """Read a unit file; `file` is how problems name it. Raises UnitFileError with all problems."""
    reader = _Reader(file)
    if len(text.encode()) > LARGEST_FILE_BYTES:
        limit = f"the unit is larger than {LARGEST_FILE_BYTES // 1024} KiB"
        raise UnitFileError(f"{file} cannot be read", [Problem(file, None, limit)])
    for number, line in enumerate(text.split("\n"), start=1):
        reader.feed(number, line.removesuffix("\r"))
    reader.end()
    if reader.problems:
        raise UnitFileError(f"{file} cannot be read", reader.problems)
    return UnitFile(file, tuple(reader.options), tuple(reader.sections))


class _Reader:
    """Line by line; an option under way is held until a line comes that does not continue it."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.options: list[Option] = []
        self.sections: list[tuple[str, int]] = []
        self.problems: list[Problem] = []
        self._section: str | None = None
        self._ignored_section = False
        self._name = ""
        self._begun_at = 0
        self._value: list[str] = []

    def feed(self, number: int, line: str) -> None:
        if len(line) > LONGEST_LINE:
            self._problem(number, "this line is longer than 1 MiB")
            return
        if "\0" in line:
            self._problem(number, "this line contains a zero byte")
            return
        if self._value:
            self._go_on(line)
        else:
            self._begin(number, line.strip())

    def end(self) -> None:
        if self._value:
            self._finish()

    def _begin(self, number: int, line: str) -> None:
        if not line or line[0] in "#;":
            return
        if line[0] == "[":
            self._header(number, line)
            return
        name, equals, value = line.partition("=")
        name = name.rstrip()
        if not equals:
            self._problem(
                number, f"expected Name=value, found {_short(line)!r}", "comments begin with # or ;"
            )
        elif not name:
            self._problem(number, "there is no name before the =")
        elif self._section is None:
            if not self._ignored_section:
                self._problem(number, f"{_short(name)}= stands before any section", "begin with [Unit]")
        else:
            self._name, self._begun_at = name, number
            self._value = [value]
            if not value.endswith("\\"):
                self._finish()

    def _header(self, number: int, line: str) -> None:
        name, bracket, rest = line[1:].partition("]")
        self._ignored_section, self._section = True, None
        if not bracket:
            self._problem(number, f"section header {_short(line)!r} lacks its ]")
        elif rest.strip():
            self._problem(number, f"unexpected {_short(rest.strip())!r} after the section header")
        elif not name or "[" in name:
            self._problem(number, f"{_short(line)!r} is no section header")
        else:
            self._section = name
            self.sections.append((name, number))

    def _go_on(self, line: str) -> None:
        if not line.strip():
            self._finish()
            return
        self._value.append(line)
        if not line.endswith("\\"):
            self._finish()

    def _finish(self) -> None:
        assert self._section is not None  # noqa: S101  an option is held only inside a section
        value = "\n".join(self._value).strip()
        self.options.append(Option(self._section, self._name, value, self._begun_at))
        self._value = []

    def _problem(self, line: int, message: str, hint: str | None = None) -> None:
        self.problems.append(Problem(self.file, line, message, hint))


def serialise(options: Iterable[Option]) -> str:
    """Write options as a unit file: one block for each section, in order of first appearance."""
    blocks: dict[str, list[str]] = {}
    for option in options:
        # An empty line keeps a value that ends in a backslash from swallowing the next option.
        end = "\n\n" if option.value.endswith("\\") else "\n"
        blocks.setdefault(option.section, []).append(f"{option.name}={option.value}{end}")
    return "\n".join(f"[{section}]\n{''.join(lines)}" for section, lines in blocks.items())


def unit_hash(unit: UnitFile) -> str:
    """fleet's hash: the SHA-1 of the serialised unit, 40 hexadecimal digits."""
    return hashlib.sha1(serialise(unit.options).encode(), usedforsecurity=False).hexdigest()


def from_options(options: Iterable[tuple[str, str, str]], file: str = "unit") -> UnitFile:
    """A unit from (section, name, value) triples, as fleet's API sends them.

    Raises UnitFileError where a triple could not stand in a file: writing it and reading it again
    must give the same, so a value cannot smuggle in another option.
    """
    wanted = [Option(section, name, value.strip()) for section, name, value in options]
    problems = []
    for number, option in enumerate(wanted):
        try:
            read = parse_unit(serialise([option]), file).options
        except UnitFileError:
            read = ()
        if [(o.section, o.name, o.value) for o in read] != [(option.section, option.name, option.value)]:
            shown = _short(f"[{option.section}] {option.name}={option.value}")
            message = f"option {number + 1}, {shown!r}, cannot stand in a unit file"
            problems.append(Problem(file, None, message, where=f"options[{number}]"))
    if problems:
        raise UnitFileError(f"{file} cannot be written", problems)
    return parse_unit(serialise(wanted), file)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"
