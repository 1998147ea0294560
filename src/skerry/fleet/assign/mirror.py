"""All that decides what nodes hold, as it stands in the store: units, placements, labels of nodes.

One change of the store is taken in at a time; `take` says whom it may concern, and how much that costs
is bounded by how many it may concern: nothing here is walked through for one unit. A record that cannot
be read concerns every node, for any of them may run it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from skerry.fleet.schedule.constraints import labels_match
from skerry.fleet.schedule.model import UnitSpec
from skerry.fleet.schedule.reading import UnitReader, node_spec
from skerry.fleet.state.document import RecordError
from skerry.fleet.state.node import NODES_PREFIX, PRESENCE_PREFIX, Liveness, NodeRecord, PresenceRecord
from skerry.fleet.state.placement import PLACEMENTS_PREFIX, PlacementRecord
from skerry.fleet.state.unit import UNITS_PREFIX, DesiredState, UnitRecord
from skerry.host.units.errors import UnitError
from skerry.host.units.name import parse_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from skerry.fleet.schedule.model import NodeSpec
    from skerry.host.units.requirements import Requirements

PREFIXES = (UNITS_PREFIX, PLACEMENTS_PREFIX, NODES_PREFIX, PRESENCE_PREFIX)

K = TypeVar("K")

# Texts are read once for each different text, however many units share it.
_READER = UnitReader()


class Unit:
    """A unit as far as it matters here. `record` is None, and `problem` a sentence, where it cannot be read.

    `runs` is false for what no node is to hold: templates, and what is only known. Texts are read as late as
    can be: most units ask for nothing that matters here.
    """

    __slots__ = ("_spec", "companions", "problem", "record", "runs")

    def __init__(
        self,
        record: UnitRecord | None,
        *,
        runs: bool = True,
        companions: tuple[str, ...] = (),
        problem: str | None = None,
    ) -> None:
        self.record = record
        self.runs = runs
        self.companions = companions
        self.problem = problem
        self._spec: UnitSpec | None = None

    @property
    def spec(self) -> UnitSpec:
        """The unit as the scheduler sees it."""
        if self._spec is None:
            if self.record is None:
                self._spec = UnitSpec("", active=self.runs)
            else:
                self._spec = UnitSpec(self.record.name, _READER.spec(self.record).asks, self.runs)
        return self._spec

    @property
    def is_global(self) -> bool:
        return self.runs and self._says("[X-Fleet]") and self.spec.is_global

    @property
    def fence(self) -> bool:
        return self._says("[X-Skerry]") and self.spec.asks.fence

    def _says(self, section: str) -> bool:
        if self.record is None:
            return False
        return section in self.record.text or any(section in more.text for more in self.record.drop_ins)


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
        companions: tuple[str, ...] = ()
        if parsed.is_quadlet:
            companions = _READER.companions(record)
        return Unit(record, companions=companions)
    except (RecordError, UnitError) as error:
        return Unit(None, problem=error.message)


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
        self._said: dict[str, PresenceRecord] = {}
        self._wanted: dict[str, NodeRecord] = {}
        self._watched: dict[str, NodeSpec] = {}
        self._by_label: dict[tuple[str, str], set[str]] = {}

    def take(self, key: str, value: bytes | None) -> Concerned:
        """Take in one change of one key; None is a delete."""
        if key.startswith(UNITS_PREFIX):
            return self._take_unit(key.removeprefix(UNITS_PREFIX), value)
        if key.startswith(PLACEMENTS_PREFIX):
            return self._take_placement(key.removeprefix(PLACEMENTS_PREFIX), present=_stands(value))
        if key.startswith((NODES_PREFIX, PRESENCE_PREFIX)):
            return self._take_node(key, value)
        return NOBODY

    def replace(self, prefix: str, there: Mapping[str, bytes]) -> Iterator[Concerned]:
        """Take in a whole listing of one of PREFIXES."""
        for key in [key for key in self._known(prefix) if key not in there]:
            yield self.take(key, None)
        for key, value in there.items():
            yield self.take(key, value)

    def node(self, node: str) -> NodeSpec:
        """The machine as the scheduler sees it; but whoever is spoken to lives."""
        watched = self._watched.get(node)
        if watched is not None:
            return watched
        spec = node_spec(node, self._wanted.get(node), self._said.get(node))
        return replace(spec, liveness=Liveness.READY)

    def fits(self, name: str, node: str) -> bool:
        """Whether this is a Global unit whose labels are the node's."""
        unit = self.units.get(name)
        return (
            unit is not None
            and unit.is_global
            and labels_match(unit.spec.asks.metadata, self.node(node).labels)
        )

    def is_placed(self, name: str, node: str) -> bool:
        """Whether the scheduler gave it to the node. One that cannot be read may be anybody's."""
        unit = self.units.get(name)
        if unit is None:
            return False
        return unit.problem is not None or (unit.runs and name in self.placed.get(node, ()))

    def possible(self, node: str) -> set[str]:
        """The names among which all are that a node may have to hold."""
        return self.placed.get(node, set()) | self._global | self._unreadable

    def named_by(self, name: str) -> Iterable[str]:
        """The units whose Quadlet text names this one."""
        return self._named_by.get(name, ())

    def watch(self, node: str) -> None:
        """Index the node by its labels from now on."""
        self._index(node, self.node(node))

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
            if either.problem is not None or (either.is_global and not either.spec.asks.metadata):
                return Concerned(frozenset({name}), None)
            if either.is_global:
                nodes |= self._fitting(either.spec.asks)
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
        try:
            if value is None:
                (self._wanted if wanted else self._said).pop(node, None)
            elif wanted:
                self._wanted[node] = NodeRecord.decode(value)
            else:
                self._said[node] = PresenceRecord.decode(value)
        except RecordError:
            return NOBODY  # what it said before holds
        if value is None:
            self._keys.pop(key, None)
        else:
            self._keys[key] = value
        before = self._watched.pop(node, None)
        if before is None:
            return NOBODY
        now = self.node(node)
        self._watched[node] = before
        self._index(node, now)
        same = now == before
        return Concerned(frozenset() if same else frozenset(self._global), frozenset({node}))

    def _index(self, node: str, spec: NodeSpec | None) -> None:
        before = self._watched.pop(node, None)
        for label in before.labels.items() if before else ():
            _discard(self._by_label, label, node)
        if spec is not None:
            self._watched[node] = spec
            for label in spec.labels.items():
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


def _stands(value: bytes | None) -> bool:
    """Whether a placement is there and not leaving; one of a newer server is taken for being there."""
    try:
        return value is not None and not PlacementRecord.decode(value).leaving
    except RecordError:
        return True


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
