"""A tree of files as a value: what the plan compares, and a way to read the files' content.

Paths are relative to the tree ("ssh/sshd_config"; "" is the tree itself). Names that are not UTF-8 are held
as Python holds them, with surrogates; `shown` makes them fit to print. Hard links count as separate files.
"""

from __future__ import annotations

import enum
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Kind(enum.StrEnum):
    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    OTHER = "special file"


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands at a path. `content`: of a file its SHA-256, of a link where it leads, of a special file
    "FORMAT MAJOR MINOR" in decimals, of a directory nothing. Links have no mode of their own: 0."""

    kind: Kind
    mode: int = 0
    uid: int = 0
    gid: int = 0
    content: str = ""
    size_bytes: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class Tree:
    """`entries` holds the tree itself ("") and every directory above an entry; `read` gives bytes."""

    entries: Mapping[str, Entry]
    read: Callable[[str], bytes] = field(repr=False)

    def get(self, path: str) -> Entry | None:
        return self.entries.get(path)

    @cached_property
    def _children(self) -> Mapping[str, Sequence[str]]:
        found: dict[str, list[str]] = {}
        for path in sorted(self.entries):
            if path:
                found.setdefault(parent(path), []).append(path)
        return found

    def children(self, path: str) -> Sequence[str]:
        """The paths directly below a directory, sorted."""
        return self._children.get(path, ())

    def below(self, path: str) -> list[str]:
        """The path, if it is there, and all below it, parents first."""
        found = [path] if path in self.entries else []
        for child in self.children(path):
            found += self.below(child)
        return found


def parent(path: str) -> str:
    return path.rpartition("/")[0]


def join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name


def shown(path: str) -> str:
    """A path fit for a terminal and for JSON: bytes that are not UTF-8, and control characters, escaped; the
    tree itself is "."."""
    text = os.fsencode(path or ".").decode(errors="backslashreplace")
    return _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", text)
