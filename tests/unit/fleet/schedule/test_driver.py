"""The leader's loop against real stores: what is written, what is compared, and what it survives."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from fakes.clock import FakeClock, settle
from fakes.scheduling import LONGEST_S, A, B, Cluster, led
from fakes.stores import LOCAL, opened
from fakes.stores import Driver as StoreKind
from skerry.fleet.presence.leader import LEADER_KEY
from skerry.fleet.schedule.driver import FENCE_S, RETRY_S
from skerry.fleet.schedule.reading import read_world
from skerry.fleet.state.node import Liveness, NodeRecord, node_key, presence_key
from skerry.fleet.state.placement import PlacementRecord, placement_key
from skerry.fleet.state.unit import DesiredState, UnitRecord, report_key, unit_key
from skerry.fleet.store.errors import CompactedError, StoreError
from skerry.fleet.store.interface import Delete, Put

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


def story(tmp_path: Path, kind: StoreKind, told: Callable[[Cluster], Awaitable[None]]) -> None:
    async def whole() -> None:
        clock = FakeClock()
        async with opened(kind, tmp_path, clock) as store:
            cluster = Cluster(store, clock)
            async with led(cluster):
                await told(cluster)

    asyncio.run(whole())


FENCED = "[Service]\nExecStart=/bin/true\n[X-Skerry]\nFence=yes\n"

every_store = pytest.mark.parametrize("kind", LOCAL)


@every_store
def test_units_get_their_machines_and_lose_them(kind: StoreKind, tmp_path: Path) -> None:
    async def told(cluster: Cluster) -> None:
        await cluster.node(A, B)
        await cluster.put("1.service", "2.service")
        await cluster.put("3.service", loaded=False)
        await cluster.until({"1": "a", "2": "b"})
        await cluster.put("1.service", loaded=False)
        await cluster.store.transact((), [Delete(unit_key("2.service"))])
        await cluster.until({})

    story(tmp_path, kind, told)


@every_store
def test_what_was_there_before_it_led_is_taken_in(kind: StoreKind, tmp_path: Path) -> None:
    async def whole() -> None:
        clock = FakeClock()
        async with opened(kind, tmp_path, clock) as store:
            before = Cluster(store, clock)
            await before.node(A, B)
            await before.put("1.service", "2.service")
            placed, stray = PlacementRecord("1.service", B), PlacementRecord("gone.service", A)
            await store.transact((), [Put(p.key, p.encode()) for p in (placed, stray)])
            async with led(before):
                await before.until({"1": "b", "2": "a"})

    asyncio.run(whole())


@every_store
def test_many_units_are_placed_in_many_transactions(kind: StoreKind, tmp_path: Path) -> None:
    async def told(cluster: Cluster) -> None:
        await cluster.node(A, B)
        names = [f"{number:03}" for number in range(300)]
        await cluster.put(*(f"{name}.service" for name in names))
        await cluster.until({name: "ab"[int(name) % 2] for name in names})

    story(tmp_path, kind, told)


@every_store
def test_a_lost_machines_units_move(kind: StoreKind, tmp_path: Path) -> None:
    async def told(cluster: Cluster) -> None:
        await cluster.node(A, B)
        await cluster.put("1.service", "2.service")
        await cluster.until({"1": "a", "2": "b"})
        await cluster.node(A, liveness=Liveness.LOST)
        await cluster.until({"1": "b", "2": "b"})

    story(tmp_path, kind, told)


def test_a_machine_that_is_back_before_its_units_moved_keeps_them(tmp_path: Path) -> None:
    async def told(cluster: Cluster) -> None:
        moving = asyncio.Event()

        async def comes_back() -> None:
            await cluster.node(A)
            moving.set()

        await cluster.node(A)
        await cluster.put("1.service", text=FENCED)
        await cluster.until({"1": "a"})
        cluster.trouble.before.append(comes_back)
        await cluster.node(B)
        await cluster.node(A, liveness=Liveness.LOST)
        await asyncio.wait_for(moving.wait(), LONGEST_S)
        await settle()
        await cluster.clock.advance(RETRY_S)
        await cluster.put("2.service")
        await cluster.until({"1": "a", "2": "b"})

    story(tmp_path, StoreKind.MEMORY, told)


@every_store
def test_a_placement_says_why_and_since_when(kind: StoreKind, tmp_path: Path) -> None:
    async def told(cluster: Cluster) -> None:
        await cluster.node(A)
        await cluster.put("1.service")
        await cluster.until({"1": "a"})
        entry = await cluster.store.get(placement_key(A, "1.service"))
        assert entry is not None
        record = PlacementRecord.decode(entry.value)
        assert record.why.startswith("least loaded")
        assert record.since == cluster.clock.now()

    story(tmp_path, kind, told)


@every_store
def test_a_fenced_unit_waits_for_its_machine_to_say_that_it_stopped(kind: StoreKind, tmp_path: Path) -> None:
    async def told(cluster: Cluster) -> None:
        await cluster.node(A, B)
        await cluster.put("1.service", text=FENCED)
        await cluster.until({"1": "a"})
        await cluster.store.transact((), [Put(report_key(A, "1.service"), b"{}")])
        await cluster.store.transact((), [Put(node_key(A), NodeRecord(draining=True).encode())])
        await cluster.until({"1": "a!"})
        await cluster.store.transact((), [Delete(report_key(A, "1.service"))])
        await cluster.until({"1": "b"})

    story(tmp_path, kind, told)


def test_a_fenced_unit_of_a_removed_machine_waits_for_two_ttls(tmp_path: Path) -> None:
    async def told(cluster: Cluster) -> None:
        await cluster.node(A, B)
        await cluster.put("1.service", text=FENCED)
        await cluster.until({"1": "a"})
        await cluster.store.transact((), [Put(report_key(A, "1.service"), b"{}")])
        await cluster.store.transact((), [Delete(presence_key(A))])
        await cluster.until({"1": "a!"})
        await cluster.clock.advance(FENCE_S - 1)
        assert await cluster.placements() == {"1": "a!"}
        await cluster.clock.advance(1)
        await cluster.until({"1": "b"})

    story(tmp_path, StoreKind.MEMORY, told)


def test_a_leaving_unit_is_waited_for_by_the_next_leader_too(tmp_path: Path) -> None:
    async def whole() -> None:
        clock = FakeClock()
        async with opened(StoreKind.MEMORY, tmp_path, clock) as store:
            before = Cluster(store, clock)
            await before.node(A, B)
            await before.put("1.service", text=FENCED)
            leaving, report = PlacementRecord("1.service", B, leaving=True), report_key(B, "1.service")
            await store.transact((), [Put(leaving.key, leaving.encode()), Put(report, b"{}")])
            async with led(before):
                await before.put("2.service")
                await before.until({"1": "b!", "2": "a"})
                await store.transact((), [Delete(report)])
                await before.until({"1": "b", "2": "a"})

    asyncio.run(whole())


@pytest.mark.parametrize("error", [StoreError("the disk is full"), CompactedError(1, 2)])
def test_a_store_that_fails_is_asked_again(error: StoreError, tmp_path: Path) -> None:
    async def told(cluster: Cluster) -> None:
        await cluster.node(A)
        await cluster.clock.advance(RETRY_S)
        cluster.trouble.refuse.append(error)
        await cluster.put("1.service")
        await cluster.clock.advance(RETRY_S)
        await cluster.until({"1": "a"})

    story(tmp_path, StoreKind.MEMORY, told)


def test_history_that_is_gone_is_listed_anew(tmp_path: Path) -> None:
    async def told(cluster: Cluster) -> None:
        cluster.trouble.compact_watches = 2
        await cluster.node(A)
        await cluster.put("1.service")
        for _ in range(4):
            await cluster.clock.advance(RETRY_S)
        await cluster.until({"1": "a"})

    story(tmp_path, StoreKind.MEMORY, told)


@every_store
def test_a_unit_that_changes_meanwhile_is_decided_anew_and_alone(kind: StoreKind, tmp_path: Path) -> None:
    async def told(cluster: Cluster) -> None:
        async def unload() -> None:
            await cluster.put("1.service", loaded=False)

        await cluster.node(A, B)
        cluster.trouble.before.append(unload)
        await cluster.put("1.service", "2.service", "3.service")
        await cluster.until({"2": "b", "3": "a"})

    story(tmp_path, kind, told)


@every_store
def test_a_unit_that_goes_meanwhile_is_not_placed(kind: StoreKind, tmp_path: Path) -> None:
    async def told(cluster: Cluster) -> None:
        async def destroy() -> None:
            await cluster.store.transact((), [Delete(unit_key("1.service"))])

        await cluster.node(A, B)
        cluster.trouble.before.append(destroy)
        await cluster.put("1.service", "2.service")
        await cluster.until({"2": "b"})
        await cluster.put("1.service")
        await cluster.until({"1": "a", "2": "b"})

    story(tmp_path, kind, told)


def test_who_leads_no_longer_changes_nothing(tmp_path: Path) -> None:
    async def told(cluster: Cluster) -> None:
        async def depose() -> None:
            await cluster.store.transact((), [Delete(LEADER_KEY)])
            await cluster.store.transact((), [Put(LEADER_KEY, b"another")])

        await cluster.node(A)
        cluster.trouble.before.append(depose)
        await cluster.put("1.service")
        for _ in range(3):
            await cluster.clock.advance(RETRY_S)
        assert await cluster.placements() == {}

    story(tmp_path, StoreKind.MEMORY, told)


def test_a_record_of_a_newer_version_is_left_alone_until_it_can_be_read(tmp_path: Path) -> None:
    async def told(cluster: Cluster) -> None:
        newer = UnitRecord("1.service", "[Service]\n", "hash", DesiredState.LOADED).encode()
        placed = PlacementRecord("1.service", B)
        await cluster.store.transact(
            (),
            [
                Put(unit_key("1.service"), newer.replace(b'"version":1', b'"version":99')),
                Put(placed.key, placed.encode()),
            ],
        )
        await cluster.node(A)
        await cluster.put("2.service")
        await cluster.clock.advance(RETRY_S)
        await cluster.until({"1": "b", "2": "a"})
        await cluster.put("1.service")
        await cluster.clock.advance(RETRY_S)
        await cluster.until({"1": "a", "2": "a"})

    story(tmp_path, StoreKind.MEMORY, told)


def test_what_is_written_is_where_the_world_stands(tmp_path: Path) -> None:
    async def told(cluster: Cluster) -> None:
        await cluster.node(A, B)
        await cluster.put(*(f"{number}.service" for number in range(9)))
        await cluster.until({str(number): "ab"[number % 2] for number in range(9)})
        assert (await read_world(cluster.store)).decide() == ()

    story(tmp_path, StoreKind.MEMORY, told)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_the_store_ends_as_the_rules_have_it(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)  # noqa: S311  draws examples, keeps no secret
    nodes, names = [letter * 32 for letter in "abcd"], [f"w@{number}.service" for number in range(12)]
    texts = (
        "",
        "[X-Skerry]\nMemory=400M\n",
        "[X-Fleet]\nConflicts=w@*\n",
        "[X-Fleet]\nMachineOf=w@1.service\n",
    )

    async def told(cluster: Cluster) -> None:
        await cluster.node(*nodes)
        for _ in range(60):
            match chance.randrange(6):
                case 0:
                    await cluster.store.transact((), [Delete(unit_key(chance.choice(names)))])
                case 1:
                    liveness = chance.choice((Liveness.READY, Liveness.READY, Liveness.LOST, Liveness.LEFT))
                    await cluster.node(chance.choice(nodes), liveness=liveness)
                case 2:
                    cluster.trouble.refuse.append(StoreError("the disk is full"))
                case 3:
                    cluster.trouble.compact_watches = 1
                    await cluster.clock.advance(RETRY_S)
                case _:
                    text = "[Service]\n" + chance.choice(texts)
                    cluster.trouble.before.append(lambda: cluster.put(chance.choice(names)))
                    await cluster.put(chance.choice(names), text=text, loaded=chance.random() < 0.8)
            if chance.random() < 0.3:
                await settle()
        cluster.trouble.refuse.clear()
        for _ in range(5):
            await cluster.clock.advance(RETRY_S)
        assert cluster.driver.scheduler is not None
        assert (await read_world(cluster.store)).decide() == ()

    story(tmp_path, StoreKind.MEMORY, told)
