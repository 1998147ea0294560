"""Servers come and go, on real etcd with TLS: migration, three members, loss, restore; nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING

import pytest

from fakes.etcd_machines import machines
from fakes.stores import seen
from skerry.fleet.cluster.build import migrate, part, remove_server, rescue, restore, set_aside
from skerry.fleet.cluster.care import Care
from skerry.fleet.cluster.errors import ClusterError
from skerry.fleet.cluster.etcd_admin import health, list_members
from skerry.fleet.cluster.etcd_server import EtcdServer
from skerry.fleet.cluster.membership import read_membership
from skerry.fleet.cluster.snapshot import next_snapshot, snapshots
from skerry.fleet.keys.change import Change, Kind
from skerry.fleet.keys.keyspace import Keyspace
from skerry.fleet.keys.nodes import NODES, settled
from skerry.fleet.store.errors import StoreFullError, UnavailableError
from skerry.fleet.store.etcd_foundation import read_foundation
from skerry.fleet.store.interface import Delete, DeletePrefix, Put
from skerry.fleet.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from fakes.etcd_machines import Machine
    from skerry.fleet.cluster.membership import Membership
    from skerry.fleet.keys.nodes import Event, Shown
    from skerry.fleet.store.interface import Entry, Store
    from skerry.kit.progress import Progress


def on_machines(
    directory: Path, count: int, story: Callable[[list[Machine]], Awaitable[None]], limit_s: float = 100
) -> None:
    async def whole(made: list[Machine]) -> None:
        async with asyncio.timeout(limit_s):
            await story(made)

    with machines(directory, count) as made:
        asyncio.run(whole(made))


async def filled(machine: Machine, *, changes: int = 30) -> SqliteStore:
    """The store of a single machine that has been in use."""
    store = await SqliteStore.open(machine.state / "store.db", clock=machine.clock)
    for n in range(changes):
        await store.transact((), [Put(f"/skerry/v1/units/{n % 7}", str(n).encode())])
    await store.transact((), [Delete("/skerry/v1/units/3"), Put("/skerry/v1/units/é", b"\xff\x00")])
    keys = Keyspace(store, machine.clock)
    await keys.change(Change(Kind.SET, "/old/file", "1"))
    await keys.change(Change(Kind.SET, "/old/file", "2"))
    await keys.change(Change(Kind.SET, "/leased", "3", ttl_s=500))
    return store


async def no_more_changes() -> None: ...


async def moved(machine: Machine, *, changes: int = 30) -> Membership:
    """A machine whose store was moved to etcd."""
    membership = machine.first()
    source = await filled(machine, changes=changes)
    moved = await migrate(machine.state, source, machine.server, membership, no_more_changes)
    await source.close()
    set_aside(machine.state)
    return moved


def without_revisions(entries: tuple[Entry, ...]) -> list[tuple[str, bytes, bool]]:
    """What must be the same; of the v2 key space that is its own indexes, too."""
    return [
        (entry.key, settled(entry) if entry.key.startswith(NODES + "/") else entry.value, entry.lease != 0)
        for entry in entries
    ]


async def nodes(store: Store, machine: Machine) -> list[tuple[str, str | None, int, int, bool]]:
    """The v2 key space as its clients see it, indexes and all."""

    def below(shown: Shown) -> list[tuple[str, str | None, int, int, bool]]:
        node = shown.node
        own = (node.path, node.value, node.created, node.modified, node.expires is not None)
        return [own, *(inner for child in shown.below for inner in below(child))]

    return below((await Keyspace(store, machine.clock).get("/", recursive=True)).shown)[1:]


async def v2_history(store: Store, machine: Machine, since: int, count: int) -> list[tuple[int, str]]:
    watch = await Keyspace(store, machine.clock).watch("/", recursive=True, since=since)
    events: list[Event] = []
    async with contextlib.aclosing(watch.events) as following:
        async for event in following:
            events.append(event)
            if len(events) == count:
                break
    return [(event.index, event.shown.node.path) for event in events]


@pytest.mark.parametrize("changes", [0, 30, 1500])
def test_a_migration_loses_nothing_and_watchers_go_on(tmp_path: Path, changes: int) -> None:
    async def story(made: list[Machine]) -> None:
        machine = made[0]
        source = await filled(machine, changes=changes)
        stood, seen_before = await source.list(""), await nodes(source, machine)
        asked = (stood.revision - 2, 3)
        told = await v2_history(source, machine, *asked)
        batches = await seen(source, "", stood.revision - 3, until=stood.revision)
        membership = await migrate(machine.state, source, machine.server, machine.first(), no_more_changes)
        await source.close()
        set_aside(machine.state)
        assert read_membership(machine.state) == membership
        async with machine.store(membership) as store:
            stands = await store.list("")
            assert without_revisions(stands.entries) == without_revisions(stood.entries)
            assert stands.revision >= stood.revision
            assert await nodes(store, machine) == seen_before
            assert await v2_history(store, machine, *asked) == told
            again = await seen(store, "", stood.revision - 3, until=stood.revision)
            assert [b.revision for b in again] == [b.revision for b in batches]
            (lease,) = {entry.lease for entry in stands.entries if entry.lease}
            assert 400 < await store.time_to_live_s(lease) <= 500

    on_machines(tmp_path, 1, story)
    assert not (tmp_path / "s0" / "store.db").exists()
    assert (tmp_path / "s0" / "store.db.migrated").exists()


def test_what_changes_during_a_migration_is_moved_too(tmp_path: Path) -> None:
    async def story(made: list[Machine]) -> None:
        machine = made[0]
        source = await filled(machine)

        async def last_changes() -> None:
            lease = await source.grant(600)
            await source.transact((), [Put("late", b"1", lease.id), Put("/skerry/v1/units/1", b"late")])
            await source.transact((), [Delete("/skerry/v1/units/2")])

        membership = await migrate(machine.state, source, machine.server, machine.first(), last_changes)
        stood = await source.list("")
        await source.close()
        async with machine.store(membership) as store:
            assert without_revisions((await store.list("")).entries) == without_revisions(stood.entries)

    on_machines(tmp_path, 1, story)


class PowerCutError(Exception):
    pass


@pytest.mark.parametrize("moment", ["start etcd", "copy the store", "frozen"])
def test_a_migration_that_was_cut_short_begins_anew(tmp_path: Path, moment: str) -> None:
    async def story(made: list[Machine]) -> None:
        machine = made[0]
        source = await filled(machine)

        def cut(progress: object) -> None:
            if getattr(progress, "step", "") == moment and getattr(progress, "phase", "") != "started":
                raise PowerCutError

        async def frozen() -> None:
            if moment == "frozen":
                raise PowerCutError

        with pytest.raises(PowerCutError):
            await migrate(machine.state, source, machine.server, machine.first(), frozen, report=cut)
        machine.unit.kill()
        known = read_membership(machine.state)
        assert known is not None
        assert known.store == ()  # the file is still the store, and goes on
        await source.transact((), [Put("since", b"1")])
        membership = await migrate(machine.state, source, machine.server, known, no_more_changes)
        stood = await source.list("")
        await source.close()
        async with machine.store(membership) as store:
            assert without_revisions((await store.list("")).entries) == without_revisions(stood.entries)

    on_machines(tmp_path, 1, story)


def test_one_server_becomes_three_and_one_may_be_lost(tmp_path: Path) -> None:
    async def story(made: list[Machine]) -> None:
        first, second, third = made
        memberships = [await moved(first), await second.join(first), await third.join(second)]
        assert await third.join(second) == memberships[2]  # again, after a failure
        async with third.store(memberships[2]) as store:
            await store.transact((), [Put("before", b"1")])
            look = await health(store.client, third.server.quota_bytes, third.server.tls)
            assert [m.healthy and not m.learner for m in look.members] == [True] * 3
            assert (sum(m.leader for m in look.members), look.quorum, look.alarms) == (1, True, ())
            first.unit.kill()
            await store.transact((), [Put("after", b"1")])
            look = await health(store.client, third.server.quota_bytes, third.server.tls)
            assert [m.name for m in look.members if not m.healthy] == [first.node]
            assert look.quorum
            # The lost one is removed, comes back as a new machine, and the store is the same.
            await remove_server(store.client, first.node)
            await first.server.end()
            membership = await first.join(second)
            await store.transact((), [Put("again", b"1")])
            stood = await store.list("")
        async with first.store(membership) as store:
            assert await store.list("") == stood

    on_machines(tmp_path, 3, story)


def test_a_server_leaves_and_the_last_may_not(tmp_path: Path) -> None:
    async def story(made: list[Machine]) -> None:
        first, second = made
        kept = await moved(first)
        membership = await second.join(first)
        assert await part(second.server, membership) == kept.store
        assert await part(second.server, membership) == kept.store
        await second.server.end()
        assert not second.server.is_set_up
        client = first.server.client()
        assert [member.name for member in await list_members(client)] == [first.node]
        client.close()
        with pytest.raises(ClusterError, match="this is the last server"):
            await part(first.server, kept)
        async with first.store(kept) as store:
            await store.transact((), [Put("a", b"")])

    on_machines(tmp_path, 2, story)


def test_a_snapshot_brings_back_what_stood(tmp_path: Path) -> None:
    async def story(made: list[Machine]) -> None:
        machine = made[0]
        membership = await moved(machine)
        kept = machine.state / "snapshots"
        async with machine.store(membership) as store:
            stood, seen_before = await store.list(""), await nodes(store, machine)
            taken = await next_snapshot(store, kept, "c1", machine.clock)
            assert taken is not None
            assert await next_snapshot(store, kept, "c1", machine.clock) is None
            await store.transact((), [Put("lost", b"")])
            newest = (await store.list("")).revision
        membership = await restore(machine.state, taken, machine.server, membership)
        async with machine.store(membership) as store:
            stands = await store.list("")
            assert without_revisions(stands.entries) == without_revisions(stood.entries)
            assert await nodes(store, machine) == seen_before
            assert stands.revision > newest
            for n in range(3):
                await store.transact((), [Put("n", str(n).encode())])
                await next_snapshot(store, kept, "c1", machine.clock, keep=2)
        assert len(snapshots(kept)) == 2

    on_machines(tmp_path, 1, story)


@pytest.mark.parametrize("moment", ["empty", "full"])
def test_a_restore_that_is_cut_short_leaves_the_store_as_it_was(tmp_path: Path, moment: str) -> None:
    async def story(made: list[Machine]) -> None:
        machine = made[0]
        membership = await moved(machine)
        async with machine.store(membership) as store:
            taken = await next_snapshot(store, machine.state / "snapshots", "c1", machine.clock)
            await store.transact((), [Put("after", b"1")])
            stood = await store.list("")
        assert taken is not None
        aside = machine.state / "etcd.before"

        def cut(progress: Progress) -> None:
            if progress.step == ("start etcd" if moment == "empty" else "copy the store"):
                assert aside.exists()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await restore(machine.state, taken, machine.server, membership, report=cut)
        async with machine.store(membership) as store:
            assert await store.list("") == stood

        # As a power cut leaves it: nobody was there to bring anything back.
        await machine.server.put_aside()
        machine.server.set_up(machine.server.config(machine.node, "other", machine.address))
        await machine.server.start()
        machine.unit.kill()
        assert await machine.server.bring_back()
        assert not await machine.server.bring_back()
        async with machine.store(membership) as store:
            assert await store.list("") == stood
        assert not aside.exists()

    on_machines(tmp_path, 1, story)


def test_what_one_of_three_holds_can_be_rescued(tmp_path: Path) -> None:
    async def story(made: list[Machine]) -> None:
        first, second, third = made
        membership = await moved(first)
        await second.join(first)
        await third.join(first)
        async with first.store(membership) as store:
            await store.transact((), [Put("n", b"1")])
            stood = await store.list("")
        second.unit.kill()
        third.unit.kill()
        client = first.server.client(patience_s=1)
        with pytest.raises(UnavailableError):
            await read_foundation(client)
        client.close()
        membership = await rescue(first.state, first.server, membership)
        async with first.store(membership) as store:
            assert without_revisions((await store.list("")).entries) == without_revisions(stood.entries)
            await store.transact((), [Put("goes on", b"")])

    on_machines(tmp_path, 3, story)


def test_a_full_store_says_so_and_takes_changes_again_when_room_is_made(tmp_path: Path) -> None:
    async def story(made: list[Machine]) -> None:
        machine = made[0]
        machine.server = EtcdServer(
            machine.state,
            machine.unit,
            machine.clock,
            ports=machine.server.ports,
            quota_bytes=4 * 1024 * 1024,
        )
        membership = await moved(machine)
        async with machine.store(membership) as store:
            care = Care(store, machine.server, machine.state, machine.node)

            numbers = itertools.count()

            async def fill() -> None:
                for n in itertools.islice(numbers, 100):
                    await store.transact((), [Put(f"big/{n}", bytes(200_000))])

            for _ in range(10):  # where it was full of history there is room again, but not for ever
                with pytest.raises(StoreFullError, match="it has reached its quota"):
                    await fill()
                look = await care.health()
                assert any("the store is full" in alarm for alarm in look.alarms)
                if await care.open_again() is None:
                    break
            with pytest.raises(StoreFullError):
                await store.transact((), [Put("small", b"")])
            assert await care.open_again() is None
            await store.transact((), [DeletePrefix("big/")])
            assert await care.open_again() is not None
            assert await care.open_again() is None
            await store.transact((), [Put("small", b"")])
            assert (await care.health()).alarms == ()

    on_machines(tmp_path, 1, story)


def test_a_server_knows_those_that_came_later(tmp_path: Path) -> None:
    async def story(made: list[Machine]) -> None:
        first, second = made
        membership = await moved(first)
        await second.join(first)
        async with first.store(membership) as store:
            care = Care(store, first.server, first.state, first.node)
            assert await care.follow_members() is not None
            assert await care.follow_members() is None
        known = read_membership(first.state)
        assert known is not None
        assert known.store == tuple(f"https://{m.address}:{m.ports[0]}" for m in made)

    on_machines(tmp_path, 2, story)
