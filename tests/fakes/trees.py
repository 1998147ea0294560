"""Trees for tests of the /etc merge: by hand in one line, on disk, and at random.

The random ones have few names and few contents, so that what you, and what the new version, do to the same
path meets often.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from skerry.host.etc.hands import Hands
from skerry.host.etc.tree import Entry, Kind, Tree, join, parent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FIFO = f"{stat.S_IFIFO} 0 0"
UID, GID = os.getuid(), os.getgid()


def file(
    data: bytes | str, mode: int = 0o644, xattrs: tuple[tuple[str, bytes], ...] = ()
) -> tuple[Entry, bytes]:
    content = data.encode() if isinstance(data, str) else data
    digest = hashlib.sha256(content).hexdigest()
    return Entry(Kind.FILE, mode, UID, GID, digest, len(content), xattrs), content


def link(leads_to: str) -> tuple[Entry, bytes]:
    return Entry(Kind.LINK, 0, UID, GID, leads_to), b""


def directory(mode: int = 0o755) -> tuple[Entry, bytes]:
    return Entry(Kind.DIRECTORY, mode, UID, GID), b""


def fifo(mode: int = 0o600) -> tuple[Entry, bytes]:
    return Entry(Kind.OTHER, mode, UID, GID, FIFO), b""


def tree(found: Mapping[str, tuple[Entry, bytes] | bytes | str]) -> Tree:
    """A tree of what stands at its paths; text and bytes are files, directories above come by themselves."""
    entries, contents = {"": directory()[0]}, {}
    for path, what in found.items():
        above = parent(path)
        while above:
            entries.setdefault(above, directory()[0])
            above = parent(above)
        entry, data = what if isinstance(what, tuple) else file(what)
        entries[path] = entry
        if entry.kind is Kind.FILE:
            contents[path] = data
    return Tree(entries, contents.__getitem__)


def write(what: Tree, goal: Path) -> None:
    """Put a tree on disk, at a name that is not there."""
    hands = Hands()
    for path in sorted(what.entries, key=lambda path: path.split("/")):
        entry = what.entries[path]
        data = what.read(path) if entry.kind is Kind.FILE else b""
        hands.place(goal / path if path else goal, entry, data)


_NAMES = st.sampled_from(["a", "b", "c.conf", "d.d", os.fsdecode(b"caf\xe9"), "passwd", "machine-id"])
_LINES = st.lists(st.sampled_from(["one\n", "two\n", "three\n", "four\n", "five\n", "x:1:2\n"]), max_size=9)
_MODES = st.sampled_from([0o644, 0o600, 0o755])
_CONTENT = st.one_of(
    st.builds("".join, _LINES).map(str.encode),
    st.builds(lambda lines: "".join(["head\n", *lines, "tail"]).encode(), _LINES),
    st.sampled_from([b"", b"\0binary", b"\0other", b"\xff\n", b"no end"]),
)
_LEAVES = st.one_of(
    st.builds(file, _CONTENT, _MODES),
    st.builds(file, _CONTENT, _MODES),
    st.builds(file, _CONTENT, _MODES),
    st.sampled_from(["/dev/null", "../up", os.fsdecode(b"\xfe")]).map(link),
    st.just(fifo()),
)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """A random tree."""
    return tree(draw(_below(2)))


def _below(depth: int) -> st.SearchStrategy[dict[str, tuple[Entry, bytes]]]:
    inner = _LEAVES if depth == 0 else st.one_of(_LEAVES, _LEAVES, st.deferred(lambda: _branch(depth - 1)))
    return st.dictionaries(_NAMES, inner, max_size=5).map(_flat)


def _branch(depth: int) -> st.SearchStrategy[dict[str, tuple[Entry, bytes]]]:
    modes = st.sampled_from([0o755, 0o700])
    return st.builds(lambda mode, below: {"": directory(mode), **below}, modes, _below(depth))


def _flat(found: dict[str, object]) -> dict[str, tuple[Entry, bytes]]:
    flat: dict[str, tuple[Entry, bytes]] = {}
    for name, what in found.items():
        if isinstance(what, dict):
            flat |= {join(name, path) if path else name: one for path, one in what.items()}
        elif isinstance(what, tuple):
            flat[name] = what
    return flat


@st.composite
def _edited(draw: st.DrawFn, data: bytes) -> bytes:
    """A file with one line of it changed, taken away or added."""
    lines = data.splitlines(keepends=True)
    place = draw(st.integers(0, len(lines)))
    put = draw(st.sampled_from([[], [b"mine\n"], [b"theirs\n"], [b"x:1:3\n"], [b"y:1:2\n"]]))
    return b"".join([*lines[:place], *put, *lines[place + draw(st.integers(0, 1)) :]])


@st.composite
def changed(draw: st.DrawFn, base: Tree) -> Tree:
    """A tree that is `base` with some paths taken away, changed or added."""
    found = {
        path: (entry, base.read(path) if entry.kind is Kind.FILE else b"")
        for path, entry in base.entries.items()
        if path
    }
    for path in sorted(found):
        choice = draw(st.sampled_from(["same"] * 3 + ["edit"] * 3 + ["gone", "leaf", "branch", "mode"]))
        if path not in found or choice == "same":
            continue  # or below one that is gone
        entry, data = found[path]
        if choice == "mode" and entry.kind in (Kind.FILE, Kind.DIRECTORY):
            found[path] = replace(entry, mode=0o750), data
            continue
        if choice == "edit":
            if entry.kind is Kind.FILE:
                found[path] = file(draw(_edited(data)), entry.mode)
            continue
        for below in [one for one in found if one == path or one.startswith(f"{path}/")]:
            del found[below]
        if choice == "leaf":
            found[path] = draw(_LEAVES)
        elif choice == "branch":
            found |= {join(path, below) if below else path: one for below, one in draw(_branch(1)).items()}
    for path, what in draw(_below(1)).items():
        if path not in found and (not parent(path) or _can_hold(found, parent(path))):
            found[path] = what
    return tree(found)


def _can_hold(found: Mapping[str, tuple[Entry, bytes]], path: str) -> bool:
    return path not in found or found[path][0].kind is Kind.DIRECTORY


@st.composite
def three_trees(draw: st.DrawFn) -> tuple[Tree, Tree, Tree]:
    """Old defaults, yours, new defaults."""
    old = draw(trees())
    return old, draw(changed(old)), draw(changed(old))
