"""All that decides what nodes hold, as it stands in the store: units, placements, labels of nodes.

One change of the store is taken in at a time; `take` says whom it may concern, and how much that costs
is bounded by how many it may concern: nothing here is walked through for one unit. A record that cannot
be read concerns every node, for any of them may run it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from skerry.fleet.state.document import RecordError
from skerry.fleet.state.node import NODES_PREFIX, PRESENCE_PREFIX, NodeRecord, PresenceRecord
from skerry.fleet.state.placement import PLACEMENTS_PREFIX
from skerry.fleet.state.unit import UNITS_PREFIX, DesiredState, UnitRecord
from skerry.host.units.errors import UnitError
from skerry.host.units.name import parse_name
from skerry.host.units.quadlet import companions_of
from skerry.host.units.requirements import Requirements, requirements
from skerry.host.units.unit_file import parse_unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

PREFIXES = (UNITS_PREFIX, PLACEMENTS_PREFIX, NODES_PREFIX, PRESENCE_PREFIX)

K = TypeVar("K")

_NO_REQUIREMENTS = Requirements()
_TRUE = frozenset({"true", "yes", "1", "on", "t"})


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as far as it matters here. `record` is None, and `problem` a sentence, where it cannot be read.

    `runs` is false for what no node is to hold: templates, and what is only known.
    """

    record: UnitRecord | None
    asks: Requirements = _NO_REQUIREMENTS
    companions: tuple[str, ...] = ()
    fence: bool = False
    runs: bool = True
    problem: str | None = None

    @property
    def is_global(self) -> bool:
        return self.runs and self.asks.is_global


@dataclass(frozen=True, slots=True)
class Concerned:
    """Whom a change may concern: `names` on `nodes`; `nodes` is None for every node."""

    names: frozenset[str]
    nodes: frozenset[str] | None


NOBODY = Concerned(frozenset(), frozenset())


def read_unit(name: str, value: bytes) -> Unit:
    """What the value of a unit's key says."""
    try:
        record = UnitRecord.decode(value)
        if record.name != name:
            raise RecordError(f"the record at {name} is about {record.name}")
        parsed = parse_name(name)
        if record.desired is DesiredState.INACTIVE or parsed.is_template:
            return Unit(record, runs=False)
        if not parsed.is_quadlet and "[X-" not in record.text:
            return Unit(record)
        text = parse_unit(record.text, name)
    except (RecordError, UnitError) as error:
        return Unit(None, problem=error.message)
    return Unit(
        record,
        requirements(text, parsed)[0],
        companions_of(text) if parsed.is_quadlet else (),
        (text.last("X-Skerry", "Fence") or "").lower() in _TRUE,
    )


class Mirror:
    """See the module. `watched` nodes are indexed by their labels; the others cost only their records."""

    def __init__(self) -> None:
        self.units: dict[str, Unit] = {}
        self.placed: dict[str, set[str]] = {}
        self._placed_on: dict[str, set[str]] = {}
        self._named_by: dict[str, set[str]] = {}
        self._global: set[str] = set()
        self._unreadable: set[str] = set()
        self._keys: dict[str, bytes] = {}  # of nodes and presence, to know what a listing changes
        self._said: dict[str, Mapping[str, str]] = {}
        self._wanted: dict[str, Mapping[str, str]] = {}
        self._watched: dict[str, Mapping[str, str]] = {}
        self._by_label: dict[tuple[str, str], set[str]] = {}

    def take(self, key: str, value: bytes | None) -> Concerned:
        """Take in one change of one key; None is a delete."""
        if key.startswith(UNITS_PREFIX):
            return self._take_unit(key.removeprefix(UNITS_PREFIX), value)
        if key.startswith(PLACEMENTS_PREFIX):
            return self._take_placement(key.removeprefix(PLACEMENTS_PREFIX), present=value is not None)
        if key.startswith((NODES_PREFIX, PRESENCE_PREFIX)):
            return self._take_node(key, value)
        return NOBODY

    def replace(self, prefix: str, there: Mapping[str, bytes]) -> Iterator[Concerned]:
        """Take in a whole listing of one of PREFIXES."""
        for key in [key for key in self._known(prefix) if key not in there]:
            yield self.take(key, None)
        for key, value in there.items():
            yield self.take(key, value)

    def labels(self, node: str) -> Mapping[str, str]:
        """What people set goes before what the machine says; an empty value takes a label away."""
        both = {**self._said.get(node, {}), **self._wanted.get(node, {})}
        return {key: value for key, value in both.items() if value}

    def candidate(self, name: str, node: str) -> bool:
        """Whether the unit was placed on the node, or is to run wherever it can and can here."""
        unit = self.units.get(name)
        if unit is None:
            return False
        if unit.problem is not None:
            return True
        if not unit.runs:
            return False
        if name in self.placed.get(node, ()):
            return True
        return unit.asks.is_global and _fits(unit.asks, self._watched.get(node) or self.labels(node))

    def candidates(self, node: str) -> set[str]:
        """Every candidate for a node."""
        possible = self.placed.get(node, set()) | self._global | self._unreadable
        return {name for name in possible if self.candidate(name, node)}

    def named_by(self, name: str) -> Iterable[str]:
        """The units whose Quadlet text names this one."""
        return self._named_by.get(name, ())

    def watch(self, node: str) -> None:
        """Index the node by its labels from now on."""
        self._index(node, self.labels(node))

    def unwatch(self, node: str) -> None:
        self._index(node, None)

    def _known(self, prefix: str) -> list[str]:
        if prefix == UNITS_PREFIX:
            return [prefix + name for name in self.units]
        if prefix == PLACEMENTS_PREFIX:
            return [f"{prefix}{node}/{unit}" for node, units in self.placed.items() for unit in units]
        return [key for key in self._keys if key.startswith(prefix)]

    def _take_unit(self, name: str, value: bytes | None) -> Concerned:
        before = self.units.pop(name, None)
        unit = None
        if value is not None:
            if before is not None and before.record is not None and before.record.encode() == value:
                self.units[name] = before
                return NOBODY
            unit = self.units[name] = read_unit(name, value)
        for companion in before.companions if before else ():
            _discard(self._named_by, companion, name)
        for companion in unit.companions if unit else ():
            self._named_by.setdefault(companion, set()).add(name)
        _put(self._global, name, present=unit is not None and unit.is_global)
        _put(self._unreadable, name, present=unit is not None and unit.problem is not None)
        nodes = set(self._placed_on.get(name, ()))
        for either in (before, unit):
            if either is None:
                continue
            if either.problem is not None or (either.is_global and not either.asks.metadata):
                return Concerned(frozenset({name}), None)
            if either.is_global:
                nodes |= self._fitting(either.asks)
        for namer in self._namers(name):
            if namer in self._global:
                return Concerned(frozenset({name}), None)
            nodes |= self._placed_on.get(namer, set())
        return Concerned(frozenset({name}), frozenset(nodes))

    def _namers(self, name: str) -> set[str]:
        """The units that name this one, and those that name them."""
        found: set[str] = set()
        todo = [name]
        while todo:
            more = self._named_by.get(todo.pop(), set()) - found
            found |= more
            todo.extend(more)
        return found

    def _take_placement(self, path: str, *, present: bool) -> Concerned:
        node, _, name = path.partition("/")
        if present == (name in self.placed.get(node, ())):
            return NOBODY
        if present:
            self.placed.setdefault(node, set()).add(name)
            self._placed_on.setdefault(name, set()).add(node)
        else:
            _discard(self.placed, node, name)
            _discard(self._placed_on, name, node)
        return Concerned(frozenset({name}), frozenset({node}))

    def _take_node(self, key: str, value: bytes | None) -> Concerned:
        if value == self._keys.get(key):
            return NOBODY
        wanted = key.startswith(NODES_PREFIX)
        node = key.removeprefix(NODES_PREFIX if wanted else PRESENCE_PREFIX)
        kept = self._wanted if wanted else self._said
        if value is None:
            self._keys.pop(key, None)
            kept.pop(node, None)
        else:
            self._keys[key] = value
            try:
                kept[node] = (
                    NodeRecord.decode(value).metadata
                    if wanted
                    else PresenceRecord.decode(value).facts.metadata
                )
            except RecordError:
                return NOBODY  # what it said before holds
        if node not in self._watched:
            return NOBODY
        labels = self.labels(node)
        if labels == self._watched[node]:
            return Concerned(frozenset(), frozenset({node}))
        self._index(node, labels)
        return Concerned(frozenset(self._global), frozenset({node}))

    def _index(self, node: str, labels: Mapping[str, str] | None) -> None:
        for label in self._watched.pop(node, {}).items():
            _discard(self._by_label, label, node)
        if labels is not None:
            self._watched[node] = labels
            for label in labels.items():
                self._by_label.setdefault(label, set()).add(node)

    def _fitting(self, asks: Requirements) -> set[str]:
        """The watched nodes that have the labels; not empty only for those who ask for one."""
        found: list[set[str]] = []
        for key, values in asks.metadata:
            nodes: set[str] = set()
            for value in values:
                nodes |= self._by_label.get((key, value), set())
            found.append(nodes)
        return set.intersection(*found) if found else set()


def _fits(asks: Requirements, labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) in values for key, values in asks.metadata)


def _put(names: set[str], name: str, *, present: bool) -> None:
    if present:
        names.add(name)
    else:
        names.discard(name)


def _discard(index: dict[K, set[str]], key: K, name: str) -> None:
    names = index.get(key)
    if names is not None:
        names.discard(name)
        if not names:
            del index[key]
