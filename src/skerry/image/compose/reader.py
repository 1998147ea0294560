"""Takes values out of a recipe's layers and collects every problem, each for the line it was written on."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from skerry.image.compose import layers
from skerry.image.compose.errors import ComposeError
from skerry.image.compose.mirror import POCKETS
from skerry.kit.errors import Problem, ProblemsError

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Mapping

    from skerry.image.compose.layers import Layers

FORMAT = 1

T = TypeVar("T")


def load(path: Path, values: Callable[[Reader, Layers], T]) -> T:
    """What `values` takes out of a recipe. Raises ComposeError, or ProblemsError with every mistake."""
    try:
        source = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ComposeError(f"cannot read the recipe {path}: {error}") from error
    return parse(source, path, values)


def parse(source: str, path: Path, values: Callable[[Reader, Layers], T]) -> T:
    """The same of a text; `path` is for messages, and for what the recipe names relative to itself."""
    document = layers.read(source, path)
    read = Reader(document)
    found = values(read, document)
    read.finish()
    return found


def keys(values: Callable[[Reader, Layers], object]) -> frozenset[str]:
    """Every key that `values` asks for, dotted."""
    nothing = layers.read("", Path())
    read = Reader(nothing)
    values(read, nothing)
    return frozenset(read.known)


class Reader:
    """Takes values out of the document, remembers what was asked for, and collects every problem."""

    def __init__(self, document: Layers) -> None:
        self._document = document
        self.known: set[str] = set()
        self._problems: list[Problem] = []

    def complain(self, message: str, key: str, *, text: str | None = None, hint: str | None = None) -> None:
        self._problems.append(self._document.problem(message, key, text=text, hint=hint))

    def value(self, key: str, kind: type[T], *, required: bool = True) -> T | None:
        self.known.add(key)
        found: object = self._document.values
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found is None:
            if required:
                self.complain(f"{key} is missing", key)
            return None
        if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
            self.complain(f"{key} must be {_WORDS[kind]}", key)
            return None
        return found

    def texts(self, key: str, *, required: bool = True) -> tuple[str, ...]:
        values: list[object] = self.value(key, list, required=required) or []
        wrong = [value for value in values if not isinstance(value, str)]
        if wrong:
            self.complain(f"{key} must hold texts only, and holds {wrong[0]!r}", key)
        texts = tuple(value for value in values if isinstance(value, str))
        for twice in sorted({text for text in texts if texts.count(text) > 1}):
            self.complain(f"{twice!r} stands twice in {key}", key, text=twice)
        return texts

    def word(
        self, key: str, form: re.Pattern[str], what: str, *, hint: str | None = None, required: bool = True
    ) -> str | None:
        """A text of a form."""
        text = self.value(key, str, required=required)
        if text is not None and not form.fullmatch(text):
            self.complain(f"{text!r} is not {what}", key, hint=hint)
        return text

    def words(self, key: str, form: re.Pattern[str], what: str, *, required: bool = True) -> tuple[str, ...]:
        """Texts of one form."""
        texts = self.texts(key, required=required)
        for text in texts:
            if not form.fullmatch(text):
                self.complain(f"{text!r} is not {what}", key, text=text)
        return texts

    def paths(self, key: str, *, required: bool = True) -> tuple[str, ...]:
        """Paths or globs within the tree, as from its root."""
        texts = self.texts(key, required=required)
        for text in texts:
            if (
                not text
                or "\0" in text
                or text.startswith("/")
                or not {".", ".."}.isdisjoint(text.split("/"))
            ):
                hint = "written as from the root of the tree, without a / in front: usr/bin/example"
                self.complain(f"{text!r} is not a path in the tree", key, text=text, hint=hint)
            elif text.count("{") > 1 or text.count("}") != text.count("{"):
                self.complain(f"{text!r} has more than one pair of braces, or half a pair", key, text=text)
        return texts

    def formats(self) -> None:
        """Each file tells its own format; and a recipe over another is not the same image again."""
        self.value("format", int)
        for document in self._document.documents:
            found = document.values.get("format", FORMAT)
            if isinstance(found, int) and found != FORMAT:
                message = f"recipe format {found} is not known to this version of Skerry"
                self._problems.append(document.problem(message, "format"))
        top = self._document.documents[-1]
        if layers.BASE in top.values and not {"name", "version"} & top.values.keys():
            hint = "the base's image would be replaced by this one: give a version, or a name"
            self.complain("a recipe over another needs a version of its own", layers.BASE, hint=hint)

    def directories(self, key: str, *, required: bool = True) -> tuple[Path, ...]:
        """Directories, each relative to the file that names it."""
        found = []
        for text in self.texts(key, required=required):
            path = self._document.directory(key, text) / text
            if "\0" in text or not path.is_dir():
                self.complain(f"there is no directory {text}", key, text=text)
            else:
                found.append(path.resolve())
        return tuple(found)

    def pockets(self, key: str) -> tuple[str, ...]:
        """Of POCKETS, in their order; a suite's other pockets are of use only beside its release."""
        if self.value(key, list, required=False) is None:
            return POCKETS
        texts = self.texts(key)
        for text in texts:
            if text not in POCKETS:
                self.complain(
                    f"{text!r} is no pocket", key, text=text, hint=f"there are {', '.join(POCKETS)}"
                )
        if "release" not in texts:
            self.complain(f'{key} lacks "release", which the others add to', key)
        return tuple(pocket for pocket in POCKETS if pocket in texts)

    def trust(self, key: str) -> Path | None:
        """A file with the root role of a signed repository."""
        text = self.value(key, str, required=False)
        if text is None:
            return None
        path = self._document.directory(key) / text
        try:
            signed = json.loads(path.read_bytes())["signed"]
            good = signed["_type"] == "root"
        except OSError as error:
            self.complain(f"cannot read {text}: {error.strerror}", key)
            return None
        except (ValueError, KeyError, TypeError):
            good = False
        if not good:
            hint = "metadata/1.root.json of the repository, made by `skerry release init`"
            self.complain(f"{text} is not the root role of a repository", key, hint=hint)
        return path.resolve()

    def size(self, key: str, least: int, most: int) -> int:
        size = self.value(key, int)
        if size is not None and not least <= size <= most:
            self.complain(f"{key} is {size}; it must be from {least} to {most}", key)
        return least if size is None else size

    def finish(self) -> None:
        """Raise ProblemsError if anything was wrong, unknown keys included."""
        values = self._document.values
        empty = {key for key, value in values.items() if value == {}}
        tables = {key.rpartition(".")[0] for key in self.known}
        for key in _leaves(values):
            if key not in self.known and key not in empty & tables:
                near = difflib.get_close_matches(key, self.known, 1, 0.6)
                self.complain(f"unknown key {key}", key, hint=f"did you mean {near[0]}?" if near else None)
        if self._problems:
            unique = dict.fromkeys(self._problems)
            raise ProblemsError(f"{self._document.file} is not a recipe", unique)


_WORDS = {str: "a text", int: "a whole number", list: "a list"}


def _leaves(values: Mapping[str, object], prefix: str = "") -> list[str]:
    found: list[str] = []
    for key, value in values.items():
        inner = _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else []
        found += inner or [f"{prefix}{key}"]
    return found
