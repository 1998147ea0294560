"""The agent as servers come and go: what it keeps, what it removes and when, and what it fences."""

from __future__ import annotations

import asyncio
import errno
import random
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fakes.clock import FakeClock, settle
from fakes.service_manager import FakeServices
from fakes.source import FakeSource, assignment
from fakes.stories import stories
from skerry.fleet.agent.agent import Agent
from skerry.fleet.agent.assigned import PATIENCE_S
from skerry.fleet.agent.fence import LEASE_FILE
from skerry.fleet.agent.fence_drop_in import DROP_IN, LEASE_S, LEASE_SERVICE
from skerry.fleet.agent.kept import Kept
from skerry.fleet.presence.heartbeat import HEARTBEAT_S, Contact
from skerry.fleet.state.node import Facts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from skerry.fleet.assign.assignment import Assignment

DB = "db.service"


async def at_once(work: Callable[[], None]) -> None:
    work()


class NoJitter(random.Random):
    """Shortens no pause, so that heartbeats come every HEARTBEAT_S, to the moment."""

    def random(self) -> float:
        return 0.0


class World:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = FakeClock()
        self.services = FakeServices(root)
        self.source = FakeSource()
        self.kept = Kept(root / "var/lib/skerry", at_once)
        (root / "var/lib/skerry").mkdir(parents=True)
        (root / "usr/lib/systemd/system").mkdir(parents=True)
        (root / "usr/lib/systemd/system" / LEASE_SERVICE).write_text("[Service]\nExecStart=/lease\n")

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[Agent]:
        agent = Agent(
            self.source,
            self.services,
            self.root,
            self.clock,
            "a",
            kept=self.kept,
            boot="1",
            facts=lambda: Facts(hostname="here"),
            uptime=lambda: 1000 + self.clock.monotonic(),
            chance=NoJitter(),
        )
        running = asyncio.ensure_future(agent.run())
        await self.rest()
        try:
            yield agent
            await self.rest()
        finally:
            running.cancel()
            (ended,) = await asyncio.gather(running, return_exceptions=True)
            assert isinstance(ended, asyncio.CancelledError), ended

    @asynccontextmanager
    async def holding(self, *assignments: Assignment) -> AsyncIterator[Agent]:
        """An agent that was told to hold these, and has done what it can."""
        async with self.agent() as agent:
            self.source.full(*assignments)
            await self.rest()
            yield agent

    async def rest(self) -> None:
        for _ in range(3):
            await settle()
            await self.clock.advance(0.2)

    def runs(self, name: str = DB) -> bool:
        return self.services.running_text(name) is not None

    def starts(self, name: str = DB) -> int:
        return self.services.starts.get(name, 0)

    def end_lease(self) -> None:
        """What systemd does on a machine as the lease ends."""
        for name in (LEASE_SERVICE, DB):
            if self.runs(name):
                self.services.end(name, "inactive", "dead")

    def reboot(self) -> None:
        shutil.rmtree(self.root / "run", ignore_errors=True)
        self.services.reboot()
        self.source = FakeSource()


story = stories(World)


@story
async def test_without_a_word_of_a_server_nothing_is_removed(world: World) -> None:
    async with world.agent():
        world.source.full(assignment("web.service"))
    world.source = FakeSource()
    async with world.agent():
        await world.clock.advance(1000)
        assert world.runs("web.service")
        world.source.full()
        await world.rest()
        assert not world.runs("web.service")


@story
async def test_after_a_reboot_without_servers_it_starts_what_it_had(world: World) -> None:
    async with world.holding(assignment("web.service"), assignment("old.service")):
        world.source.change(assignment("new.service"), gone=["old.service"])
    world.reboot()
    world.source.alive = False
    async with world.agent():
        assert world.services.starts == {"web.service": 1, "old.service": 1, "new.service": 1}
        await world.clock.advance(PATIENCE_S)
        await world.rest()
        assert world.services.starts == {"web.service": 2, "old.service": 1, "new.service": 2}


@story
async def test_after_a_reboot_with_servers_it_asks_them_first(world: World) -> None:
    async with world.agent():
        world.source.full(assignment("moved.service"))
    world.reboot()
    async with world.agent():
        await world.clock.advance(PATIENCE_S / 2)
        world.source.full(assignment("new.service"))
        await world.rest()
        await world.clock.advance(PATIENCE_S)
        assert world.services.starts == {"moved.service": 1, "new.service": 1}


@story
async def test_a_copy_of_another_machine_starts_nothing_from_memory(world: World) -> None:
    async with world.agent():
        world.source.full(assignment("web.service"))
    world.reboot()
    world.source.refused = "another machine has this id"
    async with world.agent():
        await world.clock.advance(10 * PATIENCE_S)
        assert world.starts("web.service") == 1


@story
async def test_what_is_no_longer_its_own_goes_before_anything_starts(world: World) -> None:
    async with world.agent():
        world.source.full(assignment("old.service"), assignment("stays.service"))
    world.source = FakeSource()
    world.services.calls.clear()
    world.services.hold = asyncio.Event()
    async with world.holding(assignment("stays.service"), assignment("a-new.service")):
        assert "stop old.service" in world.services.calls
        assert world.starts("a-new.service") == 0
        world.services.hold.set()
        await world.rest()
        assert world.starts("a-new.service") == 1
        assert world.starts("stays.service") == 1


@story
async def test_each_full_is_answered_with_all_reports(world: World) -> None:
    async with world.holding(assignment("web.service")):
        world.source.reports.clear()
        world.source.full(assignment("web.service"))
        await world.rest()
        assert set(world.source.reports) == {"web.service"}


@story
async def test_facts_are_told_once_and_when_asked_for(world: World) -> None:
    async with world.agent():
        await world.clock.advance(2 * HEARTBEAT_S)
        world.source.contact = Contact(15.0, tell=True)
        await world.clock.advance(HEARTBEAT_S)
        world.source.contact = Contact(15.0)
        await world.clock.advance(2 * HEARTBEAT_S)
    here = Facts(hostname="here")
    assert [beat.facts for beat in world.source.beats] == [here, None, None, None, here, None]


@story
async def test_a_fenced_unit_is_bound_to_the_lease(world: World) -> None:
    async with world.holding(assignment(DB, fence=True)):
        assert world.runs()
        drop_in = (world.root / "run/systemd/system" / f"{DB}.d" / DROP_IN).read_text()
        assert f"BindsTo={LEASE_SERVICE}\n" in drop_in
        end = int((world.root / LEASE_FILE).read_text()) / 100
        assert 0 < end - 1000 - world.clock.monotonic() <= LEASE_S


@story
async def test_a_machine_without_fenced_units_has_no_lease(world: World) -> None:
    async with world.agent():
        world.source.full(assignment("web.service"))
        await world.clock.advance(60)
        assert not (world.root / LEASE_FILE).exists()


@story
async def test_a_fenced_unit_stops_when_nobody_answers_and_the_others_go_on(world: World) -> None:
    async with world.holding(assignment(DB, fence=True), assignment("web.service")):
        world.source.alive = False
        await world.clock.advance(LEASE_S + 0.1)
        await settle()
        assert not world.runs()
        assert world.runs("web.service")


@story
async def test_it_runs_again_only_by_an_answer_and_a_new_word(world: World) -> None:
    async with world.holding(assignment(DB, fence=True)):
        world.source.alive = False
        await world.clock.advance(LEASE_S + 1)
        world.end_lease()
        world.source.alive = True
        await world.clock.advance(20)
        assert not world.runs()  # its assignments may be of yesterday
        world.source.full(assignment(DB, fence=True))
        await world.rest()
        assert world.starts() == 2


@story
async def test_the_new_word_is_asked_for_where_the_stream_went_on(world: World) -> None:
    async with world.holding(assignment(DB, fence=True)):
        world.source.alive = False
        await world.clock.advance(LEASE_S + 1)
        world.end_lease()
        await world.rest()
        assert world.source.streams == 2


@story
async def test_a_lapse_with_nothing_fenced_asks_for_nothing_and_keeps_nothing_back(world: World) -> None:
    async with world.agent():
        world.source.full(assignment("web.service"))
        world.source.alive = False
        await world.clock.advance(LEASE_S + 1)
        world.source.alive = True
        await world.clock.advance(6)
        assert world.source.streams == 1
        world.source.change(assignment(DB, fence=True))
        await world.rest()
        assert world.starts() == 1


@story
async def test_it_waits_for_news_as_new_as_its_return(world: World) -> None:
    async with world.agent():
        world.source.contact = Contact(15.0, revision=7)
        await world.clock.advance(6)
        world.source.full(assignment(DB, fence=True))
        await world.rest()
        assert world.starts() == 0
        world.source.revision = 7
        world.source.beat()
        await world.rest()
        assert world.starts() == 1


@story
async def test_it_waits_for_its_claim_to_be_taken(world: World) -> None:
    async with world.agent():
        world.source.taking = False
        world.source.full(assignment(DB, fence=True))
        await world.rest()
        assert world.starts() == 0
        world.source.taking = True
        world.source.change(assignment(DB, fence=True))
        await world.rest()
        assert world.starts() == 1


@story
async def test_a_restart_of_the_program_within_the_lease_restarts_nothing(world: World) -> None:
    async with world.agent():
        world.source.full(assignment(DB, fence=True))
    world.source.alive = False
    async with world.agent():
        await world.rest()
        assert world.runs()
        assert world.starts() == 1
        world.source.alive = True
        world.source.full(assignment(DB, fence=True))
        await world.clock.advance(60)
        assert world.starts() == 1


@story
async def test_a_program_that_was_stopped_meanwhile_starts_it_anew(world: World) -> None:
    """SIGSTOP, or a restart that took long: systemd has ended the unit, the marker says that it runs."""
    async with world.agent():
        world.source.full(assignment(DB, fence=True))
    world.end_lease()
    world.clock._passed += 60
    world.source = FakeSource()
    async with world.agent():
        await world.clock.advance(5)
        assert not world.runs()
        world.source.full(assignment(DB, fence=True))
        await world.rest()
        assert world.starts() == 2


@story
async def test_after_a_reboot_without_servers_it_stays_down(world: World) -> None:
    async with world.agent():
        world.source.full(assignment(DB, fence=True), assignment("web.service"))
    world.reboot()
    world.source.alive = False
    async with world.agent():
        await world.clock.advance(10 * PATIENCE_S)
        assert (world.starts(), world.starts("web.service")) == (1, 2)


@story
async def test_where_somebody_ends_the_lease_service_it_is_started_again(world: World) -> None:
    async with world.holding(assignment(DB, fence=True)):
        await world.clock.advance(30)
        world.end_lease()
        await world.rest()
        assert world.starts() == 2


@story
async def test_a_unit_that_is_fenced_later_is_not_restarted_for_it(world: World) -> None:
    path = world.root / "run/systemd/system" / f"{DB}.d" / DROP_IN
    async with world.holding(assignment(DB)):
        world.source.change(assignment(DB, fence=True))
        await world.rest()
        assert path.exists()
        assert world.runs(LEASE_SERVICE)
        world.source.change(assignment(DB))
        await world.rest()
        assert not path.exists()
        assert world.starts() == 1


@story
async def test_goodbye_comes_after_what_is_fenced_has_stopped(world: World) -> None:
    async with world.holding(assignment(DB, fence=True), assignment("web.service")) as agent:
        world.services.hold = asyncio.Event()
        leaving = asyncio.ensure_future(agent.leave())
        await world.rest()
        assert not world.source.left
        world.services.hold.set()
        await leaving
        assert (world.source.left, world.runs(), world.runs("web.service")) == (True, False, True)


@story
async def test_a_memory_that_cannot_be_read_is_none(world: World) -> None:
    path = world.root / "var/lib/skerry/assignments.json"
    for content in (b"", b"{", b'{"version":9,"full":{}}', b'{"version":1,"full":{"type":"x"}}'):
        path.write_bytes(content)
        assert world.kept.read() is None


@story
async def test_what_a_full_disk_refused_is_kept_as_soon_as_there_is_room(world: World) -> None:
    room = False

    async def full_disk(work: Callable[[], None]) -> None:
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        work()

    world.kept = Kept(world.root / "var/lib/skerry", full_disk)
    async with world.holding(assignment(DB)):
        assert world.runs()
        assert world.kept.read() is None
        room = True
        world.source.beat()
        await world.rest()
        kept = world.kept.read()
        assert kept is not None
        assert [a.record.name for a in kept.assignments] == [DB]
