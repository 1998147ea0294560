"""The store's records as the scheduler's values, and a whole scheduler out of one look at the store.

Texts are read once for each different text: the instances of a template share what they ask, as long as no
specifier stands in it. A unit whose text cannot be read asks for nothing, and a record that this version
cannot read is left alone: neither placed nor moved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.fleet.schedule.constraints import labels_of
from skerry.fleet.schedule.model import NodeSpec, UnitSpec
from skerry.fleet.state.unit import DesiredState
from skerry.host.units.errors import UnitFileError, UnitNameError
from skerry.host.units.name import parse_name
from skerry.host.units.requirements import Requirements, requirements
from skerry.host.units.unit_file import parse_unit

if TYPE_CHECKING:
    from skerry.fleet.schedule.scheduler import Scheduler
    from skerry.fleet.state.node import NodeRecord, PresenceRecord
    from skerry.fleet.state.unit import UnitRecord
    from skerry.fleet.store.interface import Store

ASKS_NOTHING = Requirements()


def unit_spec(record: UnitRecord) -> UnitSpec:
    """A unit as the scheduler sees it; templates are never active."""
    try:
        name = parse_name(record.name)
        asks = requirements(parse_unit(record.text, record.name), name)[0]
    except (UnitFileError, UnitNameError):
        return UnitSpec(record.name, ASKS_NOTHING, active=record.desired is not DesiredState.INACTIVE)
    active = record.desired is not DesiredState.INACTIVE and not name.is_template
    return UnitSpec(record.name, asks, active=active)


def node_spec(node: str, record: NodeRecord | None, presence: PresenceRecord | None) -> NodeSpec:
    """A machine as the scheduler sees it; either record may be missing."""
    return NodeSpec(
        id=node,
        labels=labels_of(record, presence.facts.metadata if presence else {}),
        liveness=presence.liveness if presence else None,
        cordoned=record.cordoned if record else False,
        draining=record.draining if record else False,
        memory_bytes=presence.facts.memory_bytes if presence else 0,
        cpu_millis=presence.facts.cpus * 1000 if presence else 0,
    )


async def read_world(store: Store) -> Scheduler:
    """A scheduler that knows all that the store holds now; to ask it, or to begin planning."""
    raise NotImplementedError
