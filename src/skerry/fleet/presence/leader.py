"""Which server leads: the one whose key stands in the store.

    /skerry/v1/leader   LeaderRecord, under a lease of the store
    /skerry/v1/led      LedRecord: who led last, written with the other; not there where it gave the office up

Who leads writes only in transactions that compare `fence`: the key as this server created it. One that was
deposed without knowing therefore changes nothing. `is_leader` is by this machine's own monotonic clock:
it ends before the store can give the key to another, also where this process was stopped meanwhile.

Nobody hears the machine of a leader but the leader itself, which proves nothing to the others. So what it is
promised counts from when the store last renewed the lease (`age_s`); and where the lease ran out, the next
leader knows that this was so long ago (`silent`). A server that finds its own `led` when it takes the office
again, or its key still there, knows that nobody has led meanwhile (`resumes`): what it heard of machines is
all that anybody did.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

import msgspec

from skerry.fleet.state.document import Document, RecordError
from skerry.fleet.store.errors import (
    CompactedError,
    LeaseNotFoundError,
    OutcomeUnknownError,
    StoreError,
)
from skerry.fleet.store.interface import Compare, Delete, Field, Put, Relation, absent, unchanged
from skerry.kit.errors import SkerryError
from skerry.kit.reconcile import wait_for

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from skerry.fleet.store.interface import Entry, Operation, Store
    from skerry.kit.clock import Clock

LEADER_KEY = "/skerry/v1/leader"
LED_KEY = "/skerry/v1/led"
LEASE_S = 5.0
"""Short, so that a new leader is there before fenced units, which wait for one, have to stop."""

RETRY_S = 1.0
LAST_S = 2.0
"""So long the end of a leader waits for a store without a majority: its lease runs out soon after."""

log = logging.getLogger(__name__)


class NotLeadingError(SkerryError):
    """This server does not lead; another may."""


class LeaderRecord(Document, frozen=True):
    """`url` is where the leader's API is, "" where it has none."""

    node: str
    url: str = ""


class LedRecord(Document, frozen=True):
    """Who led, by a lease of so long."""

    node: str
    lease_s: float


class Silent(msgspec.Struct, frozen=True):
    """A machine of which nothing counts that it was promised after `since`, by this server's clock."""

    node: str
    since: float


class Leading(Protocol):
    """Who leads, as the parts that act for the leader see it."""

    @property
    def is_leader(self) -> bool:
        """Whether this server leads now."""

    @property
    def fence(self) -> Compare:
        """What every transaction of the leader compares. Raises NotLeadingError."""

    @property
    def leader(self) -> LeaderRecord | None:
        """Who leads as far as is known."""

    @property
    def silent(self) -> Silent | None:
        """While this server leads: who led before, where its lease ran out."""

    @property
    def resumes(self) -> bool:
        """While this server leads: whether it led before, too, and nobody since."""

    def age_s(self, node: str) -> float:
        """By how much what a machine is promised now counts from earlier; 0 for all but this server's own."""

    def changes(self) -> AsyncGenerator[LeaderRecord | None, None]:
        """Who leads: now, then whenever it changes, also where the same server leads anew."""

    async def run(self) -> None:
        """Stand for election until cancelled."""


class Leadership:
    """Elections among several servers, by a lease of the store."""

    def __init__(self, store: Store, node: str, url: str, clock: Clock, *, lease_s: float = LEASE_S) -> None:
        self._store = store
        self._record = LeaderRecord(node, url)
        self._clock = clock
        self._lease_s = lease_s
        self._lease = 0
        self._created = 0
        self._until = 0.0
        self._claimed: float | None = None  # the last renewal of the lease, while our key may stand under it
        self._doubt = False  # whether a transaction that wrote our key may still be carried out
        self._silent: Silent | None = None
        self._office_before = 0  # the revision at which this life of the server took the office last
        self._resumes = False
        self._leader: LeaderRecord | None = None
        self._changed = asyncio.Event()
        self._again = asyncio.Event()

    @property
    def is_leader(self) -> bool:
        return self._created > 0 and self._clock.monotonic() < self._until

    @property
    def fence(self) -> Compare:
        if not self.is_leader:
            raise NotLeadingError("this server does not lead the cluster")
        return Compare(LEADER_KEY, Field.CREATE_REVISION, Relation.EQUAL, self._created)

    @property
    def leader(self) -> LeaderRecord | None:
        return self._record if self.is_leader else self._leader

    @property
    def silent(self) -> Silent | None:
        return self._silent if self.is_leader else None

    @property
    def resumes(self) -> bool:
        return self._resumes and self.is_leader

    def age_s(self, node: str) -> float:
        if self._claimed is None or node != self._record.node:
            return 0.0
        return max(self._clock.monotonic() - self._claimed, 0.0)

    async def changes(self) -> AsyncGenerator[LeaderRecord | None, None]:
        told: tuple[LeaderRecord | None, int] | None = None
        while True:
            changed = self._changed
            now = (self.leader, self._created)
            if now != told:
                told = now
                yield now[0]
                continue
            await changed.wait()

    async def run(self) -> None:
        """Stand for election until cancelled; give the office up at the end."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch(), name="who leads")
                group.create_task(self._stand(), name="election")
        finally:
            await self.resign()

    async def resign(self) -> None:
        """Let another lead at once. No error where the store is away: the lease runs out."""
        lease, self._lease = self._lease, 0
        created = self._created
        if created:
            self._depose()
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(LAST_S):
                if created:
                    await self._give_up([Compare(LEADER_KEY, Field.CREATE_REVISION, Relation.EQUAL, created)])
                elif self._claimed is not None:
                    return  # our key may stand: were it gone too soon, what we were promised would outlast us
                if lease:
                    await self._store.revoke(lease)

    async def _give_up(self, compares: Sequence[Compare]) -> None:
        """Take our key away before its time, and with it what would tell the next that the time was up."""
        await self._store.transact(compares, [Delete(LEADER_KEY), Delete(LED_KEY)])
        if not self._doubt:
            self._claimed = None

    async def _stand(self) -> None:
        while True:
            self._again.clear()
            try:
                if self._created:
                    await self._renew()
                else:
                    await self._try()
            except StoreError as error:
                log.warning("the election waits for the store: %s", error.message)
                pause_s = RETRY_S
                end = self._until
            else:
                pause_s = self._lease_s / 3
                end = self._until - 2 * pause_s  # a third after the last was asked for, not answered
            if self._created:
                pause_s = min(pause_s, max(end - self._clock.monotonic(), 0))
            await wait_for(self._again, pause_s, self._clock)
            if self._created and not self.is_leader:
                log.warning("this server leads no longer: the store was away for too long")
                self._depose()

    async def _try(self) -> None:
        if self._lease == 0:
            self._lease = (await self._store.grant(self._lease_s)).id
        asked = self._clock.monotonic()
        try:
            # Before, not after: the key must not go before we believe that it does.
            await self._store.keep_alive(self._lease)
            if self._claimed is not None:
                self._claimed = asked
            standing = await self._store.get(LEADER_KEY)  # to read costs no write, and outlasts an election
            if standing is None:
                await self._claim(asked)
            else:
                await self._face(standing, asked)
        except LeaseNotFoundError:
            self._lease_is_gone()

    async def _claim(self, asked: float) -> None:
        """Nobody leads. `asked`: when the lease was renewed last."""
        self._claimed = asked
        try:
            result = await self._store.transact([absent(LEADER_KEY)], self._office())
        except OutcomeUnknownError:
            self._doubt = True
            raise
        if not result.succeeded:
            self._again.set()
            return
        led = result.found[1]
        self._silent = self._led_before(led)
        self._resumes = bool(led) and led[0].mod_revision == self._office_before
        self._lead(result.revision, asked)

    async def _face(self, standing: Entry, asked: float) -> None:
        """There is a leader's key."""
        self._see(standing.value)
        if standing.create_revision == self._office_before and standing.lease == self._lease:
            # The store was away for longer than we could count on our lease, and kept it all the same.
            self._claimed = asked
            self._silent, self._resumes = None, True
            self._lead(standing.create_revision, asked)
            return
        ours = self._leader is not None and self._leader.node == self._record.node
        if not ours and not self._doubt:
            self._claimed = None
        if not standing.lease:
            # Of a machine that was alone, and has become a server of this cluster: it would stand for ever.
            await self._give_up([unchanged(standing)])
            self._again.set()
        elif ours:
            # An earlier life of this server, which cannot give the office up any more.
            await self._give_up([unchanged(standing)])
            with contextlib.suppress(LeaseNotFoundError):
                await self._store.revoke(standing.lease)
            self._again.set()

    def _lead(self, created: int, asked: float) -> None:
        self._created = self._office_before = created
        self._until = asked + self._lease_s
        log.info("this server leads from now on")
        self._tell()

    def _office(self) -> list[Operation]:
        led = LedRecord(self._record.node, self._lease_s)
        return [Put(LEADER_KEY, self._record.encode(), self._lease), Put(LED_KEY, led.encode())]

    def _led_before(self, found: Sequence[Entry]) -> Silent | None:
        """Its key is not there any more, and it did not take it away: the lease has run out by now."""
        try:
            led = LedRecord.decode(found[0].value) if found else None
        except RecordError as error:
            log.warning("who led before cannot be read: %s", error.message)
            return None
        return None if led is None else Silent(led.node, self._clock.monotonic() - led.lease_s)

    async def _renew(self) -> None:
        asked = self._clock.monotonic()
        try:
            await self._store.keep_alive(self._lease)
        except LeaseNotFoundError:
            log.warning("this server leads no longer: its lease has ended")
            self._depose()
            self._lease_is_gone()
        else:
            self._until = asked + self._lease_s
            self._claimed = asked

    def _lease_is_gone(self) -> None:
        """And with it all that stands, or may come to stand, under it."""
        self._lease = 0
        self._claimed, self._doubt = None, False
        self._again.set()

    async def _watch(self) -> None:
        while True:
            try:
                listing = await self._store.list(LEADER_KEY)
                self._see(listing.entries[0].value if listing.entries else None)
                async with aclosing(self._store.watch(LEADER_KEY, listing.revision)) as batches:
                    async for batch in batches:
                        event = batch.events[-1]
                        self._see(event.entry.value or None)
                        if not event.entry.value:
                            if self._created and event.entry.mod_revision > self._created:
                                self._depose()
                            self._again.set()
            except CompactedError:
                continue
            except StoreError:
                await self._clock.sleep(RETRY_S)
            else:
                return

    def _see(self, value: bytes | None) -> None:
        try:
            self._leader = None if value is None else LeaderRecord.decode(value)
        except RecordError as error:
            log.warning("the leader's record cannot be read: %s", error.message)
            self._leader = None
        self._tell()

    def _depose(self) -> None:
        self._created = 0
        self._until = 0.0
        self._tell()

    def _tell(self) -> None:
        before, self._changed = self._changed, asyncio.Event()
        before.set()


class Alone:
    """The one server of a single machine: leads always, by a key without a lease; nothing is renewed."""

    def __init__(self, store: Store, node: str, clock: Clock) -> None:
        self._store = store
        self._record = LeaderRecord(node)
        self._clock = clock
        self._created = 0
        self._ready = asyncio.Event()

    @property
    def is_leader(self) -> bool:
        return self._created > 0

    @property
    def fence(self) -> Compare:
        if not self._created:
            raise NotLeadingError("this machine's store has not been read yet")
        return Compare(LEADER_KEY, Field.CREATE_REVISION, Relation.EQUAL, self._created)

    @property
    def leader(self) -> LeaderRecord | None:
        return self._record if self._created else None

    @property
    def silent(self) -> Silent | None:
        return None

    @property
    def resumes(self) -> bool:
        return False

    def age_s(self, node: str) -> float:
        return 0.0

    async def changes(self) -> AsyncGenerator[LeaderRecord | None, None]:
        if not self._created:
            yield None
            await self._ready.wait()
        yield self._record
        await asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Take the office, once, and keep it until cancelled."""
        while not self._created:
            try:
                entry = await self._store.get(LEADER_KEY)
                if entry is not None and entry.value == self._record.encode():
                    self._created = entry.create_revision
                    break
                await self._store.transact([], [Put(LEADER_KEY, self._record.encode())])
            except StoreError as error:
                log.warning("the store is away: %s", error.message)
                await self._clock.sleep(RETRY_S)
        self._ready.set()
        await asyncio.get_running_loop().create_future()
