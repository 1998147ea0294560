"""Recipes laid over one another: what a recipe says counts over what its base says.

    base = "../skerry.toml"     the recipe below, named relative to the one above

A value stands over the base's; a list adds to the base's (but those of REPLACED stand over it too). Each text
remembers which file it came from, so that a problem is shown in the file where it was written.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.kit import toml_lines
from skerry.kit.errors import Problem, ProblemsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from skerry.kit.toml_lines import Document

BASE = "base"
REPLACED = frozenset({"packages.pockets"})
DEEPEST = 8


@dataclass(frozen=True, slots=True)
class Layers:
    """A recipe's documents, the uppermost last, and their values as one."""

    documents: tuple[Document, ...]
    values: Mapping[str, object]

    @property
    def file(self) -> str:
        """The file that was asked for."""
        return self.documents[-1].file

    def has(self, key: str, text: str) -> bool:
        """Whether the list at `key` was written with `text` in any of the documents."""
        return any((key, text) in document.texts for document in self.documents)

    def home(self, key: str, text: str | None = None) -> Document:
        """The document that a value, or one text of a list, comes from."""
        for document in reversed(self.documents):
            if text is not None and (key, text) in document.texts:
                return document
        for document in reversed(self.documents):
            if key in document.keys:
                return document
        return next(
            (one for one in reversed(self.documents) if one.line(key) is not None), self.documents[-1]
        )

    def directory(self, key: str, text: str | None = None) -> Path:
        """What paths written there are relative to."""
        return Path(self.home(key, text).file).parent

    def problem(self, message: str, key: str, *, text: str | None = None, hint: str | None = None) -> Problem:
        return self.home(key, text).problem(message, key, text=text, hint=hint)


def read(source: str, path: Path) -> Layers:
    """The document in `source` over its bases. Raises ProblemsError where one is not TOML or not there."""
    documents = [toml_lines.parse(source, str(path))]
    seen = [path.resolve()]
    while BASE in (top := documents[0]).values:
        named = top.values[BASE]
        if not isinstance(named, str):
            raise _refused(top, f"{BASE} must be a text")
        below = Path(top.file).parent / named
        try:
            resolved = below.resolve()
            if resolved in seen:
                raise _refused(top, f"{named} is a recipe that this one is below of already")
            if len(seen) >= DEEPEST:
                raise _refused(top, f"more than {DEEPEST} recipes are laid over one another")
            documents.insert(0, toml_lines.parse(below.read_text(), str(below)))
        except (OSError, ValueError) as error:
            raise _refused(top, f"cannot read {named!r}: {error}") from error
        seen.append(resolved)
    values: Mapping[str, object] = {}
    for document in documents:
        values = lay(values, document.values)
    return Layers(tuple(documents), values)


def lay(below: Mapping[str, object], above: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Two documents' values as one. What both lists have stands where the base has it."""
    laid = dict(below)
    for key, value in above.items():
        under = laid.get(key)
        if isinstance(value, dict) and isinstance(under, dict):
            laid[key] = lay(under, value, f"{prefix}{key}.")
        elif isinstance(value, list) and isinstance(under, list) and f"{prefix}{key}" not in REPLACED:
            laid[key] = [*under, *(one for one in value if one not in under)]
        else:
            laid[key] = value
    return laid


def _refused(document: Document, message: str) -> ProblemsError:
    return ProblemsError(f"{document.file} is not a recipe", [document.problem(message, BASE)])
