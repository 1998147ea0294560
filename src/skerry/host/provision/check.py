"""Holds a tree against the tables of keys: reports what is unknown or of the wrong type, and leaves it out.

What remains has only known keys with values of their type, so that those who read it need no checks of
types. The hint never shows a value: it may be a secret.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING

from skerry.host.provision.document import Entry, Mapping, Node, Scalar, Sequence
from skerry.host.provision.keys import COREOS_KEYS, FOREIGN, TOP_KEYS, Key, Kind
from skerry.kit.errors import Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Mapping as Table


class Problems:
    """Collects what is wrong with one document."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[Problem] = []

    def error(self, line: int, message: str, hint: str | None = None, *, where: str | None = None) -> None:
        self.found.append(Problem(self.file, line, message, hint=hint, where=where))

    def warning(self, line: int, message: str, hint: str | None = None, *, where: str | None = None) -> None:
        warning = Problem(self.file, line, message, hint=hint, where=where, severity=Severity.WARNING)
        self.found.append(warning)


def check(tree: Mapping, problems: Problems) -> Mapping:
    """The tree without what Skerry does not know or cannot take."""
    return _table(tree, TOP_KEYS, "", problems)


def _table(node: Mapping, keys: Table[str, Key], where: str, problems: Problems) -> Mapping:
    kept = []
    for entry in node.entries:
        place = f"{where}.{entry.key}" if where else entry.key
        key = keys.get(entry.key)
        if key is None:
            _unknown(entry, keys, place, problems)
            continue
        if isinstance(entry.value, Scalar) and entry.value.value is None:
            continue  # `key:` with nothing after it means that it is not given
        value = _value(entry.value, key, entry, place, problems)
        if key.note is not None:
            problems.warning(
                entry.line,
                f"{entry.written!r} is known from CoreOS and not used by Skerry",
                key.note,
                where=place,
            )
        elif value is not None:
            kept.append(replace(entry, value=value))
    return Mapping(node.line, tuple(kept))


def _unknown(entry: Entry, keys: Table[str, Key], place: str, problems: Problems) -> None:
    where, _, name = place.rpartition(".")
    if entry.key in FOREIGN and not where.startswith("skerry"):
        said, hint = f"{entry.written!r} is a key of the other cloud-init", FOREIGN[entry.key]
    elif where == "coreos" and entry.key in TOP_KEYS:
        said, hint = f"{entry.written!r} under `coreos` is not read", "it belongs at the top level"
    elif not where and entry.key in COREOS_KEYS:
        said, hint = f"{entry.written!r} at the top level is not read", "it belongs under `coreos`"
    else:
        said = f"the key {entry.written!r} is not known here"
        near = difflib.get_close_matches(name, keys, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(keys))}"
    problems.warning(entry.line, said, hint, where=place)


def _value(node: Node, key: Key, entry: Entry, place: str, problems: Problems) -> Node | None:
    """The value if it is of the key's kind, without those parts of it that are not."""
    match key.kind, node:
        case Kind.TEXT, Scalar():
            if key.choices and node.text not in key.choices:
                choices = ", ".join(key.choices)
                problems.error(node.line, f"{entry.written!r} must be one of {choices}", where=place)
                return None
            return node
        case Kind.FLAG, Scalar():
            return _flag(node, entry, place, problems)
        case Kind.TABLE, Mapping():
            return _table(node, key.keys, place, problems)
        case Kind.FREE, Mapping():
            return node
        case ((Kind.TEXTS | Kind.TABLES), Sequence()):
            return _items(node, key, entry, place, problems)
        case Kind.TEXTS, Scalar():
            said = f"{entry.written!r} must be a list of texts"
            problems.error(entry.line, said, "put it below, after a dash: `- …`", where=place)
        case _:
            said = f"{entry.written!r} must be {key.kind.value}, this is {_named(node)}"
            dash = "put each item below, after a dash: `- …`" if key.kind is Kind.TABLES else None
            problems.error(entry.line, said, dash, where=place)
    return None


def _items(node: Sequence, key: Key, entry: Entry, place: str, problems: Problems) -> Sequence:
    kept: list[Node] = []
    for number, item in enumerate(node.items):
        spot = f"{place}[{number}]"
        if isinstance(item, Scalar) and item.value is None:
            problems.warning(item.line, f"an item of {entry.written!r} is empty", where=spot)
        elif key.kind is Kind.TEXTS and isinstance(item, Scalar):
            kept.append(item)
        elif key.kind is Kind.TABLES and isinstance(item, Mapping):
            kept.append(_table(item, key.keys, spot, problems))
        else:
            wanted = "a text" if key.kind is Kind.TEXTS else "a mapping"
            said = f"each item of {entry.written!r} must be {wanted}, this is {_named(item)}"
            problems.error(item.line, said, where=spot)
    return Sequence(node.line, tuple(kept))


def _flag(node: Scalar, entry: Entry, place: str, problems: Problems) -> Scalar | None:
    if isinstance(node.value, bool):
        return node
    if node.text.lower() in ("true", "false"):
        problems.warning(
            node.line, f"{entry.written!r} is true or false, not a text", "leave out the quotes", where=place
        )
        return replace(node, value=node.text.lower() == "true")
    problems.error(node.line, f"{entry.written!r} must be true or false", where=place)
    return None


def _named(node: Node) -> str:
    match node:
        case Mapping():
            return "a mapping"
        case Sequence():
            return "a list"
        case Scalar(value=bool()):
            return "true or false"
        case Scalar(value=int() | float()):
            return "a number"
        case _:
            return "a text"
