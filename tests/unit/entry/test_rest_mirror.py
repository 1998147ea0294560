"""The mirror says what the store says, whatever was written in whatever order, and costs what changes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.asgi import Api
from fakes.clock import FakeClock
from skerry.entry.rest.mirror import Contents, Mirror
from skerry.entry.rest.verbs import make_record
from skerry.entry.rest.views import Offer
from skerry.fleet.state.node import Facts, Liveness, NodeRecord, PresenceRecord, node_key, presence_key
from skerry.fleet.state.placement import PlacementRecord, placement_key
from skerry.fleet.state.unit import DesiredState, UnitReport, report_key, unit_key
from skerry.fleet.store.interface import Delete, DeletePrefix, Operation, Put
from skerry.fleet.store.memory import MemoryStore

if TYPE_CHECKING:
    import random

GLOBAL = "[Unit]\nDescription=Everywhere\n[Service]\nExecStart=/bin/true\n[X-Fleet]\nGlobal=true\n"
UNITS = ("a.service", "b.service", "g.service")
NODES = ("1" * 32, "2" * 32)


async def mirrored(store: MemoryStore) -> Contents:
    """What a mirror that begins now has."""
    mirror = Mirror(store, FakeClock())
    task = asyncio.create_task(mirror.run())
    try:
        return await mirror.fresh()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def written(choice: tuple[str, str, str, bool]) -> Operation:
    kind, unit, node, gone = choice
    record = make_record(unit, Offer(unit, GLOBAL if unit[0] == "g" else "[Service]\nExecStart=/bin/true\n"))
    report = UnitReport(unit, node, "h", DesiredState.LOADED, unit, "loaded", "active", "running")
    key, value = {
        "unit": (unit_key(unit), record.encode()),
        "newer": (unit_key(unit), b'{"version": 99}'),
        "report": (report_key(node, unit), report.encode()),
        "place": (placement_key(node, unit), PlacementRecord(unit, node).encode()),
        "node": (node_key(node), NodeRecord(cordoned=True).encode()),
        "presence": (presence_key(node), PresenceRecord(Facts(), Liveness.READY, 1.0).encode()),
    }[kind]
    return Delete(key) if gone else Put(key, value)


changes = st.tuples(
    st.sampled_from(["unit", "newer", "report", "place", "node", "presence"]),
    st.sampled_from(UNITS),
    st.sampled_from(NODES),
    st.booleans(),
)


@settings(deadline=None)
@given(st.lists(changes, max_size=12), st.randoms(use_true_random=False))
def test_what_was_followed_is_what_is_listed(
    made: list[tuple[str, str, str, bool]], chance: random.Random
) -> None:
    async def go() -> tuple[Contents, Contents]:
        store = MemoryStore(clock=FakeClock())
        mirror = Mirror(store, FakeClock())
        task = None
        for number, choice in enumerate(made):
            if task is None and (chance.random() < 0.3 or number == len(made) - 1):
                task = asyncio.create_task(mirror.run())
                await mirror.fresh()
            operations = [written(choice)]
            if choice[0] == "place" and not choice[3]:
                other = next(node for node in NODES if node != choice[2])
                operations.append(Delete(placement_key(other, choice[1])))
            await store.transact([], operations)
        task = task or asyncio.create_task(mirror.run())
        followed = await mirror.fresh()
        listed = await mirrored(store)
        task.cancel()
        return followed, listed

    followed, listed = asyncio.run(go())
    assert followed == listed
    assert followed.names == sorted({*followed.units, *followed.unreadable})


def test_history_that_is_forgotten_is_listed_again() -> None:
    async def go() -> list[str]:
        store = MemoryStore(clock=FakeClock(), keep=2)
        mirror = Mirror(store, FakeClock())
        task = asyncio.create_task(mirror.run())
        await store.transact([], [written(("unit", "a.service", "", False))])
        await mirror.fresh()
        operations = [written(("unit", name, "", False)) for name in UNITS]
        for operation in [*operations, Delete(unit_key("a.service"))]:
            await store.transact([], [operation])
        await store.compact(4)
        names = list((await mirror.fresh()).names)
        task.cancel()
        return names

    assert asyncio.run(go()) == ["b.service", "g.service"]


def test_a_revision_that_changed_nothing_of_ours_is_reached_too() -> None:
    async def go() -> tuple[int, list[str]]:
        store = MemoryStore(clock=FakeClock())
        mirror = Mirror(store, FakeClock())
        mirror.patience_s = 0.001
        task = asyncio.create_task(mirror.run())
        await store.transact([], [written(("unit", "a.service", "", False))])
        await mirror.fresh()
        await store.transact([], [Put("elsewhere", b"x")])
        await mirror.fresh()
        hidden = mirror.revision
        await store.transact([], [written(("unit", "b.service", "", False))])
        names = list((await mirror.fresh()).names)
        task.cancel()
        return hidden, names

    assert asyncio.run(go()) == (2, ["a.service", "b.service"])


def test_a_move_leaves_one_placement() -> None:
    async def go() -> Contents:
        api = Api()
        api.follow()
        await api.desired.fresh()
        await api.place("a.service", NODES[0])
        await api.place("a.service", NODES[1])
        return (await api.desired.fresh()).now

    now = asyncio.run(go())
    assert (now.placements, now.placed) == ({"a.service": NODES[1]}, {NODES[1]: {"a.service"}})


def test_only_who_is_interested_is_woken() -> None:
    async def go() -> tuple[bool, bool]:
        api = Api()
        api.follow()
        mirror = api.desired.mirror
        await mirror.fresh()
        with mirror.interest(["a.service"]) as a, mirror.interest(["b.service"]) as b:
            await api.place("a.service", NODES[0])
            await mirror.fresh()
            return a.is_set(), b.is_set()

    assert asyncio.run(go()) == (True, False)


def test_a_prefix_that_is_removed_is_gone() -> None:
    async def go() -> Contents:
        api = Api()
        api.follow()
        for name in UNITS:
            await api.report(name, DesiredState.LOADED, node=NODES[0])
        await api.desired.fresh()
        await api.store.transact([], [DeletePrefix(report_key(NODES[0], ""))])
        return (await api.desired.fresh()).now

    now = asyncio.run(go())
    assert (now.reports, now.reported) == ({}, {})
