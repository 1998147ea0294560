"""How many connections the API's port holds, so that no stranger leaves none for the machines of the cluster.

    greeted (door.py) ─┬→ STRANGER            ─┬→ KNOWN: the guard has let a request through
                       └→ SHOWN a certificate ─┘

Each kind has its bounds, one for an address and one for all; what is beyond is closed at once. Many machines
may be behind one address, so whoever is known, or may be, has much room there, and strangers have little. All
of it is less than the files that the daemon may have open.
"""

from __future__ import annotations

import enum
import ipaddress
import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SAY_EVERY_S = 60.0

log = logging.getLogger("skerry.daemon")


class Stage(enum.Enum):
    """How far a connection has come."""

    STRANGER = "of strangers"
    SHOWN = "with a certificate that was not let in yet"
    KNOWN = "of machines and people"


@dataclass(frozen=True, slots=True)
class Bound:
    """The most connections from one address, and from all."""

    of_one: int
    of_all: int


BOUNDS: Mapping[Stage, Bound] = {
    Stage.STRANGER: Bound(64, 1024),
    Stage.SHOWN: Bound(1024, 8192),
    Stage.KNOWN: Bound(24_576, 32_768),
}


class Place:
    """One connection's, until `leave`."""

    def __init__(self, places: Places, address: str) -> None:
        self._places = places
        self.address = address
        self.stage: Stage | None = None

    def move(self, stage: Stage) -> bool:
        """Whether there is room for it at that stage; else it stays where it is."""
        if stage is self.stage:
            return True
        if not self._places.take(stage, self.address):
            return False
        self.leave()
        self.stage = stage
        return True

    def leave(self) -> None:
        """The connection has ended; may be called again."""
        if self.stage is not None:
            self._places.give_back(self.stage, self.address)
            self.stage = None


class Places:
    """The counts of one listener; `monotonic` spaces what is said in the journal."""

    def __init__(self, monotonic: Callable[[], float], bounds: Mapping[Stage, Bound] = BOUNDS) -> None:
        self._monotonic = monotonic
        self._bounds = bounds
        self._here = {stage: Counter[str]() for stage in Stage}
        self._all = Counter[Stage]()
        self._said = float("-inf")

    def place(self, address: str) -> Place:
        """For a connection from there; it counts from its first `move` on."""
        return Place(self, network_of(address))

    def count(self, stage: Stage) -> int:
        return self._all[stage]

    def take(self, stage: Stage, address: str) -> bool:
        bound = self._bounds[stage]
        if self._here[stage][address] >= bound.of_one or self._all[stage] >= bound.of_all:
            self._say(stage, address)
            return False
        self._here[stage][address] += 1
        self._all[stage] += 1
        return True

    def give_back(self, stage: Stage, address: str) -> None:
        self._all[stage] -= 1
        self._here[stage][address] -= 1
        if not self._here[stage][address]:
            del self._here[stage][address]

    def _say(self, stage: Stage, address: str) -> None:
        now = self._monotonic()
        if now - self._said >= SAY_EVERY_S:
            self._said = now
            log.warning(
                "connections are refused: there are %d %s, %d of them from %s",
                self._all[stage],
                stage.value,
                self._here[stage][address],
                address,
            )


def network_of(address: str) -> str:
    """Who is counted as one: an address of IPv4, or the network of 64 bits that one of IPv6 is from."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is None:
            return str(ipaddress.ip_network((found, 64), strict=False))
        found = found.ipv4_mapped
    return str(found)
