"""The root of every error that is a person's to mend, and problems shown on the person's own lines.

    SkerryError          what happened, in one sentence, and a hint what to do
    ├── ProblemsError    several problems of one document, all shown at once
    └── (one small tree per package, in that package's errors.py)

A bug is not a SkerryError. Libraries raise; only `entry` prints, colours and exits.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class SkerryError(Exception):
    """An error to be shown to a person: a sentence, and optionally what to do about it."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Severity(enum.StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with a document that a person wrote.

    `line` counts from 1; None where the document as a whole is meant. `where` names the place
    within the document ("units[2].name"), for those who look for the key and not for the line.
    """

    file: str
    line: int | None
    message: str
    hint: str | None = None
    where: str | None = None
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        text = f"{place}: {self.severity}: {self.message}"
        return text if self.hint is None else f"{text} ({self.hint})"


class ProblemsError(SkerryError):
    """A document cannot be used; every problem found in it, in the order of its lines."""

    def __init__(self, what: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.file, p.line or 0)))
        count = len(self.problems)
        lines = "\n".join(f"  {p}" for p in self.problems)
        super().__init__(f"{what}: {count} problem{'s' if count != 1 else ''}\n{lines}")
