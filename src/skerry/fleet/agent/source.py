"""Where an agent's assignments come from, and where what it says goes: a server, near or far.

Every method goes on trying until it can do what it says; none of them raises while a server is away.
What an agent does meanwhile is its own affair: it goes on with what it has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from skerry.fleet.assign.assignment import Message
    from skerry.fleet.presence.heartbeat import Contact
    from skerry.fleet.state.unit import UnitReport


class Source(Protocol):
    """The servers, as an agent sees them."""

    def messages(self) -> AsyncGenerator[Message, None]:
        """A Full, then what changes; after each loss of the stream it begins with a Full again."""

    async def report(
        self, reports: Sequence[UnitReport], gone: Sequence[str], *, whole: bool = False
    ) -> None:
        """Tell what has become of units; returns once a server has it in the store.

        `whole`: these are all the units of this node, whatever else the store has of it is out of date.
        """

    async def heartbeat(self) -> Contact:
        """Say that this node lives; returns once the *leader* has heard it."""

    async def goodbye(self) -> None:
        """Say that this node leaves, with its units stopped: they may be placed elsewhere at once."""
