"""Which machine a unit gets, of those that may run it: most preferences met, then fewest of its kind in
the part of the cluster (Spread=), then least load, then lowest machine id.

Load is the number of units on a machine, Global ones and leaving ones too. Keeps the pools; they are made
when first asked for, and those not asked for in a long time are let go.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import TYPE_CHECKING

from skerry.fleet.schedule.constraints import SHORT_ID
from skerry.fleet.schedule.ground import Unit
from skerry.fleet.schedule.pools import MOST_TRIED, Pool, Wide, narrow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from skerry.fleet.schedule.ground import Ground
    from skerry.fleet.schedule.model import NodeSpec
    from skerry.fleet.schedule.pools import Entry, Metadata, Narrow
    from skerry.fleet.schedule.rules import Rules

MOST_POOLS = 256
MOST_ENTRIES = 1_000_000

Values = tuple[str, ...]


class Choice:
    """Told of machines by `joined`, `changed`, `left`, and of less on one of them by `offer`."""

    def __init__(self, grounds: dict[str, Ground], units: dict[str, Unit], rules: Rules) -> None:
        self._grounds = grounds
        self._units = units
        self._rules = rules
        self._pools: OrderedDict[tuple[Wide, Narrow | None], Pool] = OrderedDict()
        self._entries = 0
        self._labels: dict[tuple[str, str], dict[str, None]] = {}
        self._short: dict[str, dict[str, None]] = {}
        # For each list of labels to spread over: the values that machines have, with how many do.
        self._values: dict[Values, dict[Values, int]] = {}
        # How many of a group there are by labels and values: the first label's, the first two's, …
        self._counts: dict[tuple[str, Values], dict[Values, int]] = {}

    def choose(self, unit: Unit) -> tuple[Ground, str] | None:
        """The machine, and why; None where none may run it now."""
        asks = unit.asks
        if asks.machine_id is not None:
            few = self._named(asks.machine_id)
            return self._of_few(unit, few, f"MachineID={asks.machine_id} names it")
        for peer in asks.machine_of:
            target = self._units.get(peer)
            if target is None or not target.asks.is_global:
                there = None if target is None else target.ground
                few = [] if there is None else [there]
                return self._of_few(unit, few, f"{peer}, which it follows, is there")
        group = group_of(unit.name) if asks.spread else None
        if group is not None:
            return self._spread(unit, group)
        entry = self._best(unit, Wide(asks.metadata, asks.prefer))
        if entry is None:
            return None
        return self._grounds[entry[2]], _sentence(entry, len(asks.prefer))

    def members(self, metadata: Metadata) -> Collection[str]:
        """The machines that may have these labels: no fewer, and not many more."""
        best: Collection[str] = self._grounds
        for key, values in metadata:
            found = [self._labels.get((key, value), {}) for value in values]
            if sum(map(len, found)) < len(best):
                best = [node for nodes in found for node in nodes]
        return best

    def joined(self, ground: Ground) -> None:
        self._index(ground.spec)
        for pool in self._pools.values():
            pool.renew(ground)

    def left(self, ground: Ground) -> None:
        self._unindex(ground.spec)
        for pool in self._pools.values():
            pool.forget(ground.id)

    def changed(self, ground: Ground, spec: NodeSpec) -> None:
        """The machine is from now on as `spec` says."""
        if ground.spec.labels == spec.labels:
            ground.spec = spec
            self.offer(ground)
            return
        spreading = [unit for unit in ground.units.values() if unit.asks.spread]
        for unit in spreading:
            self.count(unit, ground, -1)
        self._unindex(ground.spec)
        ground.spec = spec
        self._index(spec)
        for unit in spreading:
            self.count(unit, ground, 1)
        for pool in self._pools.values():
            pool.renew(ground)

    def offer(self, ground: Ground) -> None:
        """There is less on this machine than before."""
        for pool in self._pools.values():
            pool.offer(ground)

    def count(self, unit: Unit, ground: Ground, by: int) -> None:
        """A unit that spreads came to a machine, or left it."""
        group = group_of(unit.name)
        if group is None:
            return
        keys = unit.asks.spread
        values = _values_of(ground.spec, keys)
        for length in range(1, len(keys) + 1):
            counts = self._counts.setdefault((group, keys[:length]), {})
            number = counts.get(values[:length], 0) + by
            if number:
                counts[values[:length]] = number
            else:
                del counts[values[:length]]
            if not counts:
                del self._counts[group, keys[:length]]

    def _named(self, machine_id: str) -> list[Ground]:
        if machine_id in self._grounds:
            return [self._grounds[machine_id]]
        return [self._grounds[node] for node in self._short.get(machine_id, ())]

    def _of_few(self, unit: Unit, few: Iterable[Ground], why: str) -> tuple[Ground, str] | None:
        able = [(ground.load, ground.id) for ground in few if self._rules.able(unit, ground)]
        return (self._grounds[min(able)[1]], why) if able else None

    def _spread(self, unit: Unit, group: str) -> tuple[Ground, str] | None:
        asks, keys = unit.asks, unit.asks.spread
        known = self._values.get(keys)
        if known is None:
            known = self._values[keys] = {}
            for ground in self._grounds.values():
                values = _values_of(ground.spec, keys)
                known[values] = known.get(values, 0) + 1
        counts = [self._counts.get((group, keys[:n]), {}) for n in range(1, len(keys) + 1)]
        parts = sorted(
            (tuple(count.get(values[: n + 1], 0) for n, count in enumerate(counts)), values)
            for values in known
        )
        best: tuple[int, tuple[int, ...], int, str] | None = None
        for numbers, values in parts:
            if best is not None and not asks.prefer and numbers > best[1]:
                break
            entry = self._best(unit, Wide(asks.metadata, asks.prefer, keys, values))
            if entry is not None:
                found = (entry[0], numbers, entry[1], entry[2])
                best = found if best is None else min(best, found)
        if best is None:
            return None
        ground = self._grounds[best[3]]
        part = ", ".join(f"{key}={ground.spec.labels.get(key, '')}" for key in keys)
        there = f"{best[1][-1]} of {group} at {part}"
        return ground, f"{there}; {_sentence((best[0], best[2], best[3]), len(asks.prefer))}"

    def _best(self, unit: Unit, wide: Wide) -> Entry | None:
        def able(ground: Ground) -> bool:
            return self._rules.able_here(unit, ground)

        entry, final = self._pool(wide, None, unit).best(able, MOST_TRIED)
        if final:
            return entry
        pool = self._pool(wide, narrow(unit.asks, unit.hits), unit)
        return pool.best(able, len(pool) + 1)[0]

    def _pool(self, wide: Wide, closer: Narrow | None, unit: Unit) -> Pool:
        key = (wide, closer)
        pool = self._pools.get(key)
        if pool is not None:
            self._pools.move_to_end(key)
            return pool
        refuses = None if closer is None else _refusing(closer, unit)
        pool = self._pools[key] = Pool(wide, self._grounds, self.members(wide.metadata), refuses)
        self._entries += len(pool)
        while len(self._pools) > 1 and (len(self._pools) > MOST_POOLS or self._entries > MOST_ENTRIES):
            self._entries -= len(self._pools.popitem(last=False)[1])
        return pool

    def _index(self, spec: NodeSpec) -> None:
        for label in spec.labels.items():
            self._labels.setdefault(label, {})[spec.id] = None
        self._short.setdefault(spec.id[:SHORT_ID], {})[spec.id] = None
        for keys, known in self._values.items():
            values = _values_of(spec, keys)
            known[values] = known.get(values, 0) + 1

    def _unindex(self, spec: NodeSpec) -> None:
        for label in spec.labels.items():
            del self._labels[label][spec.id]
            if not self._labels[label]:
                del self._labels[label]
        del self._short[spec.id[:SHORT_ID]][spec.id]
        if not self._short[spec.id[:SHORT_ID]]:
            del self._short[spec.id[:SHORT_ID]]
        for keys, known in self._values.items():
            values = _values_of(spec, keys)
            known[values] -= 1
            if not known[values]:
                del known[values]


def group_of(name: str) -> str | None:
    """The template whose instances are spread together; None for a unit that is no instance."""
    stem, _, suffix = name.rpartition(".")
    prefix, at, instance = stem.partition("@")
    return f"{prefix}@.{suffix}" if at and instance else None


def _values_of(spec: NodeSpec, keys: Values) -> Values:
    return tuple(spec.labels.get(key, "") for key in keys)


def _refusing(closer: Narrow, unit: Unit) -> Callable[[Ground], bool]:
    """What every unit of a narrow pool is refused for; what only some are is seen one by one."""
    asks = dataclasses.replace(unit.asks, memory_bytes=closer.memory_bytes, cpu_millis=closer.cpu_millis)
    least = Unit("", asks, active=True)
    least.hits = unit.hits

    def refuses(ground: Ground) -> bool:
        return ground.room.lacks(ground.spec, least) is not None or ground.conflict(least)

    return refuses


def _sentence(entry: Entry, preferences: int) -> str:
    units = f"{entry[1]} unit{'' if entry[1] == 1 else 's'}"
    met = f", with {-entry[0]} of {preferences} preferences met" if preferences else ""
    return f"least loaded of the machines that may run it, with {units}{met}"
