"""What nodes are told as units, placements and nodes change; and how little a change touches."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.assign import SLEEPER, Listener, destroy, displace, label, listening, place, present, want
from fakes.clock import FakeClock, settle
from fakes.stories import stories
from skerry.fleet.assign.assignment import Beat, Change, Full
from skerry.fleet.assign.feed import BEAT_S, MOST_CHANGES, Feed
from skerry.fleet.assign.share import Share
from skerry.fleet.state.node import Facts, Liveness, NodeRecord, PresenceRecord, node_key, presence_key
from skerry.fleet.state.placement import PlacementRecord
from skerry.fleet.state.unit import DesiredState, unit_key
from skerry.fleet.store.interface import Put
from skerry.fleet.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterable

LAUNCHED, LOADED, INACTIVE = DesiredState.LAUNCHED, DesiredState.LOADED, DesiredState.INACTIVE


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock)
        self.feed = Feed(self.store, self.clock)


story = stories(lambda _: World())


def global_unit(*options: str) -> str:
    return SLEEPER + "[X-Fleet]\nGlobal=true\n" + "".join(f"{option}\n" for option in options)


@story
async def test_a_node_is_told_of_what_is_placed_on_it_and_of_nothing_else(world: World) -> None:
    await want(world.store, "old.service")
    await place(world.store, "old.service", "a")
    async with listening(world.feed, "a", "b") as (a, b):
        assert a.holds == {"old.service": LAUNCHED}
        await want(world.store, "web.service")
        await place(world.store, "web.service", "b")
        await settle()
        assert b.holds == {"web.service": LAUNCHED}
        assert len(a.told) == 1


@story
async def test_it_is_told_of_a_move_an_unload_and_an_end(world: World) -> None:
    await want(world.store, "web.service")
    await place(world.store, "web.service", "a")
    async with listening(world.feed, "a", "b") as (a, b):
        await displace(world.store, "web.service", "a")
        await place(world.store, "web.service", "b")
        await settle()
        assert (a.holds, b.holds) == ({}, {"web.service": LAUNCHED})
        await want(world.store, "web.service", desired=LOADED)
        await settle()
        assert b.holds == {"web.service": LOADED}
        await want(world.store, "web.service", desired=INACTIVE)
        await settle()
        assert b.holds == {}
        await want(world.store, "web.service")
        await destroy(world.store, "web.service")
        await settle()
        assert b.holds == {}


@story
async def test_a_placement_before_its_unit_waits_for_it(world: World) -> None:
    async with listening(world.feed, "a") as (a,):
        await place(world.store, "web.service", "a")
        await settle()
        assert a.holds == {}
        await want(world.store, "web.service")
        await settle()
        assert a.holds == {"web.service": LAUNCHED}


@story
async def test_a_global_unit_is_on_every_node_whose_labels_fit(world: World) -> None:
    await present(world.store, "a", {"disk": "ssd", "zone": "1"})
    await present(world.store, "b", {"disk": "hdd", "zone": "1"})
    async with listening(world.feed, "a", "b") as (a, b):
        await want(world.store, "all.service", global_unit())
        await want(
            world.store, "ssd.service", global_unit("MachineMetadata=disk=ssd", "MachineMetadata=zone=1")
        )
        await settle()
        assert set(a.holds) == {"all.service", "ssd.service"}
        assert set(b.holds) == {"all.service"}
        await label(world.store, "b", {"disk": "ssd"})
        await label(world.store, "a", {"zone": ""})
        await settle()
        assert set(a.holds) == {"all.service"}
        assert set(b.holds) == {"all.service", "ssd.service"}
        await destroy(world.store, "ssd.service")
        await want(world.store, "all.service", SLEEPER)  # not global any more, and nowhere placed
        await settle()
        assert (a.holds, b.holds) == ({}, {})


@story
async def test_of_global_units_that_conflict_the_first_by_name_runs(world: World) -> None:
    async with listening(world.feed, "a") as (a,):
        await want(world.store, "m.service", global_unit())
        await want(world.store, "z.service", global_unit("Conflicts=m.*"))
        await settle()
        assert set(a.holds) == {"m.service"}
        await want(world.store, "b.service", global_unit("Conflicts=m.*"))
        await settle()
        assert set(a.holds) == {"b.service", "z.service"}
        await destroy(world.store, "b.service")
        await settle()
        assert set(a.holds) == {"m.service"}


@story
async def test_a_global_unit_runs_where_room_is_left(world: World) -> None:
    facts = Facts(memory_bytes=2**30, cpus=2)
    record = PresenceRecord(facts, Liveness.READY, 0.0)
    await world.store.transact([], [Put(presence_key("a"), record.encode())])
    async with listening(world.feed, "a") as (a,):
        await want(world.store, "all.service", global_unit("[X-Skerry]", "Memory=600M"))
        await settle()
        assert set(a.holds) == {"all.service"}
        await want(world.store, "db.service", SLEEPER + "[X-Skerry]\nMemory=600M\n")
        await place(world.store, "db.service", "a")
        await settle()
        assert set(a.holds) == {"db.service"}
        await displace(world.store, "db.service", "a")
        await settle()
        assert set(a.holds) == {"all.service"}


@story
async def test_a_draining_node_gives_up_its_global_units(world: World) -> None:
    await want(world.store, "all.service", global_unit())
    async with listening(world.feed, "a") as (a,):
        await world.store.transact([], [Put(node_key("a"), NodeRecord(cordoned=True).encode())])
        await settle()
        assert set(a.holds) == {"all.service"}
        await world.store.transact([], [Put(node_key("a"), NodeRecord(draining=True).encode())])
        await settle()
        assert a.holds == {}


@story
async def test_a_node_that_is_taken_for_lost_and_listens_keeps_its_units(world: World) -> None:
    await want(world.store, "all.service", global_unit("MachineMetadata=disk=ssd"))
    await present(world.store, "a", {"disk": "ssd"})
    async with listening(world.feed, "a") as (a,):
        record = PresenceRecord(Facts(metadata={"disk": "ssd"}), Liveness.LOST, 0.0)
        await world.store.transact([], [Put(presence_key("a"), record.encode())])
        await settle()
        assert set(a.holds) == {"all.service"}


@story
async def test_a_unit_that_is_leaving_is_held_no_longer(world: World) -> None:
    await want(world.store, "db.service")
    await place(world.store, "db.service", "a")
    async with listening(world.feed, "a") as (a,):
        leaving = PlacementRecord("db.service", "a", leaving=True)
        await world.store.transact([], [Put(leaving.key, leaving.encode())])
        await settle()
        assert a.holds == {}


@story
async def test_companions_go_with_the_unit_that_names_them(world: World) -> None:
    await want(world.store, "data.volume", "[Volume]\nImage=base.image\n", LOADED)
    await want(world.store, "app.container", "[Container]\nImage=x\nVolume=data.volume:/d\n")
    await place(world.store, "data.volume", "b")
    await place(world.store, "base.image", "b")
    async with listening(world.feed, "a", "b") as (a, b):
        await place(world.store, "app.container", "a")
        await settle()
        assert a.holds == {"app.container": LAUNCHED, "data.volume": LOADED}
        await want(world.store, "base.image", "[Image]\nImage=y\n", LAUNCHED)
        await settle()
        assert a.holds["base.image"] is LOADED  # what needs it starts it; on its own node it is launched
        assert b.holds["base.image"] is LAUNCHED
        await want(world.store, "app.container", "[Container]\nImage=x\n")
        await settle()
        assert a.holds == {"app.container": LAUNCHED}
        assert set(b.holds) == {"data.volume", "base.image"}


@story
async def test_fencing_goes_with_the_assignment(world: World) -> None:
    await want(world.store, "db.service", SLEEPER + "[X-Skerry]\nFence=yes\n")
    await place(world.store, "db.service", "a")
    async with listening(world.feed, "a") as (a,):
        assert a.fenced == {"db.service"}
    async with listening(Feed(world.store, world.clock, fencing=False), "a") as (a,):
        assert a.fenced == set()


@story
async def test_a_record_that_cannot_be_read_is_said_to_everybody(world: World) -> None:
    await want(world.store, "web.service")
    await place(world.store, "web.service", "a")
    async with listening(world.feed, "a", "b") as (a, b):
        await world.store.transact([], [Put(unit_key("web.service"), b'{"version": 99}')])
        await settle()
        assert a.unreadable == b.unreadable == {"web.service"}
        await want(world.store, "web.service")
        await settle()
        assert (a.unreadable, b.unreadable) == (set(), set())
        assert (a.holds, b.holds) == ({"web.service": LAUNCHED}, {})


@story
async def test_a_slow_follower_is_told_how_things_stand_when_it_listens(world: World) -> None:
    async with listening(world.feed, "a") as (a,):
        a.paused.clear()
        await want(world.store, "a.service")
        await place(world.store, "a.service", "a")
        await settle()  # in its hands
        for number in range(10):
            await want(world.store, "b.service", f"[Service]\nExecStart=/bin/sleep {number + 1}\n")
            await place(world.store, "b.service", "a")
        await settle()
        a.paused.set()
        await settle()
        assert isinstance(a.told[-1], Change)
        assert "sleep 10" in a.told[-1].set[0].record.text
        assert len(a.told) == 3


@story
async def test_one_that_missed_very_much_is_told_everything_anew(world: World) -> None:
    async with listening(world.feed, "a") as (a,):
        a.paused.clear()
        for number in range(MOST_CHANGES + 2):
            await want(world.store, f"u{number}.service")
            await place(world.store, f"u{number}.service", "a")
            if number == 0:
                await settle()
        await settle()
        a.paused.set()
        await settle()
        assert isinstance(a.told[-1], Full)
        assert len(a.holds) == MOST_CHANGES + 2


@story
async def test_a_quiet_stream_beats_and_knows_how_far_it_is(world: World) -> None:
    async with listening(world.feed, "a") as (a,):
        await want(world.store, "elsewhere.service")
        await world.clock.advance(BEAT_S + 1)
        assert a.told[-1] == Beat(15.0, 1)
        await present(world.store, "a")
        await settle()
        assert a.told[-1] == Beat(15.0, 2)  # at once: a fenced unit may wait for it


@story
async def test_after_a_compaction_everything_is_listed_again(world: World) -> None:
    await want(world.store, "gone.service")
    await place(world.store, "gone.service", "a")
    store = world.store
    async with listening(world.feed, "a") as (a,):
        await destroy(store, "gone.service")
        await want(store, "new.service")
        await place(store, "new.service", "a")
        await store.compact((await store.list("")).revision)
        await settle()
        assert a.holds == {"new.service": LAUNCHED}


@story
async def test_a_change_touches_the_nodes_that_it_concerns_and_no_other(world: World) -> None:
    nodes = [f"n{number}" for number in range(50)]
    for number, node in enumerate(nodes):
        await present(world.store, node, {"rack": str(number // 5)})
    touched: list[str] = []

    class Counted(Share):
        def touch(self, names: Iterable[str]) -> set[str]:
            touched.append(self._node)
            return super().touch(names)

    async with listening(world.feed, *nodes):
        world.feed._shares = {
            node: Counted(world.feed._mirror, node, fencing=True) for node in world.feed._shares
        }
        touched.clear()
        await want(world.store, "web.service")
        await place(world.store, "web.service", "n7")
        await want(world.store, "web.service", desired=LOADED)
        await want(world.store, "rack.service", global_unit("MachineMetadata=rack=3"))
        await label(world.store, "n9", {"rack": "3"})
        await settle()
    assert set(touched) == {"n7", "n9", "n15", "n16", "n17", "n18", "n19"}


NAMES = [f"{c}.service" for c in "abcde"]
TEXTS = [
    SLEEPER,
    SLEEPER + "[X-Fleet]\nConflicts=[ab].service\n",
    global_unit(),
    global_unit("MachineMetadata=l=1"),
    global_unit("Conflicts=c.service"),
    SLEEPER + "[X-Skerry]\nFence=yes\n",
]
CHANGES = st.one_of(
    st.tuples(st.just("want"), st.sampled_from(NAMES), st.sampled_from(TEXTS), st.sampled_from(DesiredState)),
    st.tuples(st.just("destroy"), st.sampled_from(NAMES)),
    st.tuples(st.just("place"), st.sampled_from(NAMES), st.sampled_from("xy")),
    st.tuples(st.just("displace"), st.sampled_from(NAMES), st.sampled_from("xy")),
    st.tuples(st.just("label"), st.sampled_from("xy"), st.dictionaries(st.just("l"), st.sampled_from("12"))),
    st.tuples(st.just("quadlet"), st.sampled_from(["v.volume", "i.image", ""])),
    st.tuples(st.just("spoil"), st.sampled_from(NAMES)),
)


async def do(store: MemoryStore, change: tuple[object, ...]) -> None:
    match change:
        case ("want", str(name), str(text), DesiredState() as desired):
            await want(store, name, text, desired)
        case ("destroy", str(name)):
            await destroy(store, name)
        case ("place", str(name), str(node)):
            await place(store, name, node)
        case ("displace", str(name), str(node)):
            await displace(store, name, node)
        case ("label", str(node), dict(labels)):
            await label(store, node, labels)
        case ("spoil", str(name)):
            await store.transact([], [Put(unit_key(name), b"{}")])
        case ("quadlet", str(named)):
            await want(store, "i.image", "[Image]\nImage=x\n", LOADED)
            await want(
                store, "v.volume", f"[Volume]\n{'Image=i.image' if named == 'v.volume' else ''}\n", LOADED
            )
            await want(store, "q.container", f"[Container]\nVolume={named or 'none.volume'}:/x\n")
            await place(store, "q.container", "x")


@settings(max_examples=80, deadline=None)
@given(st.lists(CHANGES, max_size=25))
def test_following_from_the_start_and_asking_at_the_end_tell_the_same(
    changes: list[tuple[object, ...]],
) -> None:
    async def scenario() -> None:
        world = World()
        async with listening(world.feed, "x", "y") as early:
            for change in changes:
                await do(world.store, change)
            await settle()
            async with listening(Feed(world.store, world.clock), "x", "y") as late:
                for one, other in zip(early, late, strict=True):
                    assert _known(one) == _known(other)

    asyncio.run(scenario())


def _known(listener: Listener) -> tuple[object, ...]:
    fenced = listener.fenced & listener.holds.keys()
    return listener.holds, listener.unreadable, fenced


@story
async def test_nothing_is_kept_of_a_node_that_listens_no_longer(world: World) -> None:
    async with listening(world.feed, "a", "b"):
        assert world.feed.following == 2
    assert world.feed.following == 0
    assert world.feed._shares == {}


@story
async def test_the_streams_of_a_removed_node_end(world: World) -> None:
    async with listening(world.feed, "a", "b") as (a, b):
        world.feed.close("a")
        await settle()
        for node in "ab":
            await want(world.store, f"{node}.service")
            await place(world.store, f"{node}.service", node)
        await settle()
        assert (a.holds, b.holds) == ({}, {"b.service": LAUNCHED})
