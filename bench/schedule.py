"""How fast units find their machines: decided only, written to the store, told to the nodes, and one by one.

The peer is a round as fleet's engine has it, written here from the description of its rules: read everything,
rebuild every machine's state, sort all machines for every unit, look at every pair for a conflict. It is
measured on fewer units, where it is at its best. Docker Swarm, of one machine, is asked to let a thousand
waiting tasks on it; it starts to carry them out while it still places.

`schedule_decide`, `_change` and `_persist_cpu` are processor time, the others wall time; one round of the
million. The nodes' streams are the feed's own, in this process: no network between.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness import RESULTS, report
from programs.swarm import missing, swarm

SOURCES = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(SOURCES / "src")]

from skerry.fleet.assign.assignment import Change, Full  # noqa: E402
from skerry.fleet.assign.feed import Feed  # noqa: E402
from skerry.fleet.presence.leader import Alone  # noqa: E402
from skerry.fleet.schedule.driver import Driver  # noqa: E402
from skerry.fleet.schedule.model import NodeSpec, UnitSpec, Verb  # noqa: E402
from skerry.fleet.schedule.scheduler import Scheduler  # noqa: E402
from skerry.fleet.state.node import (  # noqa: E402
    Facts,
    Liveness,
    NodeRecord,
    PresenceRecord,
    node_key,
    presence_key,
)
from skerry.fleet.state.unit import DesiredState, UnitRecord, unit_key  # noqa: E402
from skerry.fleet.store.interface import Put  # noqa: E402
from skerry.fleet.store.memory import MemoryStore  # noqa: E402
from skerry.fleet.store.sqlite import SqliteStore  # noqa: E402
from skerry.host.units.glob import glob_matches  # noqa: E402
from skerry.host.units.requirements import Requirements  # noqa: E402
from skerry.kit.clock import SystemClock  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from skerry.fleet.store.interface import Store

GIB = 1 << 30
NODE_GIB = 64
UNITS = 10_000
PEER_UNITS = 500
WAITING = 1_000
ROUNDS = 5
SMALL, LARGE = 50, 5_000
GOAL_DECIDED_US = 1e6 / 10_000
GOAL_PERSISTED_US = 1e6 / 3_000
GOAL_MILLION_S = 300
TEXT = """[Unit]
Description=A container

[Container]
Image=registry.example.com/app:1
Memory=64M

[X-Fleet]
MachineMetadata=zone=a
MachineMetadata=zone=b
"""


def node_specs(number: int) -> list[NodeSpec]:
    chance = random.Random(number)  # noqa: S311  a simulation
    return [
        NodeSpec(
            f"{chance.getrandbits(128):032x}",
            {"zone": "abc"[n % 3], "disk": "ssd" if n % 4 == 0 else "hdd"},
            memory_bytes=NODE_GIB * GIB,
            cpu_millis=32_000,
        )
        for n in range(number)
    ]


def plain(_: int) -> Requirements:
    return Requirements(memory_bytes=GIB // 16)


def constrained(n: int) -> Requirements:
    """A third each: labels, conflicts within a service of 50, preferences with spreading; all take room."""
    match n // 50 % 3:
        case 0:
            zones = frozenset("ab" if n % 2 else "bc")
            return Requirements(metadata=(("zone", zones),), memory_bytes=GIB // 8, cpu_millis=100)
        case 1:
            return Requirements(conflicts=(f"app-{n // 50}@*",), memory_bytes=GIB // 16)
        case _:
            return Requirements(prefer=(("disk", "ssd"),), spread=("zone",), memory_bytes=GIB // 16)


def unit_specs(number: int, asks: Callable[[int], Requirements]) -> list[UnitSpec]:
    return [UnitSpec(f"app-{n // 50}@{n % 50}.service", asks(n)) for n in range(number)]


def scheduler_of(nodes: list[NodeSpec], *, full: float) -> Scheduler:
    """A cluster; `full` is the share of its memory that is taken, in units of 1 GiB."""
    scheduler = Scheduler()
    for node in nodes:
        scheduler.put_node(node)
    asks = Requirements(memory_bytes=GIB)
    for n in range(int(len(nodes) * NODE_GIB * full)):
        scheduler.put_unit(UnitSpec(f"fill@{n}.service", asks))
    scheduler.decide()
    return scheduler


def decided(nodes: list[NodeSpec], full: float, asks: Callable[[int], Requirements]) -> float:
    """µs per unit, from being told of it to the step that places it."""
    scheduler, units = scheduler_of(nodes, full=full), unit_specs(UNITS, asks)
    gc.collect()
    begun = time.process_time()
    for unit in units:
        scheduler.put_unit(unit)
    steps = scheduler.decide()
    taken = time.process_time() - begun
    assert len(steps) == UNITS, f"{len(steps)} of {UNITS} placed"
    return taken / UNITS * 1e6


@dataclass
class FleetState:
    """What fleet's engine reads anew for each round."""

    nodes: list[NodeSpec]
    units: list[UnitSpec]
    targets: dict[str, str] = field(default_factory=dict)

    def round(self) -> None:
        """Place what is not placed, as fleet does it: every rule of its own, and no index."""
        there: dict[str, dict[str, UnitSpec]] = {node.id: {} for node in self.nodes}
        labels = {node.id: node.labels for node in self.nodes}
        for unit in self.units:
            if unit.name in self.targets:
                there[self.targets[unit.name]][unit.name] = unit
        for unit in self.units:
            target = self.targets.get(unit.name)
            if target is not None and not self._able(unit, there[target], labels[target]):
                del there[target][unit.name], self.targets[unit.name]
        for unit in self.units:
            if unit.name not in self.targets:
                for node in sorted(there, key=lambda n: (len(there[n]), n)):
                    if self._able(unit, there[node], labels[node]):
                        there[node][unit.name] = unit
                        self.targets[unit.name] = node
                        break

    @staticmethod
    def _able(unit: UnitSpec, there: dict[str, UnitSpec], labels: object) -> bool:
        if not all(labels.get(key) in values for key, values in unit.asks.metadata):  # type: ignore[attr-defined]
            return False
        return not any(
            any(glob_matches(glob, name) for glob in unit.asks.conflicts)
            or any(glob_matches(glob, unit.name) for glob in other.asks.conflicts)
            for name, other in there.items()
            if name != unit.name
        )


def fleets_round(nodes: list[NodeSpec], asks: Callable[[int], Requirements]) -> float:
    state = FleetState(nodes, unit_specs(PEER_UNITS, asks))
    begun = time.process_time()
    state.round()
    return (time.process_time() - begun) / PEER_UNITS * 1e6


def in_turn(cases: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """As harness.run does, but what is ready-made is thrown away between the cases."""
    taken: dict[str, list[float]] = {what: [] for what in cases}
    for _ in range(rounds):
        for what, measure in cases.items():
            taken[what].append(measure())
            gc.collect()
    return taken


def bench_decide() -> None:
    thousand, five = node_specs(1_000), node_specs(5_000)
    cases: dict[str, Callable[[], float]] = {}
    for name, asks in (("with constraints", constrained), ("plain", plain)):
        for where, nodes in (("5,000", five), ("1,000", thousand)):
            for state, full in (("90 % full", 0.9), ("empty", 0.0)):
                cases[f"{where} {state}, {name}"] = lambda n=nodes, f=full, a=asks: decided(n, f, a)
        cases[f"fleet's way, 1,000, {name}"] = lambda a=asks: fleets_round(thousand, a)
    report("schedule_decide", "µs per unit", in_turn(cases, ROUNDS), goal=GOAL_DECIDED_US)


CHANGES = 200


def changed(scheduler: Scheduler) -> float:
    """µs for one unit to come and be placed, and to go again; everything else stands."""
    asks = Requirements(metadata=(("zone", frozenset("a")),), memory_bytes=GIB // 16)
    begun = time.process_time()
    for n in range(CHANGES):
        scheduler.put_unit(UnitSpec(f"new-{n}.service", asks))
        assert len(scheduler.decide()) == 1
        scheduler.drop_unit(f"new-{n}.service")
        assert len(scheduler.decide()) == 1
    return (time.process_time() - begun) / CHANGES * 1e6


def fleets_change(state: FleetState) -> float:
    """One round of fleet's for a unit more, and one for a unit less."""
    begun = time.process_time()
    state.units.append(UnitSpec("new.service", Requirements(metadata=(("zone", frozenset("a")),))))
    state.round()
    state.units.pop()
    del state.targets["new.service"]
    state.round()
    return (time.process_time() - begun) * 1e6


def bench_change() -> None:
    """Eight units on each machine of the peer, 57 of ours: it would not end with as many."""
    large, small = (scheduler_of(node_specs(n), full=0.9) for n in (LARGE, SMALL))
    peer_large, peer_small = (FleetState(node_specs(n), unit_specs(n * 8, plain)) for n in (500, SMALL))
    for peer in (peer_large, peer_small):
        for number, unit in enumerate(peer.units):
            peer.targets[unit.name] = peer.nodes[number % len(peer.nodes)].id
    cases: dict[str, Callable[[], float]] = {
        f"one change among {LARGE:,}": lambda: changed(large),
        f"one change among {SMALL}": lambda: changed(small),
        "fleet's way, among 500": lambda: fleets_change(peer_large),
        f"fleet's way, among {SMALL}": lambda: fleets_change(peer_small),
    }
    in_turn(cases, 1)
    taken = in_turn(cases, 21)
    medians = {what: statistics.median(values) for what, values in taken.items()}
    report("schedule_change", "µs", taken, goal=2 * medians[f"one change among {SMALL}"])


async def told(store: Store, nodes: int, units: int) -> tuple[float, float]:
    """µs per unit, wall and processor, from its submission until the stream of its node has told of it."""
    clock = SystemClock()
    ids = [node.id for node in node_specs(nodes)]
    for n in range(0, nodes, 100):
        records = [
            PresenceRecord(
                Facts(memory_bytes=NODE_GIB * GIB, cpus=32, metadata={"zone": "abc"[k % 3]}),
                Liveness.READY,
                0.0,
            )
            for k in range(n, min(nodes, n + 100))
        ]
        await store.transact((), [Put(presence_key(ids[n + k]), r.encode()) for k, r in enumerate(records)])
    leading, feed = Alone(store, ids[0], clock), Feed(store, clock)
    driver = Driver(store, leading, clock)
    arrived = 0
    everything, listening = asyncio.Event(), asyncio.Semaphore(0)

    async def listen(node: str) -> None:
        nonlocal arrived
        async with aclosing(feed.follow(node)) as messages:
            async for message in messages:
                if isinstance(message, Full):
                    arrived += len(message.assignments)
                    listening.release()
                elif isinstance(message, Change):
                    arrived += len(message.set)
                if arrived >= units:
                    everything.set()

    tasks = [asyncio.create_task(work) for work in (leading.run(), driver.run(), feed.run())]
    tasks += [asyncio.create_task(listen(node)) for node in ids]
    for _ in ids:
        await listening.acquire()
    async with asyncio.timeout(60):
        while driver.scheduler is None or len(driver.scheduler.grounds) < nodes:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    begun, worked = time.perf_counter(), time.process_time()
    for n in range(0, units, 50):
        records = [f"app-{n // 50}@{k}.container" for k in range(50)]
        await store.transact(
            (),
            [
                Put(unit_key(name), UnitRecord(name, TEXT, "", DesiredState.LAUNCHED).encode())
                for name in records
            ],
        )
    await asyncio.wait_for(everything.wait(), 300)
    taken, work = time.perf_counter() - begun, time.process_time() - worked
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return taken / units * 1e6, work / units * 1e6


def persisted(nodes: int, units: int, *, durable: bool) -> tuple[float, float]:
    async def measure(folder: Path) -> tuple[float, float]:
        clock = SystemClock()
        store: Store
        if durable:
            store = await SqliteStore.open(folder / "store.db", clock=clock)
        else:
            store = MemoryStore(clock=clock)
        try:
            return await told(store, nodes, units)
        finally:
            await store.close()

    # Not in /tmp, which may be memory: a flush must reach the disk.
    with tempfile.TemporaryDirectory(dir=RESULTS) as folder:
        return asyncio.run(measure(Path(folder)))


def bench_persist() -> None:
    wall: dict[str, list[float]] = {}
    work: dict[str, list[float]] = {}
    for _ in range(3):
        for where, durable in (("SQLite", True), ("in memory", False)):
            for nodes in (1_000, 5_000):
                taken, worked = persisted(nodes, UNITS, durable=durable)
                wall.setdefault(f"{where}, to {nodes:,} nodes", []).append(taken)
                work.setdefault(f"{where}, to {nodes:,} nodes", []).append(worked)
    report("schedule_persist", "µs per unit", wall, goal=GOAL_PERSISTED_US)
    report("schedule_persist_cpu", "processor µs per unit", work)


async def let_in(store: Store, units: int) -> float:
    """Seconds from the label that lets so many waiting units on the one machine until it is told of all."""
    clock = SystemClock()
    (node,) = (spec.id for spec in node_specs(1))
    presence = PresenceRecord(Facts(memory_bytes=NODE_GIB * GIB, cpus=32), Liveness.READY, 0.0)
    await store.transact((), [Put(presence_key(node), presence.encode())])
    text = "[Container]\nImage=registry.invalid/none:1\n[X-Fleet]\nMachineMetadata=open=yes\n"
    for n in range(0, units, 100):
        names = [f"waiting@{k}.container" for k in range(n, n + 100)]
        records = [UnitRecord(name, text, "", DesiredState.LAUNCHED) for name in names]
        await store.transact((), [Put(unit_key(r.name), r.encode()) for r in records])
    leading, feed = Alone(store, node, clock), Feed(store, clock)
    driver = Driver(store, leading, clock)
    tasks = [asyncio.create_task(work) for work in (leading.run(), driver.run(), feed.run())]
    async with asyncio.timeout(60), aclosing(feed.follow(node)) as messages:
        await anext(messages)
        while driver.scheduler is None or len(driver.scheduler.units) < units:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)  # it has decided that they wait
        begun = time.perf_counter()
        await store.transact((), [Put(node_key(node), NodeRecord(metadata={"open": "yes"}).encode())])
        arrived = 0
        while arrived < units:
            message = await anext(messages)
            if isinstance(message, Full):
                arrived = len(message.assignments)
            elif isinstance(message, Change):
                arrived += len(message.set)
        taken = time.perf_counter() - begun
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return taken


def skerry_lets_in() -> float:
    async def measure(folder: Path) -> float:
        store = await SqliteStore.open(folder / "store.db", clock=SystemClock())
        try:
            return await let_in(store, WAITING)
        finally:
            await store.close()

    with tempfile.TemporaryDirectory(dir=RESULTS) as folder:
        return asyncio.run(measure(Path(folder))) / WAITING * 1e6


def swarm_lets_in() -> float:
    with tempfile.TemporaryDirectory(prefix="swarm-") as folder, swarm(Path(folder)) as peer:
        return peer.placed(WAITING) / WAITING * 1e6


def bench_swarm() -> None:
    cases: dict[str, Callable[[], float]] = {"Skerry, SQLite, told to the node": skerry_lets_in}
    if missing():
        print(f"schedule_swarm: without the peer, for want of {', '.join(missing())}")
    else:
        cases["Docker Swarm, assigned"] = swarm_lets_in
    report("schedule_swarm", "µs per waiting unit", in_turn(cases, 3))


def million() -> None:
    """In a process of its own, so that its memory is its own: prints JSON."""
    number, nodes = int(sys.argv[2]), node_specs(LARGE)
    scheduler = Scheduler()
    for node in nodes:
        scheduler.put_node(node)
    gc.collect()
    before, begun = _resident_bytes(), time.perf_counter()
    asks = [Requirements(memory_bytes=GIB // 8), Requirements(metadata=(("zone", frozenset("ab")),))]
    placed = 0
    for n in range(number):
        scheduler.put_unit(UnitSpec(f"app-{n // 50}@{n % 50}.service", asks[n // 50 % 2]))
    while steps := scheduler.decide(1_000):
        placed += sum(step.verb is Verb.PLACE for step in steps)
    taken = time.perf_counter() - begun
    assert placed == number
    print(json.dumps({"seconds": taken, "bytes": (_resident_bytes() - before) / number}))


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def bench_million() -> None:
    argv = [sys.executable, __file__, "million", "1000000"]
    said = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout)
    report(
        "schedule_million", "s", {"1,000,000 units on 5,000 nodes": [said["seconds"]]}, goal=GOAL_MILLION_S
    )
    report("schedule_memory", "bytes per unit", {"the scheduler's own books": [said["bytes"]]})


def main() -> None:
    if sys.argv[1:2] == ["million"]:
        million()
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    benches = {
        "decide": bench_decide,
        "change": bench_change,
        "persist": bench_persist,
        "swarm": bench_swarm,
        "million": bench_million,
    }
    for name in sys.argv[1:] or benches:
        benches[name]()


if __name__ == "__main__":
    main()
