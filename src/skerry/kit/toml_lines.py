"""TOML with the line of every key and every listed text: a problem is shown where it was written.

The standard parser decides what the document means; this only finds places again, by reading the
document line by line. A place that it cannot tell is None, never a wrong line.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from skerry.kit.errors import Problem, ProblemsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

T = TypeVar("T")

_HEADER = re.compile(r"^\s*\[{1,2}\s*([^\]]+?)\s*\]{1,2}\s*(#.*)?$")
_PART = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_KEY = re.compile(rf"^\s*({_PART}(?:\s*\.\s*{_PART})*)\s*=")
_TEXT = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'([^']*)'")


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed TOML document; `keys` maps a dotted key, `texts` a dotted key and a listed text, to lines."""

    file: str
    values: Mapping[str, object]
    keys: Mapping[str, int]
    texts: Mapping[tuple[str, str], int]

    def line(self, key: str, text: str | None = None) -> int | None:
        """The line of a dotted key, or of one text in the list that stands there; the key's failing that."""
        if text is not None and (key, text) in self.texts:
            return self.texts[key, text]
        while key:
            if key in self.keys:
                return self.keys[key]
            key = key.rpartition(".")[0]
        return None

    def problem(self, message: str, key: str, *, text: str | None = None, hint: str | None = None) -> Problem:
        return Problem(self.file, self.line(key, text), message, hint=hint, where=key)


def parse(source: str, file: str) -> Document:
    """Parse a document. Raises ProblemsError with the line where it is not TOML."""
    try:
        values = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        said = re.search(r"line (\d+)", str(error))
        line = int(said.group(1)) if said else len(source.splitlines())
        message = re.sub(r" \(at .*\)$", "", str(error))
        raise ProblemsError(f"{file} is not TOML", [Problem(file, line, message)]) from error
    keys, texts = _places(source)
    return Document(file, values, keys, texts)


def overlaid(
    paths: Iterable[Path], settings: T, apply: Callable[[T, Document, list[Problem]], T]
) -> tuple[T, list[Problem]]:
    """`settings` with the files at `paths` over them, the strongest last, and every problem in them.

    Files that are not there are passed over; `apply` adds what is wrong in a document to its list.
    """
    problems: list[Problem] = []
    for path in paths:
        try:
            settings = apply(settings, parse(path.read_text(), str(path)), problems)
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            problems.append(Problem(str(path), None, f"cannot be read: {error}"))
        except ProblemsError as error:
            problems += error.problems
    return settings, problems


def _places(source: str) -> tuple[dict[str, int], dict[tuple[str, str], int]]:
    keys: dict[str, int] = {}
    texts: dict[tuple[str, str], int] = {}
    table = key = ""
    for number, line in enumerate(source.splitlines(), 1):
        rest = line
        if header := _HEADER.match(line):
            table = key = _plain(header.group(1))
            keys.setdefault(table, number)
            continue
        if found := _KEY.match(line):
            key = f"{table}.{_plain(found.group(1))}".lstrip(".")
            keys.setdefault(key, number)
            rest = line[found.end() :]
        if not rest.lstrip().startswith("#"):
            for text in _TEXT.finditer(rest):
                texts.setdefault((key, text.group(1) if text.group(1) is not None else text.group(2)), number)
    return keys, texts


def _plain(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))
