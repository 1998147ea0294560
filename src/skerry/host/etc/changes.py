"""What differs between a version's defaults and the /etc made of them: values for a table, text for a patch.

Of a file that others may not read, and of keys and passwords, it is said that they changed, never how.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.host.etc.rules import Rule, is_secret, rule
from skerry.host.etc.text import is_text
from skerry.host.etc.tree import Kind, shown

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from skerry.host.etc.tree import Entry, Tree

BESIDE = re.compile(r"(?P<path>.+)\.skerry-(?P<side>new|mine)(?:\.\d+)?", re.DOTALL)
LARGEST_SHOWN_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Difference:
    """One path. `what`: "added", "deleted", or which of content, type, mode, owner, attributes differ."""

    path: str
    kind: Kind
    what: tuple[str, ...]
    note: str = ""
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Open:
    """A conflict that waits for you: at `path` one side, at `beside` the other; `side` is whose that is."""

    path: str
    beside: str
    side: str


def differences(defaults: Tree, yours: Tree, provisioned: Collection[str] = ()) -> tuple[Difference, ...]:
    """All paths that differ, in their order; of what you added or deleted whole, all that is below too."""
    found = []
    for path in sorted({*defaults.entries, *yours.entries}, key=lambda path: path.split("/")):
        old, new = defaults.get(path), yours.get(path)
        what = _what(old, new)
        entry = new or old
        if not what or entry is None:
            continue
        secret = any(one is not None and is_secret(path, _mode(one)) for one in (old, new))
        found.append(Difference(path, entry.kind, what, _note(path, provisioned), secret))
    return tuple(found)


def _what(old: Entry | None, new: Entry | None) -> tuple[str, ...]:
    if old is None or new is None:
        return ("added",) if old is None and new is not None else ("deleted",)
    if old.kind is not new.kind:
        return ("type",)
    found = {
        "content": old.content != new.content,
        "mode": old.mode != new.mode,
        "owner": (old.uid, old.gid) != (new.uid, new.gid),
        "attributes": old.xattrs != new.xattrs,
    }
    return tuple(name for name, differs in found.items() if differs)


def _note(path: str, provisioned: Collection[str]) -> str:
    how = rule(path, provisioned)
    if how in (Rule.MACHINE, Rule.PROVISIONED, Rule.MADE):
        return str(how)
    beside = BESIDE.fullmatch(path)
    return f"for the open conflict at {shown(beside['path'])}" if beside else ""


def _mode(entry: Entry) -> int:
    return 0o777 if entry.kind is Kind.LINK else entry.mode


def patch(difference: Difference, defaults: Tree, yours: Tree) -> Iterator[str]:
    """The lines of a unified diff of one path, as `diff -u` would have them, without line ends."""
    path = difference.path
    old, new = defaults.get(path), yours.get(path)
    names = f"defaults/{shown(path)}", f"/etc/{shown(path)}"
    if difference.secret:
        yield f"{shown(path)} differs: {', '.join(difference.what)} (its content is not shown)"
        return
    sides = [_lines(one, tree, path) for one, tree in ((old, defaults), (new, yours))]
    if sides[0] is None or sides[1] is None:
        yield f"{names[0]} and {names[1]} differ, and are no text"
        return
    for name in ("mode", "owner"):
        if name in difference.what and old is not None and new is not None:
            yield f"{shown(path)}: {name} {_show(name, old)} became {_show(name, new)}"
    yield from difflib.unified_diff(sides[0], sides[1], *names, lineterm="")


def _show(name: str, entry: Entry) -> str:
    return f"{entry.mode:04o}" if name == "mode" else f"{entry.uid}:{entry.gid}"


def _lines(entry: Entry | None, tree: Tree, path: str) -> list[str] | None:
    """A file's lines; of a link one line; None where it is no text, or too long to be read by a person."""
    if entry is None or entry.kind is Kind.DIRECTORY:
        return []
    if entry.kind is Kind.LINK:
        return [f"(a link to {shown(entry.content)})"]
    if entry.kind is Kind.OTHER:
        return ["(a special file)"]
    if entry.size_bytes > LARGEST_SHOWN_BYTES:
        return None
    data = tree.read(path)
    if not is_text(data):
        return None
    lines = [line.decode(errors="backslashreplace") for line in data.split(b"\n")]
    return [*lines[:-1], *([f"{lines[-1]}  (no newline at the end)"] if lines[-1] else [])]


def open_conflicts(yours: Tree, beside: Mapping[str, str] | None = None) -> tuple[Open, ...]:
    """What stands beside another path for you to decide. `beside` tells, from a report, what its path is
    where the name alone does not: names too long are cut."""
    found: list[Open] = []
    for path in sorted(yours.entries):
        match = BESIDE.fullmatch(path)
        if match is None or any(path.startswith(f"{one.beside}/") for one in found):
            continue
        known = (beside or {}).get(shown(path))
        found.append(Open(known or match["path"], path, match["side"]))
    return tuple(found)
