"""Machines in the order in which a unit tries them: preferences met, then load, then machine id.

A pool holds the machines that units with the same labels to ask for may get, as a heap. A load that grows
leaves the heap alone: the entry is then too good, and is put right when it comes to the top. A load that
falls, or a machine that can be used again, enters anew, and the older entry is known to be stale. So
placing costs the logarithm of the pool, and removing that for each pool.

Where too many machines of a pool turn out to be full, the unit turns to a narrow pool: one for what it asks
of room and of neighbours as well. A machine that fails there is put aside until something there changes.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

from skerry.fleet.schedule.constraints import labels_match

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from skerry.fleet.schedule.ground import Ground
    from skerry.fleet.schedule.model import NodeSpec
    from skerry.host.units.requirements import Requirements

Metadata = tuple[tuple[str, frozenset[str]], ...]
Entry = tuple[int, int, str]  # preferences met, as a minus; load; machine id

MOST_TRIED = 24
"""So many machines of a wide pool may refuse a unit before it turns to a narrow one."""


class Wide(NamedTuple):
    """What machines of a pool have in common; `values` are theirs of the labels in `spread`."""

    metadata: Metadata = ()
    prefer: tuple[tuple[str, str], ...] = ()
    spread: tuple[str, ...] = ()
    values: tuple[str, ...] = ()

    def holds(self, spec: NodeSpec) -> bool:
        labels = spec.labels
        return labels_match(self.metadata, labels) and (
            not self.spread or tuple(labels.get(key, "") for key in self.spread) == self.values
        )

    def rank(self, spec: NodeSpec) -> int:
        """Minus the number of preferences met: the least is the best."""
        return -sum(spec.labels.get(key) == value for key, value in self.prefer) if self.prefer else 0


class Narrow(NamedTuple):
    """What a unit asks beyond labels; sizes are rounded down, so that alike units share a pool."""

    memory_bytes: int
    cpu_millis: int
    ports: tuple[object, ...]
    conflicts: tuple[str, ...]
    hits: tuple[str, ...]


def narrow(asks: Requirements, hits: tuple[str, ...]) -> Narrow:
    return Narrow(_rounded(asks.memory_bytes), _rounded(asks.cpu_millis), asks.ports, asks.conflicts, hits)


def _rounded(size: int) -> int:
    """Down to three binary digits: at most a fifth less."""
    shift = max(0, size.bit_length() - 3)
    return size >> shift << shift


class Pool:
    """See the module. `refuses` tells of a machine that it fails what the narrow pool asks."""

    __slots__ = ("_at", "_grounds", "_heap", "_refuses", "_wide")

    def __init__(
        self,
        wide: Wide,
        grounds: dict[str, Ground],
        members: Iterable[str],
        refuses: Callable[[Ground], bool] | None = None,
    ) -> None:
        self._wide = wide
        self._grounds = grounds
        self._refuses = refuses
        # The entry of each machine that counts, None while it is put aside; all others are stale.
        self._at: dict[str, Entry | None] = {}
        for node in members:
            ground = grounds[node]
            if wide.holds(ground.spec):
                may_get = ground.spec.may_get
                self._at[node] = (wide.rank(ground.spec), ground.load, node) if may_get else None
        self._heap: list[Entry] = []
        self._tidy()

    def __len__(self) -> int:
        return len(self._at)

    def offer(self, ground: Ground) -> None:
        """This machine has less load, or more to give, than before."""
        node = ground.id
        if node not in self._at or not ground.spec.may_get:
            return
        entry = self._at[node]
        if entry is None or ground.load < entry[1]:
            rank = self._wide.rank(ground.spec) if entry is None else entry[0]
            self._at[node] = entry = (rank, ground.load, node)
            heapq.heappush(self._heap, entry)
            if len(self._heap) > 4 * len(self._at) + 64:
                self._tidy()

    def renew(self, ground: Ground) -> None:
        """This machine is new, or its labels are others."""
        self.forget(ground.id)
        if self._wide.holds(ground.spec):
            self._at[ground.id] = None
            self.offer(ground)

    def forget(self, node: str) -> None:
        """This machine is gone."""
        self._at.pop(node, None)

    def best(self, able: Callable[[Ground], bool], most: int) -> tuple[Entry | None, bool]:
        """The first machine that is able, and whether that is the answer: it is not where `most` machines
        refused before one was found."""
        heap, at, grounds = self._heap, self._at, self._grounds
        aside: list[Entry] = []
        found = None
        while heap:
            entry = heap[0]
            rank, load, node = entry
            if at.get(node) is not entry:
                heapq.heappop(heap)
                continue
            ground = grounds[node]
            if ground.load != load:
                at[node] = later = (rank, ground.load, node)
                heapq.heapreplace(heap, later)
            elif not ground.spec.may_get or (self._refuses is not None and self._refuses(ground)):
                at[node] = None
                heapq.heappop(heap)
            elif able(ground):
                found = entry
                break
            else:
                aside.append(heapq.heappop(heap))
                if len(aside) >= most:
                    break
        for entry in aside:
            heapq.heappush(heap, entry)
        return found, found is not None or len(aside) < most

    def _tidy(self) -> None:
        """Keep only the entries that count."""
        self._heap = [entry for entry in self._at.values() if entry is not None]
        heapq.heapify(self._heap)
