"""What a server does with heartbeats: the leader keeps the table, the others pass on to it what they hear.

    agent ─→ server ─ in batches ─→ leader: LivenessTable ─ what changed ─→ store

A heartbeat is answered only when the leader has it, and when what it changes is in the store: what the agent
then counts on (see fleet.agent.fence) is what the leader goes by. While nothing changes nothing is written.

    /skerry/v1/presence/<id>   PresenceRecord, written by the leader alone, fenced by its key
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from skerry.fleet.presence.heartbeat import DEFAULT_TTL_S, Answers, Contact, Heard, Heartbeat
from skerry.fleet.presence.leader import NotLeadingError
from skerry.fleet.presence.liveness import DuplicateNodeError, LivenessTable, NotYetError, Transition
from skerry.fleet.state.document import RecordError
from skerry.fleet.state.node import PRESENCE_PREFIX, PresenceRecord, presence_key
from skerry.fleet.store.errors import CompactedError, StoreError
from skerry.fleet.store.interface import Compare, EventKind, Field, Get, Put, Relation
from skerry.kit.errors import SkerryError
from skerry.kit.reconcile import wait_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from skerry.fleet.presence.leader import Leading
    from skerry.fleet.store.interface import Store
    from skerry.kit.clock import Clock

GATHER_S = 0.05
RETRY_S = 1.0
SECOND_LOOK_S = 0.25
MOST_IN_ONE = 100
ATTEMPTS = 3

log = logging.getLogger(__name__)


class RefusedError(SkerryError):
    """The leader refused a heartbeat that another server passed on."""


class Registry:
    """See the module. `forward` sends to the leader at a URL; None on a machine that is alone, whose
    heartbeats are answered for ever."""

    def __init__(
        self,
        store: Store,
        leading: Leading,
        clock: Clock,
        forward: Callable[[str, Heard], Awaitable[Answers]] | None,
        *,
        ttl_s: float = DEFAULT_TTL_S,
    ) -> None:
        self._store = store
        self._leading = leading
        self._clock = clock
        self._forward = forward
        self._table = LivenessTable(ttl_s)
        self._begun = False
        self._ready = asyncio.Event()
        self._sooner = asyncio.Event()
        self._passing: dict[str, tuple[Heartbeat | None, list[asyncio.Future[Contact]]]] = {}
        self._out: list[tuple[Transition, asyncio.Future[int]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Act for the leader whenever this server leads, until cancelled."""
        async with asyncio.TaskGroup() as group, aclosing(self._leading.changes()) as leaders:
            acting: asyncio.Task[None] | None = None
            async for _ in leaders:
                if acting is not None:
                    acting.cancel()
                self._begun = False
                acting = group.create_task(self._act(), name="presence") if self._leading.is_leader else None

    async def heard(self, node: str, beat: Heartbeat) -> Contact:
        """A node lives. Raises DuplicateNodeError, RefusedError; NotYetError, NotLeadingError, StoreError,
        HttpError where it may be tried again."""
        if self._forward is None:
            await self._ready.wait()  # nobody else could be asked
        contact = await (self._take(node, beat) if self._leading.is_leader else self._pass(node, beat))
        age_s = self._leading.age_s(node)
        return msgspec.structs.replace(contact, age_s=age_s) if age_s else contact

    async def goodbye(self, node: str) -> None:
        """A node leaves. Raises as `heard` does."""
        if self._leading.is_leader:
            self._must_act()
            transition = self._table.goodbye(node, self._clock.now())
            if transition is not None:
                await self._write(transition)
        else:
            await self._pass(node, None)

    async def passed_on(self, heard: Heard) -> Answers:
        """What another server heard. Raises NotLeadingError."""
        self._must_act()
        contacts: dict[str, Contact] = {}
        refused: dict[str, str] = {}

        async def one(node: str, beat: Heartbeat) -> None:
            try:
                contacts[node] = await self._take(node, beat)
            except (DuplicateNodeError, RefusedError) as error:
                refused[node] = error.message
            except SkerryError as error:
                log.debug("the heartbeat of %s is not answered: %s", node, error.message)

        await asyncio.gather(*(one(node, beat) for node, beat in heard.heartbeats.items()))
        for node in heard.goodbyes:
            await self.goodbye(node)
            contacts[node] = Contact(0)
        return Answers(contacts, refused)

    def skews_s(self) -> Mapping[str, float]:
        """By how much each machine's clock is ahead of this one's; empty where this server does not lead."""
        return self._table.skews_s() if self._begun and self._leading.is_leader else {}

    def _must_act(self) -> None:
        if not self._begun or not self._leading.is_leader:
            raise NotLeadingError(
                "this server does not lead the cluster now", hint="ask another, or again soon"
            )

    async def _take(self, node: str, beat: Heartbeat) -> Contact:
        self._must_act()
        before = self._table.next_due()
        transition = self._table.heard(node, beat, self._clock.monotonic(), self._clock.now())
        if before is None or before != self._table.next_due():
            self._sooner.set()
        if transition is not None:
            await self._write(transition)
        if self._forward is None:
            contact = self._table.contact(node)
            return Contact(math.inf if contact.ttl_s else 0, contact.revision, contact.tell)
        self._must_act()  # at this very moment: an answer is a promise
        return self._table.contact(node)

    async def _pass(self, node: str, beat: Heartbeat | None) -> Contact:
        future: asyncio.Future[Contact] = asyncio.get_running_loop().create_future()
        first = not self._passing
        _, waiting = self._passing.get(node, (None, []))
        self._passing[node] = (beat, [*waiting, future])
        if first:
            self._start(self._pass_on())
        return await future

    async def _pass_on(self) -> None:
        await self._clock.sleep(GATHER_S)
        passing, self._passing = self._passing, {}
        leader = self._leading.leader
        try:
            if leader is None or not leader.url or self._forward is None:
                raise NotLeadingError("no server leads at the moment", hint="wait; one is chosen in seconds")
            beats = {node: beat for node, (beat, _) in passing.items() if beat is not None}
            byes = tuple(node for node, (beat, _) in passing.items() if beat is None)
            answers = await self._forward(leader.url, Heard(beats, byes))
        except SkerryError as error:
            for _, futures in passing.values():
                _fail(futures, error)
            return
        for node, (_, futures) in passing.items():
            contact = answers.contacts.get(node)
            if node in answers.refused:
                _fail(futures, RefusedError(answers.refused[node]))
            elif contact is None:
                _fail(futures, NotYetError("the leader cannot answer for the moment"))
            for future in futures:
                if contact is not None and not future.done():
                    future.set_result(contact)

    async def _act(self) -> None:
        """Keep the table while this server leads."""
        while True:
            try:
                listing = await self._store.list(PRESENCE_PREFIX)
                break
            except StoreError as error:
                log.warning("who is there cannot be read yet: %s", error.message)
                await self._clock.sleep(RETRY_S)
        records: dict[str, tuple[PresenceRecord, int]] = {}
        for entry in listing.entries:
            name = entry.key.removeprefix(PRESENCE_PREFIX)
            try:
                records[name] = (PresenceRecord.decode(entry.value), entry.mod_revision)
            except RecordError as error:
                log.warning("what is known of %s cannot be read: %s", name, error.message)
        silent = self._leading.silent
        self._table.begin(
            records,
            self._clock.monotonic(),
            {silent.node: silent.since} if silent is not None else None,
            resumes=self._leading.resumes,
        )
        self._begun = True
        self._ready.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._mind_removals(listing.revision), name="removed machines")
            if self._forward is not None:
                group.create_task(self._mind_time(), name="lost machines")

    async def _mind_time(self) -> None:
        while True:
            self._sooner.clear()
            due = self._table.next_due()
            if due is None:
                await self._sooner.wait()
                continue
            pause_s = due - self._clock.monotonic()
            if pause_s > 0 and await wait_for(self._sooner, pause_s, self._clock):
                continue  # after an election all are given two TTLs, and whoever is heard then has one
            silent_at = self._clock.monotonic()
            # Where this process was held up, what was said meanwhile is still to be read: it comes first.
            await self._clock.sleep(SECOND_LOOK_S)
            for transition in self._table.due(silent_at, self._clock.now()):
                self._start(self._say_lost(transition))

    async def _say_lost(self, transition: Transition) -> None:
        log.warning("machine %s is lost: it was not heard for %g s", transition.node, self._table.ttl_s)
        while self._leading.is_leader and self._table.is_lost(transition.node):
            try:
                await self._write(transition)
            except StoreError as error:
                log.warning("that %s is lost cannot be written yet: %s", transition.node, error.message)
                await self._clock.sleep(RETRY_S)
            except NotLeadingError:
                return
            else:
                return

    async def _mind_removals(self, after: int) -> None:
        while True:
            try:
                async with aclosing(self._store.watch(PRESENCE_PREFIX, after)) as batches:
                    async for batch in batches:
                        after = batch.revision
                        for event in batch.events:
                            if event.kind is EventKind.DELETE:
                                self._table.drop(event.entry.key.removeprefix(PRESENCE_PREFIX))
            except CompactedError as error:
                after = error.compacted_revision
            except StoreError:
                await self._clock.sleep(RETRY_S)
            else:
                return

    async def _write(self, transition: Transition) -> None:
        """Put it into the store, with what others want to write. Raises StoreError, NotLeadingError."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        first = not self._out
        self._out.append((transition, future))
        if first:
            self._start(self._write_out())
        try:
            self._table.written(transition, await asyncio.shield(future))
        except SkerryError:
            self._table.failed(transition)
            self._sooner.set()
            raise

    async def _write_out(self) -> None:
        while self._out:
            await asyncio.sleep(0)
            some = self._out[:MOST_IN_ONE]
            try:
                revision = await self._commit({one.node: one.record for one, _ in some})
            except SkerryError as error:
                for _, future in some:
                    _fail([future], error)
            else:
                for _, future in some:
                    if not future.done():
                        future.set_result(revision)
            del self._out[: len(some)]

    async def _commit(self, records: Mapping[str, PresenceRecord]) -> int:
        """The revision as of which the store holds these.

        Each stands on what was there before: one that the store was slow to take, so that it seemed to have
        failed, cannot come after the next and undo it.
        """
        keys = {presence_key(node): node for node in records}
        puts = [Put(key, records[node].encode()) for key, node in keys.items()]
        for _ in range(ATTEMPTS):
            compares = [self._leading.fence]
            for key, node in keys.items():
                compares.append(Compare(key, Field.MOD_REVISION, Relation.EQUAL, self._table.revision(node)))
            result = await self._store.transact(compares, puts, [Get(key) for key in keys])
            if result.succeeded:
                return result.revision
            for (_, node), found in zip(keys.items(), result.found, strict=True):
                self._table.seen(node, found[0].mod_revision if found else 0)
        raise NotLeadingError("another server leads the cluster now")

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _fail(futures: list[asyncio.Future[Contact]] | list[asyncio.Future[int]], error: SkerryError) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
            future.add_done_callback(lambda done: done.exception())
