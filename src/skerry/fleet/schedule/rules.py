"""Whether a unit may run on a machine as things stand there: the one place where all rules meet.

`able` is what choosing asks, in the order of what is cheap to say; `why_not_stay` and `refusals` say the same
in sentences. Replaces= counts against the replaced unit alone: it may neither stay nor be placed where a unit
is that replaces it, unless they replace one another, be it in a wider circle: then neither counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.fleet.schedule.constraints import conflict, is_machine, labels_match, replaces
from skerry.fleet.state.node import Liveness
from skerry.host.units.glob import glob_matches

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from skerry.fleet.schedule.ground import Ground, Unit
    from skerry.fleet.schedule.model import NodeSpec

AWAY = {
    Liveness.LOST: "the machine is lost",
    Liveness.LEFT: "the machine has left",
    None: "the machine is not known",
}


class Rules:
    """Reads the scheduler's books, changes nothing."""

    def __init__(self, units: Mapping[str, Unit]) -> None:
        self._units = units
        self.replacing: dict[str, Unit] = {}

    def able(self, unit: Unit, ground: Ground) -> bool:
        """Whether the unit, which is nowhere, could be placed here now."""
        spec, asks = ground.spec, unit.asks
        if not spec.may_get or (asks.machine_id is not None and not is_machine(asks.machine_id, spec.id)):
            return False
        return labels_match(asks.metadata, spec.labels) and self.able_here(unit, ground)

    def able_here(self, unit: Unit, ground: Ground) -> bool:
        """The part of `able` that does not follow from the machine being in a pool of the unit."""
        asks = unit.asks
        if (asks.memory_bytes or asks.cpu_millis or asks.ports) and ground.room.lacks(ground.spec, unit):
            return False
        if (asks.conflicts or unit.hits) and ground.conflict(unit):
            return False
        if ground.pushers and self._pushing(unit, ground) is not None:
            return False
        return not asks.machine_of or all(self.present(peer, ground) for peer in asks.machine_of)

    def present(self, peer: str, ground: Ground) -> bool:
        """Whether a unit is here for those that follow it: placed and to stay, or Global and running."""
        placed = ground.units.get(peer)
        return (placed is not None and not placed.leaving) or peer in ground.running

    def why_not_stay(self, unit: Unit) -> str | None:
        """Why a placed unit may not stay where it is; None where it may."""
        ground = unit.ground
        assert ground is not None  # noqa: S101  asked of placed units only
        spec = ground.spec
        if unit.leaving:
            if unit.stopped:
                return "it has stopped there"
            return AWAY[spec.liveness] if spec.liveness in (Liveness.LOST, Liveness.LEFT) else None
        if not unit.active:
            return "it is to be on no machine" if unit.known else "there is no such unit any more"
        if unit.asks.is_global:
            return "it is Global now, and not placed"
        if spec.liveness is not Liveness.READY:
            return AWAY[spec.liveness]
        if spec.draining:
            return "the machine is being drained"
        return self._contradiction(unit, ground)

    def _contradiction(self, unit: Unit, ground: Ground) -> str | None:
        asks, spec = unit.asks, ground.spec
        if asks.machine_id is not None and not is_machine(asks.machine_id, spec.id):
            return f"MachineID={asks.machine_id} names another machine"
        for key, values in asks.metadata:
            if spec.labels.get(key) not in values:
                return f"the machine's label {key} is not {_either(values)}"
        for peer in asks.machine_of:
            if not self.present(peer, ground):
                return f"{peer}, which it follows, is not there"
        if (asks.conflicts or unit.hits) and ground.conflict(unit):
            return f"it conflicts with {self.opponent(unit, ground)}"
        pusher = self._pushing(unit, ground) if ground.pushers else None
        return None if pusher is None else f"{pusher.name} replaces it there"

    def too_much(self, ground: Ground) -> tuple[Unit, str] | None:
        """Which unit has to go from a machine that holds more than it has room for, and why."""
        spec, room = ground.spec, ground.room
        staying = [unit for _, unit in sorted(ground.units.items()) if not unit.leaving]
        memory = cpu = 0
        if spec.memory_bytes and room.memory_bytes > spec.memory_bytes:
            memory = sum(unit.asks.memory_bytes for unit in staying) - spec.memory_bytes
        if spec.cpu_millis and room.cpu_millis > spec.cpu_millis:
            cpu = sum(unit.asks.cpu_millis for unit in staying) - spec.cpu_millis
        if memory > 0 or cpu > 0:
            # The first whose going is enough; where none is, the greatest.
            for unit in staying:
                if unit.asks.memory_bytes >= memory and unit.asks.cpu_millis >= cpu:
                    return (
                        unit,
                        f"the machine has too little {'memory' if memory > 0 else 'cpu'} for all on it",
                    )
            if memory > 0:
                greatest = max(staying, key=lambda u: u.asks.memory_bytes)
                return greatest, "the machine has too little memory for all on it"
            return max(
                staying, key=lambda u: u.asks.cpu_millis
            ), "the machine has too little cpu for all on it"
        return _port_taken_twice(staying)

    def opponent(self, unit: Unit, ground: Ground) -> str:
        """The first unit here, by name, that conflicts with this one."""
        others = {**ground.units, **ground.running}
        return min((name for name, other in others.items() if conflict(unit, other)), default="another unit")

    def refusals(self, unit: Unit, ground: Ground) -> Iterator[tuple[str, str]]:
        """Everything that keeps a unit from this machine: the constraint, as one could write it, and why."""
        asks, spec = unit.asks, ground.spec
        yield from _machine_refuses(spec, placing=not asks.is_global)
        if asks.machine_id is not None and not is_machine(asks.machine_id, spec.id):
            yield f"MachineID={asks.machine_id}", "it is another machine"
        for key, values in asks.metadata:
            if spec.labels.get(key) not in values:
                wanted = " or ".join(f"{key}={value}" for value in sorted(values))
                yield f"MachineMetadata={wanted}", "the label is absent or another"
        for peer in asks.machine_of:
            if not self.present(peer, ground):
                yield f"MachineOf={peer}", self._why_absent(peer)
        free = spec.memory_bytes - ground.room.memory_bytes
        if asks.memory_bytes > spec.memory_bytes:
            yield f"Memory={_size(asks.memory_bytes)}", "the machine has less memory than that"
        elif asks.memory_bytes > free:
            yield f"Memory={_size(asks.memory_bytes)}", "too little of its memory is free"
        if asks.cpu_millis > spec.cpu_millis:
            yield f"CPU={asks.cpu_millis / 1000:g}", "the machine has fewer processors than that"
        elif asks.cpu_millis > spec.cpu_millis - ground.room.cpu_millis:
            yield f"CPU={asks.cpu_millis / 1000:g}", "too little of its processors is free"
        for port in asks.ports:
            if ground.room.has(port):
                yield f"HostPort={port}", "the port is taken"
        if (asks.conflicts or unit.hits) and ground.conflict(unit):
            other = self.opponent(unit, ground)
            said = next((glob for glob in asks.conflicts if glob_matches(glob, other)), None)
            yield (
                (f"Conflicts={said}", "such a unit is there")
                if said
                else (
                    f"Conflicts= of {other}",
                    "it is there, and means this unit",
                )
            )
        pusher = self._pushing(unit, ground) if ground.pushers else None
        if pusher is not None:
            yield f"Replaces= of {pusher.name}", "it is there"

    def _why_absent(self, peer: str) -> str:
        unit = self._units.get(peer)
        if unit is None or not unit.known:
            return "there is no such unit"
        if not unit.active:
            return "that unit is to be on no machine"
        if unit.asks.is_global:
            return "that unit does not run there"
        return "that unit waits for a machine itself" if unit.ground is None else "that unit is elsewhere"

    def _pushing(self, unit: Unit, ground: Ground) -> Unit | None:
        """The first unit here that replaces this one."""
        found = [p for p in ground.pushers.values() if replaces(p, unit) and not self._circular(p, unit)]
        return min(found, default=None)

    def _circular(self, pusher: Unit, pushed: Unit) -> bool:
        """Whether the pushed unit replaces the other in turn, itself or through others that replace."""
        if pushed.name not in self.replacing:
            return False
        seen, ahead = {pushed.name}, [pushed]
        while ahead:
            one = ahead.pop()
            if replaces(one, pusher):
                return True
            for name, other in self.replacing.items():
                if name not in seen and replaces(one, other):
                    seen.add(name)
                    ahead.append(other)
        return False


def _machine_refuses(spec: NodeSpec, *, placing: bool) -> Iterator[tuple[str, str]]:
    if spec.liveness is not Liveness.READY:
        yield "ready machine", AWAY[spec.liveness]
    if spec.draining:
        yield "machine that is not drained", "the machine is being drained"
    elif spec.cordoned and placing:
        yield "machine that is not cordoned", "the machine is cordoned"


def _port_taken_twice(staying: list[Unit]) -> tuple[Unit, str] | None:
    seen = [(unit, port) for unit in staying for port in unit.asks.ports]
    for number, (unit, port) in enumerate(seen):
        for other, taken in seen[:number]:
            if other is not unit and port.clashes(taken):
                return unit, f"port {port} is taken there by {other.name}"
    return None


def _either(values: frozenset[str]) -> str:
    return " or ".join(sorted(values))


def _size(size_bytes: int) -> str:
    for shift, letter in ((40, "T"), (30, "G"), (20, "M"), (10, "K")):
        if size_bytes >= 1 << shift and not size_bytes % (1 << shift):
            return f"{size_bytes >> shift}{letter}"
    return str(size_bytes)
