"""What Skerry asks of the service manager of a machine, and the values that go to and fro.

`systemd.py` implements it over D-Bus; the tests' fake implements it in memory; both pass
tests/conformance/test_service_manager.py (the real one on a node).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass(frozen=True, slots=True)
class UnitState:
    """A unit as systemd sees it; the words are systemd's own (loaded, active, running, …).

    A unit that systemd does not know is `not-found`, `inactive`, `dead`. `result` says how a service
    last ended ("success", "exit-code", …), "" for units that have none.
    """

    name: str
    load: str
    active: str
    sub: str
    description: str = ""
    result: str = ""


class Changes(Protocol):
    """States as they change, of a set of units that may itself change; close it to end it.

    The state of each unit comes once when it is added, then after every change. A unit that changes
    faster than it is read is told of once, as it is then. Survives a restart of systemd or of the bus.
    """

    def __aiter__(self) -> AsyncIterator[UnitState]:
        """Itself."""

    async def __anext__(self) -> UnitState:
        """The next state of any of the units; waits for one. Ends after `aclose`."""

    def add(self, *names: str) -> None:
        """Tell of these units too; a unit that is known already is told of anew."""

    def discard(self, name: str) -> None:
        """Tell no more of this unit."""

    async def aclose(self) -> None:
        """End the stream; calling twice is no error."""


class ServiceManager(Protocol):
    """One machine's systemd. Every method raises ServiceManagerError."""

    async def reload(self) -> None:
        """Read all unit files again, generators (Quadlet's among them) included."""

    async def start(self, name: str) -> None:
        """Queue a start and return; the outcome shows as a state.

        Raises NoSuchUnitError where systemd finds no such unit.
        """

    async def stop(self, name: str) -> None:
        """Stop the unit and wait until it has stopped; no error where it is unknown."""

    async def enable(self, name: str) -> None:
        """Make the links of the unit's [Install] section, until the next boot."""

    async def disable(self, name: str) -> None:
        """Take the links away again; no error where there are none."""

    async def reset_failed(self, name: str) -> None:
        """Forget that the unit failed; no error where it did not or is unknown."""

    async def state(self, name: str) -> UnitState:
        """The unit's state now."""

    def changes(self, names: frozenset[str]) -> Changes:
        """Follow the states of units, `names` to begin with."""

    async def close(self) -> None:
        """Let go of the connection and end every stream; calling twice is no error."""
