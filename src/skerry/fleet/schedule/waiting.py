"""Units that wait for a machine, in lines of those that ask the same.

What keeps the first of a line from every machine keeps them all, so a line is tried by its first unit. One
that was tried in vain is shut until something is freed that could hold its first unit; then it is open again,
and the first by name over all open lines is the next to be tried.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from skerry.fleet.schedule.ground import Ground, Unit
    from skerry.host.units.requirements import Requirements

Key = tuple["Requirements", tuple[str, ...]]  # what is asked, and the globs that mean the units


class Line:
    """`names` is a heap, and holds names that no longer wait here, too; `size` counts those that do."""

    __slots__ = ("key", "names", "open", "size")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.names: list[str] = []
        self.size = 0
        self.open = True


class Waiting:
    """All lines. `units` is the scheduler's own table of units."""

    def __init__(self, units: Mapping[str, Unit]) -> None:
        self._units = units
        self._lines: dict[Key, Line] = {}
        self._queue: list[tuple[str, int, Line]] = []  # the first name of each open line, and outdated ones
        self._turn = 0

    def add(self, unit: Unit) -> None:
        key = (unit.asks, unit.hits)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(key)
        unit.waits = line
        line.size += 1
        heapq.heappush(line.names, unit.name)
        if len(line.names) > 4 * line.size + 64:
            self._tidy(line)
        if line.open and line.names[0] == unit.name:
            self._enqueue(line, unit.name)

    def remove(self, unit: Unit) -> None:
        """No error for a unit that does not wait."""
        line = unit.waits
        if line is not None:
            unit.waits = None
            line.size -= 1
            if not line.size:
                del self._lines[line.key]
                line.open = False

    def first(self) -> Unit | None:
        """The first unit by name that may be placeable. It is first again until it is removed or shut out."""
        while self._queue:
            name, _, line = self._queue[0]
            unit = self._head(line) if line.open else None
            if unit is not None and unit.name == name:
                return unit
            heapq.heappop(self._queue)
            if unit is not None:
                self._enqueue(line, unit.name)
        return None

    def shut(self, unit: Unit) -> None:
        """It was tried in vain, and so would be all that ask the same."""
        if unit.waits is not None:
            unit.waits.open = False

    def open(self, line: Line) -> None:
        """What kept these units may be gone."""
        if not line.open:
            line.open = True
            head = self._head(line)
            if head is not None:
                self._enqueue(line, head.name)

    def open_all(self) -> None:
        for line in self._lines.values():
            self.open(line)

    def freed(self, grounds: Collection[Ground], able: Callable[[Unit, Ground], bool]) -> None:
        """Something was freed on these machines: open the lines whose units one of them could take."""
        for line in list(self._lines.values()):
            head = None if line.open else self._head(line)
            if head is not None and any(able(head, ground) for ground in grounds):
                self.open(line)

    def _head(self, line: Line) -> Unit | None:
        names = line.names
        while names:
            unit = self._units.get(names[0])
            if unit is not None and unit.waits is line:
                return unit
            heapq.heappop(names)
        return None

    def _tidy(self, line: Line) -> None:
        """Drop the names that no longer wait here, and those that stand twice."""
        waiting = (self._units.get(name) for name in set(line.names))
        line.names = sorted(unit.name for unit in waiting if unit is not None and unit.waits is line)

    def _enqueue(self, line: Line, name: str) -> None:
        self._turn += 1
        heapq.heappush(self._queue, (name, self._turn, line))
