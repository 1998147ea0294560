"""Where an agent's assignments come from, and where what it says goes: a server, near or far.

An agent goes on with what it has while no server is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from skerry.fleet.assign.assignment import Message
    from skerry.fleet.presence.heartbeat import Contact, Heartbeat
    from skerry.fleet.state.unit import UnitReport


class Source(Protocol):
    """The servers, as an agent sees them."""

    @property
    def refused(self) -> str:
        """Why the servers will not have this machine, as they last said; "" where they will."""

    def messages(self) -> AsyncGenerator[Message, None]:
        """A Full, then what changes; after a loss of the stream with a Full again. Never ends."""

    async def report(
        self, reports: Sequence[UnitReport], gone: Sequence[str], *, whole: bool = False
    ) -> frozenset[str]:
        """Tell what has become of units; returns once a server has it in the store, however long that takes.

        `whole`: these are all the units of this node, whatever else the store has of it is out of date.
        Returned are the names of fenced units that were not taken, because they are not this node's.
        """

    async def heartbeat(self, beat: Heartbeat) -> Contact:
        """Say that this node lives; returns once the *leader* has heard it. Raises SkerryError.

        A `ttl_s` without end says that there is no other machine.
        """

    async def goodbye(self) -> None:
        """Say that this node leaves, its fenced units stopped: they may be placed elsewhere at once.

        Raises SkerryError.
        """
