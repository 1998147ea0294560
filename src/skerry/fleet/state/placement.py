"""Where a unit is to run, as the scheduler decided it.

    /skerry/v1/placements/<node>/<unit>   PlacementRecord

A unit that is not Global has one placement or none. Global units have none: every node whose labels match
runs them by its own decision. Only the leader's scheduler writes here.
"""

from __future__ import annotations

from skerry.fleet.state.document import Document

PLACEMENTS_PREFIX = "/skerry/v1/placements/"


class PlacementRecord(Document, frozen=True):
    """`why` is the scheduler's sentence; `since` the time of the decision, in seconds since 1970.

    A `leaving` unit is no longer the node's to hold, but nobody else's yet: it is fenced, and the placement
    stays until the node's report on the unit is gone or the node is lost.
    """

    unit: str
    node: str
    why: str = ""
    since: float = 0.0
    leaving: bool = False

    @property
    def key(self) -> str:
        return placement_key(self.node, self.unit)


def placement_key(node: str, unit: str) -> str:
    """Where the placement of a unit on a node is."""
    return f"{PLACEMENTS_PREFIX}{node}/{unit}"
