"""Names in order, and globs by what they begin with: who is meant, without asking everybody.

A glob is kept under its literal start. To find the globs that mean a name, only the starts of that name
are looked up; to find the names that a glob means, only the stretch of names with its start is walked.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

from skerry.host.units.glob import compile_glob, literal_start

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LONGEST_BLOCK = 1024


class SortedNames:
    """A sorted set of names in blocks, so that a name more or less moves few others."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        ordered = sorted(set(names))
        half = LONGEST_BLOCK // 2
        self._blocks = [ordered[at : at + half] for at in range(0, len(ordered), half)] or [[]]

    def add(self, name: str) -> None:
        number = self._block(name)
        block = self._blocks[number]
        at = bisect.bisect_left(block, name)
        if at < len(block) and block[at] == name:
            return
        block.insert(at, name)
        if len(block) > LONGEST_BLOCK:
            half = len(block) // 2
            self._blocks[number : number + 1] = [block[:half], block[half:]]

    def discard(self, name: str) -> None:
        number = self._block(name)
        block = self._blocks[number]
        at = bisect.bisect_left(block, name)
        if at < len(block) and block[at] == name:
            del block[at]
            if not block and len(self._blocks) > 1:
                del self._blocks[number]

    def beginning_with(self, start: str) -> Iterator[str]:
        """In order. The set must not change meanwhile."""
        number = self._block(start)
        at = bisect.bisect_left(self._blocks[number], start)
        while number < len(self._blocks):
            block = self._blocks[number]
            for place in range(at, len(block)):
                if not block[place].startswith(start):
                    return
                yield block[place]
            number, at = number + 1, 0

    def _block(self, name: str) -> int:
        """The block where the name is or belongs: the last one that does not begin behind it."""
        low, high = 0, len(self._blocks) - 1
        while low < high:
            middle = (low + high + 1) // 2
            if self._blocks[middle][0] <= name:
                low = middle
            else:
                high = middle - 1
        return low


class Globs:
    """The globs in use, each as often as it is used."""

    def __init__(self) -> None:
        self._uses: dict[str, int] = {}
        self._by_start: dict[str, list[str]] = {}
        self._lengths: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._uses)

    def add(self, glob: str) -> bool:
        """One use more; True where it is the first."""
        self._uses[glob] = self._uses.get(glob, 0) + 1
        if self._uses[glob] > 1:
            return False
        start = literal_start(glob)
        self._by_start.setdefault(start, []).append(glob)
        self._lengths[len(start)] = self._lengths.get(len(start), 0) + 1
        return True

    def drop(self, glob: str) -> bool:
        """One use less; True where it was the last."""
        self._uses[glob] -= 1
        if self._uses[glob]:
            return False
        del self._uses[glob]
        start = literal_start(glob)
        self._by_start[start].remove(glob)
        if not self._by_start[start]:
            del self._by_start[start]
        self._lengths[len(start)] -= 1
        if not self._lengths[len(start)]:
            del self._lengths[len(start)]
        return True

    def meaning(self, name: str) -> tuple[str, ...]:
        """The globs that mean this name, sorted."""
        found = []
        for length in self._lengths:
            if length > len(name):
                continue
            for glob in self._by_start.get(name[:length], ()):
                pattern = compile_glob(glob)
                if pattern is not None and pattern.match(name):
                    found.append(glob)
        return tuple(sorted(found))
