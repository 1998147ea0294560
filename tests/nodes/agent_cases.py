"""The agent over a real systemd and a store on disk, killed again and again. Runs inside a node, as root:

    python3 agent_cases.py [IMAGE]      IMAGE is a container image the node has, for the Quadlet case

It needs no pytest, only `skerry` on the path. A child process owns the store and runs the agent; it makes
random changes, says each that was acknowledged, and is killed with SIGKILL at random moments. In the
end everything acknowledged must be so, what was not touched must never have been restarted, and after
all units are destroyed no file, link or marker may be left.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from skerry.fleet.agent.agent import Agent
from skerry.fleet.agent.local import LocalSource
from skerry.fleet.assign.feed import Feed
from skerry.fleet.assign.reports import Reports
from skerry.fleet.state.placement import PlacementRecord, placement_key
from skerry.fleet.state.unit import Attachment, DesiredState, UnitRecord, UnitReport, report_key, unit_key
from skerry.fleet.store.interface import Delete, Put, Store
from skerry.fleet.store.sqlite import SqliteStore
from skerry.host.units.journal import read_journal
from skerry.host.units.systemd import Systemd
from skerry.host.units.unit_file import parse_unit, unit_hash
from skerry.kit.clock import SystemClock

NODE = "node"
SLEEPER = "[Service]\nExecStart=/bin/sleep 100000\nEnvironment=EDITION={edition}\n"
INSTALLED = SLEEPER + "\n[Install]\nWantedBy=multi-user.target\n"
ANCHORS = ("skerry-anchor-a.service", "skerry-anchor-b.service")
MOVERS = tuple(f"skerry-mover-{i}.service" for i in range(8))
PREFIX = "skerry-"
DEADLINE_S = 60
KILLS = int(os.environ.get("SKERRY_KILLS", "15"))
LAUNCHED, LOADED, INACTIVE = DesiredState.LAUNCHED, DesiredState.LOADED, DesiredState.INACTIVE


def make(
    name: str, text: str, desired: DesiredState = LAUNCHED, **more: tuple[Attachment, ...]
) -> UnitRecord:
    return UnitRecord(name, text, unit_hash(parse_unit(text)), **more).wanting(desired)


class Node:
    """A store and an agent in this process."""

    def __init__(self, store: Store, services: Systemd) -> None:
        self.store = store
        self.services = services

    async def put(self, *records: UnitRecord) -> None:
        for record in records:
            entry = await self.store.get(unit_key(record.name))
            launch = UnitRecord.decode(entry.value).launch if entry is not None else 0
            again = UnitRecord(
                record.name, record.text, record.hash, INACTIVE, record.drop_ins, record.files, launch
            ).wanting(record.desired)
            placed = PlacementRecord(record.name, NODE)
            await self.store.transact(
                (), [Put(unit_key(record.name), again.encode()), Put(placed.key, placed.encode())]
            )

    async def destroy(self, *names: str) -> None:
        for name in names:
            await self.store.transact((), [Delete(unit_key(name)), Delete(placement_key(NODE, name))])

    async def report(self, name: str) -> UnitReport | None:
        entry = await self.store.get(report_key(NODE, name))
        return None if entry is None else UnitReport.decode(entry.value)

    async def until(
        self, name: str, active: str | None, current: DesiredState = LAUNCHED
    ) -> UnitReport | None:
        """Wait for a report, of a launched unit its last launch's; `active` None: until there is none."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            report = await self.report(name)
            if report is None and active is None:
                return None
            if report is not None and (report.active, report.current) == (active, current):
                entry = await self.store.get(unit_key(name))
                unit = None if entry is None else UnitRecord.decode(entry.value)
                # A report from before a change, of an agent that was killed, says nothing about the change.
                latest = unit is not None and (report.identity, report.launch) == (unit.identity, unit.launch)
                if latest or current is not LAUNCHED:
                    return report
            await asyncio.sleep(0.01)
        raise AssertionError(f"{name} is not {active}: {await self.report(name)}")


def run_agent(store: Store, services: Systemd, clock: SystemClock) -> asyncio.Future[object]:
    """An agent with its server's half beside it; ends with the first of them."""
    feed = Feed(store, clock)
    source = LocalSource(feed, Reports(store), NODE, clock)
    return asyncio.gather(feed.run(), Agent(source, services, Path("/"), clock, NODE).run())


def show(unit: str, name: str) -> str:
    argv = ["systemctl", "show", "--value", "-p", name, unit]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


async def gone(node: Node, name: str) -> None:
    """Wait until nothing is reported of a unit, and systemd does not know it either.

    A child that was killed may not have come to report what it had placed.
    """
    await node.until(name, None)
    end = time.monotonic() + DEADLINE_S
    while (load := show(name, "LoadState")) != "not-found":
        assert time.monotonic() < end, f"{name} is still {load}"
        await asyncio.sleep(0.05)


def strays() -> list[str]:
    """Everything of ours that lies about."""
    return [
        str(path)
        for directory in ("/run/systemd/system", "/run/containers/systemd", "/run/skerry/units")
        for path in Path(directory).rglob(f"{PREFIX}*")
    ]


async def a_units_life(node: Node) -> None:
    name = "skerry-life.service"
    await node.put(make(name, INSTALLED.format(edition=1), LOADED))
    report = await node.until(name, "inactive", LOADED)
    assert report is not None
    assert report.load == "loaded"
    assert show(name, "UnitFileState") == "enabled-runtime"
    await node.put(make(name, INSTALLED.format(edition=1)))
    await node.until(name, "active")
    pid = show(name, "MainPID")
    await node.put(make(name, INSTALLED.format(edition=2)))
    end = time.monotonic() + DEADLINE_S
    while "EDITION=2" not in show(name, "Environment") or show(name, "ActiveState") != "active":
        assert time.monotonic() < end, "the new text does not run"
        await asyncio.sleep(0.02)
    assert show(name, "MainPID") != pid
    await node.put(make(name, INSTALLED.format(edition=2), LOADED))
    await node.until(name, "inactive", LOADED)
    await node.destroy(name)
    await node.until(name, None)
    assert show(name, "LoadState") == "not-found"


async def drop_ins_and_instances(node: Node) -> None:
    name = "skerry-many@7.service"
    drop_in = Attachment("10-more.conf", "[Service]\nEnvironment=MORE=%i\n")
    await node.put(make(name, SLEEPER.format(edition="%i"), drop_ins=(drop_in,)))
    await node.until(name, "active")
    assert show(name, "Environment") == "EDITION=7 MORE=7"
    await node.destroy(name)
    await node.until(name, None)


async def a_failing_unit_is_left_alone(node: Node) -> None:
    name = "skerry-bad.service"
    await node.put(make(name, "[Service]\nExecStart=/bin/false\n"))
    report = await node.until(name, "failed")
    assert report is not None
    assert report.result == "exit-code"
    started = show(name, "ExecMainStartTimestampMonotonic")
    await node.put(make("skerry-other.service", SLEEPER.format(edition=1)))
    await node.until("skerry-other.service", "active")
    assert show(name, "ExecMainStartTimestampMonotonic") == started
    await node.destroy(name, "skerry-other.service")
    await node.until(name, None)
    await node.until("skerry-other.service", None)
    assert show(name, "LoadState") == "not-found"


async def units_of_the_host_are_refused(node: Node) -> None:
    name = "systemd-journald.service"
    await node.put(make(name, SLEEPER.format(edition=1)))
    report = await node.until(name, "inactive", INACTIVE)
    assert report is not None
    assert "not Skerry's" in (report.problem or "")
    await node.destroy(name)
    await node.until(name, None)
    assert show(name, "ActiveState") == "active"


async def a_restart_of_systemd_and_of_the_bus_is_survived(node: Node) -> None:
    name = "skerry-life.service"
    await node.put(make(name, SLEEPER.format(edition=1)))
    await node.until(name, "active")
    pid = show(name, "MainPID")
    for argv in (
        ["systemctl", "daemon-reexec"],
        ["systemctl", "daemon-reload"],
        ["systemctl", "restart", "dbus.service"],
    ):
        await asyncio.to_thread(subprocess.run, argv, check=True)
        await asyncio.sleep(0.5)
        os.kill(int(show(name, "MainPID")), 0)
        assert show(name, "MainPID") == pid
    os.kill(int(pid), signal.SIGKILL)
    report = await node.until(name, "failed")
    assert report is not None
    assert report.result == "signal"
    await node.destroy(name)
    await node.until(name, None)


async def the_journal_is_read(node: Node) -> None:
    name = "skerry-talk.service"
    await node.put(make(name, "[Service]\nExecStart=/bin/sh -c 'echo hello from here; exec sleep 1000'\n"))
    await node.until(name, "active")
    end = time.monotonic() + DEADLINE_S
    while not [line async for line in read_journal(name) if line.message == "hello from here"]:
        assert time.monotonic() < end, "its line is not in the journal"
        await asyncio.sleep(0.1)
    await node.destroy(name)
    await node.until(name, None)


async def a_quadlet_with_companions(node: Node, image: str) -> None:
    text = f"[Container]\nImage={image}\nExec=sleep 1000\nVolume=skerry-data.volume:/data\nStopTimeout=1\n"
    await node.put(make("skerry-app.container", text))
    end = time.monotonic() + DEADLINE_S
    problem = ""
    while "skerry-data.volume" not in problem:
        assert time.monotonic() < end, f"the missing companion is not named: {problem!r}"
        await asyncio.sleep(0.05)
        report = await node.report("skerry-app.container")
        problem = (report.problem if report else None) or ""
    await node.put(make("skerry-data.volume", "[Volume]\n", LOADED))
    report = await node.until("skerry-app.container", "active")
    assert report is not None
    assert report.unit == "skerry-app.service"
    await node.destroy("skerry-app.container", "skerry-data.volume")
    await node.until("skerry-app.container", None)
    await node.until("skerry-data.volume", None)


CASES = (
    a_units_life,
    drop_ins_and_instances,
    a_failing_unit_is_left_alone,
    units_of_the_host_are_refused,
    a_restart_of_systemd_and_of_the_bus_is_survived,
    the_journal_is_read,
)


async def tell_stories(image: str | None) -> int:
    """Every case on one agent; how many failed."""
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        clock = SystemClock()
        store = await SqliteStore.open(Path(folder) / "store.db", clock=clock)
        services = await Systemd.connect()
        agent = run_agent(store, services, clock)
        node = Node(store, services)
        cases = [(case.__name__, case(node)) for case in CASES]
        if image:
            cases.append((a_quadlet_with_companions.__name__, a_quadlet_with_companions(node, image)))
        for name, case in cases:
            try:
                await case
                assert not agent.done(), agent
                assert not strays(), strays()
            except Exception as error:
                failed += 1
                print(f"FAILED {name}: {type(error).__name__}: {error}", flush=True)
            else:
                print(f"ok     {name}", flush=True)
        agent.cancel()
        await asyncio.gather(agent, return_exceptions=True)
        await services.close()
        await store.close()
    return failed


async def change_at_random(path: Path, seed: int) -> None:
    """The child: runs the agent, changes one unit after the other, and says what the store has taken."""
    clock = SystemClock()
    store = await SqliteStore.open(path, clock=clock)
    node = Node(store, await Systemd.connect())
    chance = random.Random(seed)  # noqa: S311
    agent = run_agent(store, node.services, clock)
    for name in ANCHORS:
        if await store.get(unit_key(name)) is None:
            await node.put(make(name, INSTALLED.format(edition=0)))
    for name in ANCHORS:
        await node.until(name, "active")
    print("ready", flush=True)
    while not agent.done():
        name = chance.choice(MOVERS)
        desired = chance.choice([*DesiredState, LAUNCHED, None])
        text = chance.choice([SLEEPER, INSTALLED]).format(edition=chance.randint(1, 3))
        # Said before and after: a kill between them leaves open which of the two holds.
        print(json.dumps(["trying", name, desired, text]), flush=True)
        await (node.destroy(name) if desired is None else node.put(make(name, text, desired)))
        print(json.dumps(["taken", name, desired, text]), flush=True)
        await asyncio.sleep(chance.random() * 0.1)
    await agent


async def all_is_as_wanted(path: Path, wanted: dict[str, set[tuple[str | None, str]]]) -> None:
    """Run an agent in peace; then every mover is as the last change acknowledged, or begun after it, says."""
    clock = SystemClock()
    store = await SqliteStore.open(path, clock=clock)
    services = await Systemd.connect()
    node = Node(store, services)
    agent = run_agent(store, services, clock)
    for name, possible in wanted.items():
        entry = await store.get(unit_key(name))
        record = None if entry is None else UnitRecord.decode(entry.value)
        stored = (None, "") if record is None else (str(record.desired), record.text)
        assert stored in {(d, t if d is not None else "") for d, t in possible}, (name, stored, possible)
        if record is None or record.desired is INACTIVE:
            await gone(node, name)
        elif record.desired is LOADED:
            await node.until(name, "inactive", LOADED)
        else:
            await node.until(name, "active")
            edition = parse_unit(record.text).last("Service", "Environment")
            assert show(name, "Environment") == edition, name
    await node.destroy(*ANCHORS, *MOVERS)
    for name in (*ANCHORS, *MOVERS):
        await gone(node, name)
    agent.cancel()
    await asyncio.gather(agent, return_exceptions=True)
    await services.close()
    await store.close()


def kill_again_and_again() -> None:
    """The parent of `change_at_random`."""
    chance = random.Random(int(os.environ.get("SKERRY_SEED", "1")))  # noqa: S311
    wanted: dict[str, set[tuple[str | None, str]]] = {}
    pids: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        for turn in range(KILLS):
            argv = [sys.executable, __file__, "--child", str(path), str(turn)]
            with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as child:
                assert child.stdout is not None
                assert child.stdout.readline().strip() == "ready", "the child did not come up"
                now = {name: show(name, "MainPID") for name in ANCHORS}
                assert pids in ({}, now), f"an anchor was restarted: {pids} became {now}"
                pids = now
                time.sleep(chance.random() * 1.5)
                child.kill()
                for line in child.stdout:
                    if line.endswith("\n"):
                        word, name, desired, text = json.loads(line)
                        change = (desired, text)
                        wanted[name] = (
                            {change} if word == "taken" else wanted.get(name, {(None, "")}) | {change}
                        )
        assert {name: show(name, "MainPID") for name in ANCHORS} == pids
        asyncio.run(all_is_as_wanted(path, wanted))
        assert not strays(), strays()
    print(f"ok     kill_again_and_again ({KILLS} kills, {len(wanted)} units)", flush=True)


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--child"]:
        asyncio.run(change_at_random(Path(arguments[1]), int(arguments[2])))
        return 0
    failed = asyncio.run(tell_stories(arguments[0] if arguments else None))
    try:
        kill_again_and_again()
    except AssertionError as error:
        print(f"FAILED kill_again_and_again: {error}")
        failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
