"""Which unit runs on which machine: pure, deterministic, and incremental in what changed.

Tell it of changes, then ask `decide` for the steps; it takes them for granted until told otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry.fleet.schedule.model import NodeSpec, Step, UnitSpec


class Scheduler:
    """See the module."""

    def put_unit(self, spec: UnitSpec) -> None:
        """A unit is new, or asks for something else now."""
        raise NotImplementedError

    def drop_unit(self, name: str) -> None:
        raise NotImplementedError

    def put_node(self, spec: NodeSpec) -> None:
        """A machine is new, or something about it changed."""
        raise NotImplementedError

    def drop_node(self, node: str) -> None:
        raise NotImplementedError

    def placed(self, unit: str, node: str, *, leaving: bool = False) -> None:
        """The store holds this placement."""
        raise NotImplementedError

    def unplaced(self, unit: str, node: str) -> None:
        """The store no longer holds this placement."""
        raise NotImplementedError

    def decide(self) -> tuple[Step, ...]:
        """What is to be done about all that was told since the last time, in the order to do it."""
        raise NotImplementedError
