"""The drivers of the store, driven by the same random operations, give the same answers throughout.

Compared after every step: the answer or the error, the whole listing, and what two watchers are shown
that follow from the start (one of everything, one of a prefix).
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fakes.clock import FakeClock, settle
from fakes.stores import LOCAL, Driver, opened
from skerry.fleet.store.errors import LeaseNotFoundError, StoreError
from skerry.fleet.store.interface import (
    Batch,
    Compare,
    Delete,
    DeletePrefix,
    Field,
    Get,
    Put,
    Relation,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from skerry.fleet.store.interface import Operation, Store

KEYS = st.sampled_from(["a", "a/", "a/b", "a/b/c", "b", "ä", "\U0010ffff"])
VALUES = st.sampled_from([b"", b"1", b"2", b"\xff\x00"])
PREFIXES = st.sampled_from(["", "a", "a/", "a/b", "c", "\U0010ffff"])
LEASES = st.integers(0, 4)
COMPARES = st.one_of(
    st.builds(Compare, KEYS, st.just(Field.VALUE), st.sampled_from(Relation), VALUES),
    st.builds(
        Compare,
        KEYS,
        st.sampled_from([Field.VERSION, Field.CREATE_REVISION, Field.MOD_REVISION]),
        st.sampled_from(Relation),
        st.integers(0, 8),
    ),
)
OPERATIONS = st.one_of(
    st.builds(Put, KEYS, VALUES, LEASES),
    st.builds(Delete, KEYS),
    st.builds(DeletePrefix, PREFIXES),
    st.builds(Get, KEYS),
)
BRANCH = st.lists(OPERATIONS, max_size=4)


@dataclass
class Player:
    """One driver with its clock and its watchers."""

    store: Store
    clock: FakeClock
    shown: dict[str, list[Batch]] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def follow(self, prefix: str) -> None:
        shown = self.shown.setdefault(prefix, [])

        async def follow() -> None:
            async for batch in self.store.watch(prefix, 0):
                shown.append(batch)
                self.moved.set()

        self.tasks.append(asyncio.create_task(follow()))

    async def do(self, operation: Callable[[Store], Awaitable[object]]) -> object:
        try:
            return await operation(self.store)
        except LeaseNotFoundError as error:
            return type(error)  # of several that are missing etcd names another
        except (StoreError, ValueError) as error:
            return type(error), str(error)

    async def rest(self) -> None:
        """Wait until all that was submitted is done and shown."""
        await settle()
        last = (await self.store.list("")).revision
        while last != len(self.shown[""]):
            self.moved.clear()
            await self.moved.wait()


class DriversAgree(RuleBasedStateMachine):
    drivers: Sequence[Driver] = ()
    second_s = 1

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self._loop = asyncio.Runner()
        self._exits: list[Callable[[], Awaitable[object]]] = []
        self._players = [self._loop.run(self._begin(driver)) for driver in self.drivers]

    async def _begin(self, driver: Driver) -> Player:
        clock = FakeClock()
        context = opened(driver, Path(self._directory.name), clock, keep=12)
        store = await context.__aenter__()
        self._exits.append(lambda: context.__aexit__(None, None, None))
        player = Player(store, clock)
        player.follow("")
        player.follow("a/")
        await settle()
        return player

    def _both(self, operation: Callable[[Store], Awaitable[object]]) -> None:
        async def all_players() -> list[object]:
            answers = []
            for player in self._players:
                answers.append(await player.do(operation))
                await player.rest()
            return answers

        first, *others = self._loop.run(all_players())
        assert all(other == first for other in others), (first, others)

    @rule(compares=st.lists(COMPARES, max_size=2), then=BRANCH, otherwise=BRANCH)
    def transact(self, compares: list[Compare], then: list[Operation], otherwise: list[Operation]) -> None:
        self._both(lambda store: store.transact(compares, then, otherwise))

    @rule(ttl_s=st.sampled_from([0, 1.5, 2, 5]))
    def grant(self, ttl_s: float) -> None:
        self._both(lambda store: store.grant(ttl_s * self.second_s))

    @rule(lease=LEASES)
    def keep_alive(self, lease: int) -> None:
        self._both(lambda store: store.keep_alive(lease))

    @rule(lease=LEASES)
    def revoke(self, lease: int) -> None:
        self._both(lambda store: store.revoke(lease))

    @rule(lease=LEASES)
    def time_to_live(self, lease: int) -> None:
        async def left(store: Store) -> object:
            # etcd answers in whole seconds, and its time has passed a little.
            return round(await store.time_to_live_s(lease) / self.second_s, 2)

        self._both(left)

    @rule(revision=st.integers(0, 20))
    def compact(self, revision: int) -> None:
        self._both(lambda store: store.compact(revision))

    @rule(prefix=PREFIXES, after=st.integers(0, 20))
    def watch_afresh(self, prefix: str, after: int) -> None:
        async def replay(store: Store) -> object:
            last = (await store.list("")).revision
            watch = store.watch(prefix, after)
            shown = []
            try:
                # One known event at the end, so that the replay has an end.
                await store.transact((), [Put(prefix + "end", b"")])
                async for batch in watch:
                    shown.append(batch)
                    if batch.revision > last:
                        break
            finally:
                await watch.aclose()
            return shown

        if after <= len(self._players[0].shown[""]):
            self._both(replay)

    @invariant()
    def the_same_stands(self) -> None:
        self._both(lambda store: store.list(""))
        self._both(lambda store: store.get("a/b"))

    @invariant()
    def the_same_was_shown(self) -> None:
        first, *others = self._players
        for other in others:
            assert other.shown == first.shown

    def teardown(self) -> None:
        async def end() -> None:
            for exit_context in self._exits:
                await exit_context()
            for player in self._players:
                await asyncio.gather(*player.tasks, return_exceptions=True)

        self._loop.run(end())
        self._loop.close()
        self._directory.cleanup()


class LocalDriversAgree(DriversAgree):
    """Those that live by the clock they are given, and time passing."""

    drivers = LOCAL

    @rule(seconds=st.sampled_from([0.5, 1.5, 4]))
    def time_passes(self, seconds: float) -> None:
        async def pass_time() -> None:
            for player in self._players:
                # In steps, each waited out: the SQLite driver ends a lease in a thread of its own.
                for _ in range(int(seconds * 2)):
                    await player.clock.advance(0.5)
                    await player.store.compact(0)
                    await player.rest()

        self._loop.run(pass_time())


class EtcdAgrees(DriversAgree):
    """Beside a real etcd no time passes: its leases are made so long that none ends by itself."""

    drivers = (Driver.MEMORY, Driver.ETCD)
    second_s = 10_000


TestLocalDriversAgree = LocalDriversAgree.TestCase
TestLocalDriversAgree.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestEtcdAgrees = EtcdAgrees.TestCase
TestEtcdAgrees.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
