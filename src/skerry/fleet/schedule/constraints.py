"""The rules, one by one, as functions of a unit and a machine; the scheduler and the nodes' feed share them.

Global units are not placed: every machine runs those that may. They stand before placed units where names
conflict (the placed one goes elsewhere), and among themselves in the order of their names, as in fleet.
Room is the other way about: placed units have theirs, and a Global unit runs where enough is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from skerry.host.units.glob import glob_matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from skerry.fleet.schedule.model import NodeSpec, UnitSpec
    from skerry.fleet.state.node import NodeRecord
    from skerry.host.units.ports import HostPort
    from skerry.host.units.requirements import Requirements

SHORT_ID = 8


class Asking(Protocol):
    """A unit, as far as the rules look at it."""

    @property
    def name(self) -> str: ...

    @property
    def asks(self) -> Requirements: ...


class Room:
    """What is taken of a machine: memory, processors, host ports. A few operations, each at small cost."""

    __slots__ = ("_ranges", "_singles", "cpu_millis", "memory_bytes")

    def __init__(self, units: Iterable[Asking] = ()) -> None:
        self.memory_bytes = 0
        self.cpu_millis = 0
        self._singles: dict[tuple[str, int], list[HostPort]] = {}
        self._ranges: list[HostPort] = []
        for unit in units:
            self.take(unit)

    def take(self, unit: Asking) -> None:
        asks = unit.asks
        self.memory_bytes += asks.memory_bytes
        self.cpu_millis += asks.cpu_millis
        for port in asks.ports:
            self._held(port).append(port)

    def give_back(self, unit: Asking) -> None:
        asks = unit.asks
        self.memory_bytes -= asks.memory_bytes
        self.cpu_millis -= asks.cpu_millis
        for port in asks.ports:
            held = self._held(port)
            held.remove(port)
            if not held and port.first == port.last:
                del self._singles[port.protocol, port.first]

    def lacks(self, node: NodeSpec, unit: Asking) -> str | None:
        """Which room is missing on this machine: "memory", "cpu" or a port; None where there is enough."""
        asks = unit.asks
        if asks.memory_bytes and self.memory_bytes + asks.memory_bytes > node.memory_bytes:
            return "memory"
        if asks.cpu_millis and self.cpu_millis + asks.cpu_millis > node.cpu_millis:
            return "cpu"
        for port in asks.ports:
            if self.has(port):
                return str(port)
        return None

    def has(self, port: HostPort) -> bool:
        """True where this port, or one of this range, is taken."""
        if any(port.clashes(other) for other in self._ranges):
            return True
        near: Iterable[Iterable[HostPort]] = self._singles.values()
        if port.last - port.first < len(self._singles):
            near = (self._singles.get((port.protocol, n), ()) for n in range(port.first, port.last + 1))
        return any(port.clashes(other) for held in near for other in held)

    def _held(self, port: HostPort) -> list[HostPort]:
        if port.first != port.last:
            return self._ranges
        return self._singles.setdefault((port.protocol, port.first), [])


def labels_of(record: NodeRecord | None, own: Mapping[str, str]) -> dict[str, str]:
    """The labels that count: people's before the machine's own, and an empty value takes one away."""
    labels = {**own, **(record.metadata if record else {})}
    return {key: value for key, value in labels.items() if value}


def labels_match(metadata: Iterable[tuple[str, frozenset[str]]], labels: Mapping[str, str]) -> bool:
    """MachineMetadata=: or between the values of a key, and between keys."""
    return all(labels.get(key) in values for key, values in metadata)


def is_machine(machine_id: str, node: str) -> bool:
    """MachineID=: the whole id, or its first eight digits."""
    return node == machine_id or (len(machine_id) == SHORT_ID and node[:SHORT_ID] == machine_id)


def conflict(one: Asking, other: Asking) -> bool:
    """Whether two units must not be on one machine; it does not matter which of them said so."""
    if one.name == other.name:
        return False
    return any(glob_matches(glob, other.name) for glob in one.asks.conflicts) or any(
        glob_matches(glob, one.name) for glob in other.asks.conflicts
    )


def replaces(one: Asking, other: Asking) -> bool:
    """Whether `one` pushes `other` off its machine; the scheduler ignores it where it goes in a circle."""
    return one.name != other.name and any(glob_matches(glob, other.name) for glob in one.asks.replaces)


def runs_global(unit: UnitSpec, node: NodeSpec, others: Iterable[UnitSpec], room: Room | None = None) -> bool:
    """Whether a machine runs this Global unit. See `globals_on` for the whole answer.

    `others` are the Global units that run there and stand before it, by name. `room` is what is taken, by
    placed units and by `others`; it may be left out for a unit that asks for no room (`needs_room`).
    A cordoned machine still runs them: they are not placed. A draining one gives them up.
    """
    return (
        unit.active
        and node.may_hold
        and labels_match(unit.asks.metadata, node.labels)
        and not any(conflict(unit, other) for other in others)
        and (room is None or room.lacks(node, unit) is None)
    )


def globals_on(
    node: NodeSpec, candidates: Iterable[UnitSpec], placed: Iterable[UnitSpec] = ()
) -> tuple[UnitSpec, ...]:
    """Which Global units a machine runs, in the order of their names; `placed` are the units placed there,
    of which only those that ask for room matter."""
    running: list[UnitSpec] = []
    room = Room(placed)
    for unit in sorted(candidates, key=lambda u: u.name):
        if runs_global(unit, node, running, room):
            running.append(unit)
            room.take(unit)
    return tuple(running)


def needs_room(unit: Asking) -> bool:
    """True where the unit asks for memory, processors or ports."""
    asks = unit.asks
    return bool(asks.memory_bytes or asks.cpu_millis or asks.ports)
