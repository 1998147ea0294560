"""What the scheduler knows of units and machines, and what it says: values, as few as decide.

Made from the records of the store by `reading.py`. A unit's text is not kept: `asks` is what it wants of
a machine, and units whose texts ask the same share one object.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from skerry.fleet.state.node import Liveness
from skerry.host.units.requirements import Requirements

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_WISHES = Requirements()


class UnitSpec(msgspec.Struct, frozen=True):
    """One unit; `active` where it is to be on a machine at all: loaded or launched, and no template."""

    name: str
    asks: Requirements = NO_WISHES
    active: bool = True

    @property
    def is_global(self) -> bool:
        return self.asks.is_global


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One machine. `labels` are those that count, people's words before its own settings.

    `liveness` None: nobody knows, since it was never heard of, or was removed. `memory_bytes` and
    `cpu_millis` (thousandths of a processor) are all that it has; 0 where it has not said.
    """

    id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    liveness: Liveness | None = Liveness.READY
    cordoned: bool = False
    draining: bool = False
    memory_bytes: int = 0
    cpu_millis: int = 0

    @property
    def may_hold(self) -> bool:
        """What runs here may stay: the machine lives and is not being emptied."""
        return self.liveness is Liveness.READY and not self.draining

    @property
    def may_get(self) -> bool:
        """Something new may be placed here."""
        return self.may_hold and not self.cordoned


class Verb(enum.StrEnum):
    """PLACE: on this machine from now on. REMOVE: no longer. LEAVE: a fenced unit is to stop here first,
    and the machine to say so; its placement stays, as leaving, and only then may it go elsewhere."""

    PLACE = "place"
    REMOVE = "remove"
    LEAVE = "leave"


class Step(msgspec.Struct, frozen=True):
    """One decision about one unit on one machine; `why` is a sentence without its full stop."""

    verb: Verb
    unit: str
    node: str
    why: str

    def __str__(self) -> str:
        return f"{self.verb} {self.unit} {self.node[:8]}: {self.why}"
