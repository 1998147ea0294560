"""What this node is to hold, as the servers told it, or as it remembers from when they last did.

    Source ─ messages ─┐
                       ├─→ records, wanted ─→ whoever acts on them
    Kept ─ memory ─────┘

`certain` turns true with the first Full of a server: only from then on is what is not assigned known to be
nobody's wish. A record that cannot be read is neither wanted nor unwanted: what runs of it is left alone.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING

from skerry.fleet.agent.plan import Wanted, wanted_of
from skerry.fleet.assign.assignment import Assignment, Beat, Change, Full
from skerry.host.units.errors import UnitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from skerry.fleet.agent.kept import Kept
    from skerry.fleet.agent.source import Source
    from skerry.fleet.assign.assignment import Message
    from skerry.fleet.state.unit import UnitRecord
    from skerry.kit.clock import Clock

PATIENCE_S = 10.0
"""How long a node that starts waits for a server before it goes by its memory."""

log = logging.getLogger(__name__)


class Assigned:
    """See the module. `known` turns true when there is something to go by, be it a memory.

    `on_change` gets the names that may be different now. It is also called without names, when no more than
    `revision` is new. `unreadable` maps names to a sentence for each record that no one can act on.
    """

    def __init__(
        self, source: Source, kept: Kept | None, clock: Clock, on_change: Callable[[Iterable[str]], None]
    ) -> None:
        self._source = source
        self._kept = kept
        self._clock = clock
        self._on_change = on_change
        self._assignments: dict[str, Assignment] = {}
        self._waiting: list[Message] = []
        self._came = asyncio.Event()
        self._stream: asyncio.Timeout | None = None
        self._behind = False  # whether what is kept is not what is assigned
        self.known = False
        self.certain = False
        self.fulls = 0
        self.revision = 0
        self.wanted: dict[str, Wanted] = {}
        self.unreadable: dict[str, str] = {}

    def record(self, name: str) -> UnitRecord | None:
        assignment = self._assignments.get(name)
        return None if assignment is None else assignment.record

    async def follow(self) -> None:
        """Keep up with the servers until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(), name="assignments")
            if self._kept is not None:
                group.create_task(self._remember(self._kept), name="memory of assignments")
            while True:
                await self._came.wait()
                self._came.clear()
                messages, self._waiting = self._waiting, []
                await self._hear(messages)

    def ask_anew(self) -> None:
        """Let the servers say from the beginning what this node is to hold: a Full comes, sooner or later."""
        self._waiting.clear()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.reschedule(asyncio.get_running_loop().time())

    async def _listen(self) -> None:
        """Take in what the servers say, from the beginning as often as that is asked for."""
        asked = True
        while asked:
            stream = self._stream = asyncio.timeout(None)
            try:
                async with stream, aclosing(self._source.messages()) as messages:
                    async for message in messages:
                        self._waiting.append(message)
                        self._came.set()
            except TimeoutError:
                if not stream.expired():
                    raise
            asked = stream.expired()

    async def _remember(self, kept: Kept) -> None:
        await self._clock.sleep(PATIENCE_S)
        full = None if self.certain or self._source.refused else kept.read()
        if full is not None:
            log.warning("no server was reached; this machine goes on with what it was last told to hold")
            names = self._take(full)
            self.known = True
            self._on_change(names)

    async def _hear(self, messages: list[Message]) -> None:
        """Act on all that has come; what it amounts to is on the disk first."""
        names: set[str] = set()
        for message in messages:
            names |= self._take(message)
            if isinstance(message, Full):
                self.certain = True
                self.fulls += 1
        if not self.certain:
            return
        if self._kept is not None and (names or self._behind):
            everything = tuple(a for _, a in sorted(self._assignments.items()))
            # A disk that was full is tried again with each message, of which there is one twice a minute.
            self._behind = not await self._kept.write(Full(everything, self.revision, self.unreadable))
        self.known = True
        self._on_change(names)

    def _take(self, message: Message) -> set[str]:
        """Take a message in; the names that it may have changed."""
        self.revision = message.revision
        match message:
            case Beat():
                return set()
            case Full():
                gone = (self._assignments.keys() | self.unreadable.keys()) - {
                    a.record.name for a in message.assignments
                }
                changed = {a.record.name for a in message.assignments} | gone
                put = message.assignments
            case Change():
                gone, put = set(message.gone), message.set
                changed = gone | {a.record.name for a in put}
        for name in gone:
            self._drop(name)
        for assignment in put:
            self._put(assignment)
        for name, why in message.unreadable.items():
            self._drop(name)
            self.unreadable[name] = why
            log.warning("unit %s cannot be acted on and is left as it is: %s", name, why)
        return changed | message.unreadable.keys()

    def _drop(self, name: str) -> None:
        self._assignments.pop(name, None)
        self.wanted.pop(name, None)
        self.unreadable.pop(name, None)

    def _put(self, assignment: Assignment) -> None:
        record = assignment.record
        if self._assignments.get(record.name) == assignment:
            return
        self._drop(record.name)
        self._assignments[record.name] = assignment
        try:
            wanted = wanted_of(record, fenced=assignment.fence)
        except UnitError as error:
            self.unreadable[record.name] = error.message
            log.warning("unit %s cannot be acted on and is left as it is: %s", record.name, error.message)
        else:
            if wanted is not None:
                self.wanted[record.name] = wanted
