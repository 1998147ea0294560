"""Elections over a store in memory: one leads, and knows in time when it leads no longer."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.away import Cut, Fault
from fakes.clock import FakeClock, settle
from skerry.fleet.presence.leader import LEADER_KEY, LEASE_S, Alone, LeaderRecord, Leadership, NotLeadingError
from skerry.fleet.store.interface import Lease, Put
from skerry.fleet.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from skerry.fleet.presence.leader import Leading


@asynccontextmanager
async def running(*all_of: Leading) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.ensure_future(one.run()) for one in all_of]
    await settle()
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_one_of_two_leads_and_both_know_who() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        a, b = (Leadership(store, n, f"https://{n}:7443", clock) for n in "ab")
        async with running(a, b):
            assert (a.is_leader, b.is_leader) == (True, False)
            assert a.leader == b.leader == LeaderRecord("a", "https://a:7443")
            await clock.advance(100)
            assert a.is_leader
            with pytest.raises(NotLeadingError):
                _ = b.fence

    asyncio.run(scenario())


def test_the_other_follows_at_once_when_the_leader_goes_in_order() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        a, b = (Leadership(store, n, "", clock) for n in "ab")
        async with running(a, b) as tasks:
            fence = a.fence
            tasks[0].cancel()
            await settle()
            assert b.is_leader
            assert not (await store.transact([fence], [Put("/x", b"")])).succeeded
            assert (await store.transact([b.fence], [Put("/x", b"")])).succeeded

    asyncio.run(scenario())


def test_what_a_machine_alone_left_does_not_stand_in_the_way_of_its_cluster() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        async with running(Alone(store, "a", clock)) as tasks:
            tasks[0].cancel()
            await settle()
        a, b = (Leadership(store, n, f"https://{n}:7443", clock) for n in "ab")
        async with running(b, a):
            assert b.is_leader
            assert a.leader == LeaderRecord("b", "https://b:7443")

    asyncio.run(scenario())


def test_a_leader_without_its_store_stops_before_another_begins() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        cut = Cut(store)
        a, b = Leadership(cut, "a", "", clock), Leadership(store, "b", "", clock)
        async with running(a, b):
            cut.fault = Fault.AWAY
            for _ in range(int(LEASE_S * 20)):
                await clock.advance(0.1)
                assert not (a.is_leader and b.is_leader)
            assert b.is_leader
            cut.fault = None
            await clock.advance(LEASE_S)
            assert not a.is_leader
            assert a.leader == LeaderRecord("b")

    asyncio.run(scenario())


def test_a_process_that_was_stopped_knows_at_once_that_it_leads_no_longer() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        mine = FakeClock()  # stands still while the process does; then it has the new time
        a = Leadership(store, "a", "", mine)
        async with running(a):
            assert a.is_leader
            mine._passed = LEASE_S  # no task of ours ran meanwhile
            assert not a.is_leader

    asyncio.run(scenario())


def test_a_server_that_was_killed_leads_again_without_waiting_for_its_lease() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        lease = await store.grant(LEASE_S)
        await store.transact([], [Put(LEADER_KEY, LeaderRecord("a").encode(), lease.id)])
        a = Leadership(store, "a", "", clock)
        async with running(a):
            assert a.is_leader

    asyncio.run(scenario())


def test_the_next_leader_knows_since_when_the_one_before_is_silent() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        cut = Cut(store)
        a, b = Leadership(cut, "a", "", clock), Leadership(store, "b", "", clock)
        async with running(a, b):
            assert a.silent is None
            await clock.advance(7)
            cut.fault = Fault.AWAY
            counts_from = clock.monotonic() - a.age_s("a")
            assert 0 < a.age_s("a") < LEASE_S / 2
            assert a.age_s("b") == 0
            while not b.is_leader:
                await clock.advance(0.1)
            assert b.silent is not None
            assert b.silent.node == "a"
            assert counts_from - 1e-6 <= b.silent.since <= counts_from + 0.2

    asyncio.run(scenario())


def test_nothing_is_known_of_a_leader_that_went_in_order_or_began_anew() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        cut = Cut(store)
        a, b = Leadership(cut, "a", "", clock), Leadership(store, "b", "", clock)
        async with running(a, b) as tasks:
            tasks[0].cancel()
            await settle()
            assert b.is_leader
            assert b.silent is None
        a, c = Leadership(cut, "a", "", clock), Leadership(store, "c", "", clock)
        async with running(a, c) as tasks:
            cut.fault = Fault.AWAY
            tasks[0].cancel()  # as if killed: it cannot say goodbye
            await settle()
            cut.fault = None
            async with running(Leadership(store, "a", "", clock)):
                assert c.silent is None

    asyncio.run(scenario())


def test_a_leader_that_nobody_has_replaced_resumes() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        cut = Cut(store)
        a = Leadership(cut, "a", "", clock)

        async def away(seconds: float) -> None:
            cut.fault = Fault.AWAY
            await clock.advance(seconds)
            cut.fault = None

        async with running(a):
            assert not a.resumes
            for _ in range(2):
                await away(3 * LEASE_S)
                assert (a.is_leader, a.resumes) == (False, False)
                await clock.advance(3)
                assert (a.is_leader, a.resumes) == (True, True)
            b = Leadership(store, "b", "", clock)
            async with running(b) as tasks:
                await away(3 * LEASE_S)
                assert (b.is_leader, b.resumes) == (True, False)
                tasks[0].cancel()  # in order, so that nothing tells of it
                await clock.advance(3)
                assert (a.is_leader, a.resumes) == (True, False)
        async with running(Leadership(store, "a", "", clock)) as _:
            pass
        again = Leadership(store, "a", "", clock)
        async with running(again):
            assert (again.is_leader, again.resumes) == (True, False)

    asyncio.run(scenario())


def test_a_leader_whose_key_outlasted_its_office_takes_it_up_again() -> None:
    """etcd's next leader begins all leases anew, so that one may last longer than its holder can count on."""

    async def scenario() -> None:
        clock, theirs = FakeClock(), FakeClock()  # the store's stands still
        store = MemoryStore(clock=theirs)
        cut = Cut(store)
        a, b = Leadership(cut, "a", "", clock), Leadership(store, "b", "", clock)
        async with running(a, b):
            fence = a.fence
            cut.fault = Fault.AWAY
            await clock.advance(2 * LEASE_S)
            assert (a.is_leader, b.is_leader) == (False, False)
            written = (await store.list("")).revision
            cut.fault = None
            await clock.advance(3)
            assert (a.is_leader, a.resumes, a.silent, a.fence) == (True, True, None, fence)
            assert a.age_s("a") < LEASE_S / 2
            assert (await store.list("")).revision == written

    asyncio.run(scenario())


def test_a_lease_that_takes_long_to_renew_is_renewed_in_time() -> None:
    async def scenario() -> None:
        clock = FakeClock()

        class Slow(MemoryStore):
            async def keep_alive(self, lease: int) -> Lease:
                await clock.sleep(LEASE_S * 0.45)
                return await super().keep_alive(lease)

        a = Leadership(Slow(clock=clock), "a", "", clock)
        async with running(a):
            await clock.advance(LEASE_S)
            for _ in range(200):
                assert a.is_leader
                await clock.advance(0.1)

    asyncio.run(scenario())


def test_who_does_not_lead_asks_for_nothing_to_be_written() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        cut = Cut(store)
        a, b = Leadership(store, "a", "", clock), Leadership(cut, "b", "", clock)
        async with running(a, b):
            cut.fault = Fault.LATE  # it would hear of no transaction
            await clock.advance(10 * LEASE_S)
            assert (a.is_leader, b.age_s("b")) == (True, 0)

    asyncio.run(scenario())


def test_a_claim_that_may_still_come_true_counts_as_one() -> None:
    """Of which nobody heard whether it was made; it was not, then, and is made when the other leader goes."""

    async def scenario() -> None:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        cut = Cut(store)
        a, b, c, d, e = (Leadership(cut if n == "b" else store, n, "", clock) for n in "abcde")
        async with running(a, b) as tasks:
            cut.fault = Fault.LATE
            tasks[0].cancel()
            await settle()
            cut.fault = None
            async with running(c), running(d):
                await clock.advance(LEASE_S - 0.5)
                assert c.is_leader
                assert d.age_s("d") == 0
                promised = clock.monotonic() - b.age_s("b")  # by c, say
                assert promised < clock.monotonic()
                cut.fault = Fault.AWAY
            await cut.deliver()
            async with running(e):
                while not e.is_leader:
                    await clock.advance(0.1)
                assert e.silent is not None
                assert e.silent.node == "b"
                assert promised <= e.silent.since + 1e-6

    asyncio.run(scenario())


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("abc"), st.sampled_from((None, None, *Fault))),
        st.tuples(st.sampled_from("abc"), st.sampled_from(("restart", "kill", "deliver"))),
        st.tuples(st.just("time"), st.sampled_from((0.3, 1, 1.7, 3, 5, 8))),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=40)
@given(STEPS)
def test_no_promise_counts_from_after_what_the_next_leader_goes_by(
    steps: list[tuple[str, Fault | str | float | None]],
) -> None:
    """Whoever leads promises all that it can to the machine of each server, also as the store fails."""

    async def scenario() -> None:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        cuts = {name: Cut(store) for name in "abc"}
        promised: dict[str, float] = {}
        judged: set[tuple[str, float]] = set()
        standing: dict[str, tuple[Leadership, asyncio.Task[None]]] = {}
        terms: list[tuple[Leadership, object]] = []

        def begin(name: str) -> None:
            one = Leadership(cuts[name], name, "", clock)
            standing[name] = (one, asyncio.ensure_future(one.run()))

        async def end(name: str) -> None:
            standing[name][1].cancel()
            await asyncio.gather(standing[name][1], return_exceptions=True)

        def look() -> None:
            leads = [one for one, _ in standing.values() if one.is_leader]
            assert len(leads) <= 1
            for leader in leads:
                if (leader, leader.fence) not in terms[-1:]:
                    assert not leader.resumes or terms[-1][0] is leader
                    terms.append((leader, leader.fence))
                silent = leader.silent
                if silent is not None and (silent.node, silent.since) not in judged:
                    judged.add((silent.node, silent.since))
                    assert promised.get(silent.node, -1) <= silent.since + 1e-6
                for name, (one, _) in standing.items():
                    counts_from = clock.monotonic() - one.age_s(name)
                    promised[name] = max(promised.get(name, counts_from), counts_from)

        for name in "abc":
            begin(name)
        for who, what in steps:
            if isinstance(what, float | int):
                end_at = clock.monotonic() + what
                while clock.monotonic() < end_at:
                    await clock.advance(0.1)
                    look()
            elif what == "deliver":
                await cuts[who].deliver()
                await settle()
                look()
            elif what in ("restart", "kill"):
                fault, cuts[who].fault = cuts[who].fault, Fault.AWAY if what == "kill" else cuts[who].fault
                await end(who)
                cuts[who].fault = fault
                begin(who)
                await settle()
                look()
            else:
                cuts[who].fault = what if isinstance(what, Fault) else None
        for name in "abc":
            await end(name)

    asyncio.run(scenario())


def test_changes_are_told_in_order() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        a, b = (Leadership(store, n, "", clock) for n in "ab")
        told: list[str | None] = []

        async def listen() -> None:
            async for record in b.changes():
                told.append(record.node if record else None)  # noqa: PERF401  as they come

        async with running(a, b) as tasks:
            listening = asyncio.ensure_future(listen())
            await settle()
            tasks[0].cancel()
            await settle()
            listening.cancel()
        assert told[0] == "a"
        assert told[-1] == "b"

    asyncio.run(scenario())


def test_a_single_machine_leads_and_writes_nothing_more() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        async with running(Alone(store, "a", clock)) as _:
            pass
        again = Alone(store, "a", clock)
        async with running(again):
            assert again.is_leader
            assert (await store.transact([again.fence], [Put("/x", b"")])).succeeded
            before = (await store.list("")).revision
            await clock.advance(1000)
            assert (await store.list("")).revision == before

    asyncio.run(scenario())
