"""The agent over a feed, a store and a systemd in memory: the life of a unit, failures, kills, reboots."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from fakes.clock import FakeClock, settle
from fakes.service_manager import FakeServices, refusing
from fakes.stories import stories
from skerry.fleet.agent.agent import EVERY_S, Agent
from skerry.fleet.agent.local import LocalSource
from skerry.fleet.assign.feed import Feed
from skerry.fleet.assign.reports import Reports
from skerry.fleet.state.placement import PlacementRecord, placement_key
from skerry.fleet.state.unit import DesiredState, UnitRecord, UnitReport, report_key, unit_key
from skerry.fleet.store.interface import Delete, Put
from skerry.fleet.store.memory import MemoryStore
from skerry.host.units.unit_file import parse_unit, unit_hash

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SLEEPER = "[Service]\nExecStart=/bin/sleep 100\n"
NODE = "node1"
LAUNCHED, LOADED, INACTIVE = DesiredState.LAUNCHED, DesiredState.LOADED, DesiredState.INACTIVE


@dataclass
class World:
    root: Path
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.services = FakeServices(self.root)
        self.store = MemoryStore(clock=self.clock)

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[None]:
        """A running agent; leaving the block ends it as a kill would."""
        feed = Feed(self.store, self.clock)
        source = LocalSource(feed, Reports(self.store), NODE, self.clock)
        agent = Agent(source, self.services, self.root, self.clock, NODE, uptime=self.clock.monotonic)
        running = [asyncio.ensure_future(feed.run()), asyncio.ensure_future(agent.run())]
        await self.rest()
        try:
            yield
            await self.rest()
        finally:
            for task in running:
                task.cancel()
            ended = await asyncio.gather(*running, return_exceptions=True)
            assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended

    async def rest(self) -> None:
        """Until nothing happens any more, reports included."""
        for _ in range(3):
            await settle()
            await self.clock.advance(0.2)

    async def want(self, name: str, desired: DesiredState, text: str = SLEEPER) -> None:
        entry = await self.store.get(unit_key(name))
        if entry is None:
            before = UnitRecord(name, text, unit_hash(parse_unit(text)))
        else:
            before = UnitRecord.decode(entry.value)
            if before.text != text:
                before = UnitRecord(
                    name, text, unit_hash(parse_unit(text)), before.desired, launch=before.launch
                )
        placement = PlacementRecord(name, NODE)
        record = before.wanting(desired)
        await self.store.transact(
            (), [Put(unit_key(name), record.encode()), Put(placement.key, placement.encode())]
        )
        await self.rest()

    async def destroy(self, name: str) -> None:
        await self.store.transact((), [Delete(unit_key(name))])
        await self.rest()

    async def report(self, name: str) -> UnitReport | None:
        entry = await self.store.get(report_key(NODE, name))
        return None if entry is None else UnitReport.decode(entry.value)

    def placed(self, name: str) -> bool:
        return (self.root / "run/systemd/system" / name).exists()


story = stories(World)


@story
async def test_a_launched_unit_runs_and_is_reported(world: World) -> None:
    async with world.agent():
        await world.want("web.service", LAUNCHED)
        assert world.services.starts == {"web.service": 1}
        report = await world.report("web.service")
    assert report is not None
    assert (report.current, report.load, report.active, report.sub) == (
        LAUNCHED,
        "loaded",
        "active",
        "running",
    )
    assert report.hash == unit_hash(parse_unit(SLEEPER))


@story
async def test_a_plain_unit_starts_without_a_reload(world: World) -> None:
    async with world.agent():
        await world.want("web.service", LAUNCHED)
        assert world.services.calls == ["start web.service"]


@story
async def test_loaded_is_placed_and_not_started(world: World) -> None:
    async with world.agent():
        await world.want("web.service", LOADED)
        assert world.placed("web.service")
        assert world.services.starts == {}
        report = await world.report("web.service")
    assert report is not None
    assert (report.current, report.load, report.active) == (LOADED, "loaded", "inactive")


@story
async def test_submitted_units_and_templates_leave_no_trace(world: World) -> None:
    async with world.agent():
        await world.want("web.service", INACTIVE)
        await world.want("web@.service", LAUNCHED)
        assert not world.placed("web.service")
        assert not world.placed("web@.service")
        assert await world.report("web.service") is None


@story
async def test_stop_goes_back_to_loaded(world: World) -> None:
    async with world.agent():
        await world.want("web.service", LAUNCHED)
        await world.want("web.service", LOADED)
        report = await world.report("web.service")
        assert world.placed("web.service")
    assert report is not None
    assert (report.current, report.active) == (LOADED, "inactive")


@story
async def test_unload_stops_disables_and_deletes(world: World) -> None:
    async with world.agent():
        await world.want("web.service", LAUNCHED, SLEEPER + "[Install]\nWantedBy=multi-user.target\n")
        assert world.services.enabled == {"web.service"}
        world.services.calls.clear()
        await world.want("web.service", INACTIVE, SLEEPER + "[Install]\nWantedBy=multi-user.target\n")
        assert world.services.calls[:4] == [
            "stop web.service",
            "disable web.service",
            "reset-failed web.service",
            "reload",
        ]
        assert not world.placed("web.service")
        assert await world.report("web.service") is None


@story
async def test_nothing_is_taken_away_when_the_stop_fails(world: World) -> None:
    async with world.agent():
        await world.want("web.service", LAUNCHED)
        world.services.refuse = refusing("stop web.service", "it will not stop")
        await world.destroy("web.service")
        assert world.placed("web.service")
        report = await world.report("web.service")
        assert report is not None
        assert report.problem == "it will not stop"
        world.services.refuse = lambda _call: None
        await world.clock.advance(EVERY_S)
        await world.rest()
        assert not world.placed("web.service")
        assert await world.report("web.service") is None


@story
async def test_destroy_removes(world: World) -> None:
    async with world.agent():
        await world.want("web.service", LAUNCHED)
        await world.destroy("web.service")
        assert not world.placed("web.service")
        assert world.services.running_text("web.service") is None


@story
async def test_another_text_is_unloaded_loaded_and_started_again(world: World) -> None:
    async with world.agent():
        await world.want("web.service", LAUNCHED)
        await world.want("web.service", LAUNCHED, "[Service]\nExecStart=/bin/sleep 200\n")
        assert world.services.running_text("web.service") == "[Service]\nExecStart=/bin/sleep 200\n"
        assert world.services.starts == {"web.service": 2}


@story
async def test_another_comment_changes_nothing(world: World) -> None:
    async with world.agent():
        await world.want("web.service", LAUNCHED)
        await world.want("web.service", LAUNCHED, "# new\n" + SLEEPER)
        assert world.services.starts == {"web.service": 1}


@story
async def test_a_unit_that_fails_is_reported_and_not_started_again(world: World) -> None:
    async with world.agent():
        await world.want("bad.service", LAUNCHED, "[Service]\nExecStart=/bin/false\n")
        report = await world.report("bad.service")
        assert report is not None
        assert (report.current, report.active, report.result) == (LAUNCHED, "failed", "exit-code")
        await world.clock.advance(10 * EVERY_S)
        await world.want("other.service", LAUNCHED)
        assert world.services.starts["bad.service"] == 1


@story
async def test_a_failed_unit_is_started_again_when_asked_anew(world: World) -> None:
    text = "[Service]\nExecStart=/bin/false\n"
    async with world.agent():
        await world.want("bad.service", LAUNCHED, text)
        await world.want("bad.service", LOADED, text)
        await world.want("bad.service", LAUNCHED, text)
        assert world.services.starts["bad.service"] == 2


@story
async def test_stopped_and_launched_between_two_looks_is_started_anew(world: World) -> None:
    await world.want("web.service", LAUNCHED)
    async with world.agent():
        pass
    await world.want("web.service", LOADED)
    await world.want("web.service", LAUNCHED)
    async with world.agent():
        assert world.services.starts == {"web.service": 2}


@story
async def test_a_kill_of_the_agent_starts_and_stops_nothing(world: World) -> None:
    async with world.agent():
        await world.want("web.service", LAUNCHED)
        await world.want("bad.service", LAUNCHED, "[Service]\nExecStart=/bin/false\n")
        await world.want("once.service", LAUNCHED, "[Service]\nType=oneshot\nExecStart=/bin/true\n")
    before = await world.report("web.service")
    world.services.calls.clear()
    async with world.agent():
        assert world.services.calls == []
        assert await world.report("web.service") == before


@story
async def test_what_changed_while_the_agent_was_away_is_made_good(world: World) -> None:
    async with world.agent():
        await world.want("a.service", LAUNCHED)
        await world.want("b.service", LAUNCHED)
        await world.want("c.service", LAUNCHED)
    await world.destroy("a.service")
    await world.want("b.service", LOADED)
    world.services.end("c.service", "failed", "failed", "exit-code")
    async with world.agent():
        assert not world.placed("a.service")
        assert await world.report("a.service") is None
        assert world.services.running_text("b.service") is None
        report = await world.report("c.service")
    assert report is not None
    assert report.active == "failed"


@story
async def test_a_reboot_starts_all_launched_units(world: World) -> None:
    async with world.agent():
        await world.want("web.service", LAUNCHED)
        await world.want("app.container", LAUNCHED, "[Container]\nImage=x\n")
        await world.want("idle.service", LOADED)
    shutil.rmtree(world.root / "run")
    world.services.reboot()
    async with world.agent():
        assert world.services.starts == {"web.service": 2, "app.service": 2}
        assert world.placed("idle.service")


@story
async def test_a_quadlet_runs_as_its_generated_service(world: World) -> None:
    async with world.agent():
        await world.want("app.container", LAUNCHED, "[Container]\nImage=x\nServiceName=shop\n")
        assert world.services.calls == ["reload", "start shop.service"]
        report = await world.report("app.container")
    assert report is not None
    assert (report.unit, report.active) == ("shop.service", "active")


@story
async def test_many_units_share_a_reload(world: World) -> None:
    records = [
        UnitRecord(f"a{i}.container", "[Container]\nImage=x\n", "h", LAUNCHED, launch=1) for i in range(50)
    ]
    await world.store.transact((), [Put(unit_key(r.name), r.encode()) for r in records])
    await world.store.transact((), [Put(placement_key(NODE, r.name), b"{}") for r in records])
    async with world.agent():
        assert len(world.services.starts) == 50
        assert world.services.calls.count("reload") == 1


@story
async def test_a_slow_stop_holds_up_no_other_unit(world: World) -> None:
    async with world.agent():
        await world.want("slow.service", LAUNCHED)
        world.services.hold = asyncio.Event()
        await world.want("slow.service", LOADED)
        await world.want("web.service", LAUNCHED)
        assert "web.service" in world.services.starts
        world.services.hold.set()


@story
async def test_a_change_of_mind_during_a_stop_is_obeyed(world: World) -> None:
    async with world.agent():
        await world.want("web.service", LAUNCHED)
        world.services.hold = asyncio.Event()
        await world.want("web.service", LOADED)
        await world.want("web.service", LAUNCHED)
        world.services.hold.set()
        await world.rest()
        assert world.services.starts == {"web.service": 2}
        assert world.services.running_text("web.service") == SLEEPER


@story
async def test_a_unit_of_the_host_is_refused_with_a_reason(world: World) -> None:
    path = world.root / "usr/lib/systemd/system/sshd.service"
    path.parent.mkdir(parents=True)
    path.write_text(SLEEPER)
    async with world.agent():
        await world.want("sshd.service", LAUNCHED)
        report = await world.report("sshd.service")
        assert report is not None
        assert report.current is INACTIVE
        assert "not Skerry's" in (report.problem or "")
        await world.destroy("sshd.service")
        assert await world.report("sshd.service") is None
    assert world.services.starts == {}


@story
async def test_a_start_that_systemd_refuses_is_tried_again_later(world: World) -> None:
    world.services.refuse = refusing("start web.service", "docker.service not found")
    async with world.agent():
        await world.want("web.service", LAUNCHED)
        report = await world.report("web.service")
        assert report is not None
        assert (report.current, report.problem) == (LOADED, "docker.service not found")
        world.services.refuse = lambda _call: None
        await world.want("docker.service", LAUNCHED)
        report = await world.report("web.service")
    assert report is not None
    assert (report.current, report.problem) == (LAUNCHED, None)


@story
async def test_a_record_that_cannot_be_read_leaves_its_unit_alone(world: World) -> None:
    async with world.agent():
        await world.want("web.service", LAUNCHED)
        await world.store.transact((), [Put(unit_key("web.service"), b'{"version": 99}')])
        await world.rest()
        assert world.services.running_text("web.service") == SLEEPER
        report = await world.report("web.service")
    assert report is not None
    assert "version 99" in (report.problem or "")


@story
async def test_states_are_followed(world: World) -> None:
    async with world.agent():
        await world.want("web.service", LAUNCHED)
        world.services.end("web.service", "failed", "failed", "signal")
        await world.rest()
        report = await world.report("web.service")
    assert report is not None
    assert (report.active, report.result) == ("failed", "signal")


@story
async def test_an_idle_agent_writes_and_asks_nothing(world: World) -> None:
    async with world.agent():
        await world.want("web.service", LAUNCHED)
        world.services.calls.clear()
        before = (await world.store.list("")).revision
        await world.clock.advance(100 * EVERY_S)
        assert (await world.store.list("")).revision == before
        assert world.services.calls == []


@story
async def test_reports_of_an_earlier_life_are_corrected(world: World) -> None:
    stale = UnitReport("gone.service", NODE, "h", LAUNCHED, "gone.service", "loaded", "active", "running")
    await world.store.transact((), [Put(report_key(NODE, "gone.service"), stale.encode())])
    async with world.agent():
        assert await world.report("gone.service") is None


@pytest.mark.parametrize("name", ["web.service", "app.container"])
def test_a_deleted_file_is_placed_again_at_the_next_start(name: str, tmp_path: Path) -> None:
    text = SLEEPER if name.endswith(".service") else "[Container]\nImage=x\n"

    async def scenario() -> None:
        world = World(tmp_path)
        async with world.agent():
            await world.want(name, LAUNCHED, text)
        paths = [p for p in (tmp_path / "run").rglob(name) if "skerry" not in p.parts]
        for path in paths:
            path.unlink()
        async with world.agent():
            assert all(path.exists() for path in paths)
        assert set(world.services.starts.values()) == {1}

    asyncio.run(scenario())
