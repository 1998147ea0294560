"""Thousands of agents on one server: how soon a Global unit is with all of them, and what they cost at rest.

The server is a process of its own (programs/agents_server.py); its agents are simulated here, over
loopback: each holds a stream and beats every five seconds. `python3 bench/agents.py [AGENTS …]`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import aclosing
from pathlib import Path

import msgspec
from harness import report

from skerry.fleet.assign.assignment import Change, Full, decode_message
from skerry.fleet.presence.heartbeat import HEARTBEAT_S, Heartbeat
from skerry.fleet.state.node import Facts
from skerry.fleet.state.unit import DesiredState, UnitRecord
from skerry.kit.http import HttpError
from skerry.kit.wire import Wire

SIZES = (1000, 5000)
JOINING = 100  # agents that have to try again come one after the other
REST_S = 30
WARM_S = 15
SERVER = Path(__file__).resolve().parent / "programs" / "agents_server.py"
GLOBAL = "[Service]\nExecStart=/bin/sleep infinity\n[X-Fleet]\nGlobal=true\n"
JSON = {"Content-Type": "application/json"}
TICKS = os.sysconf("SC_CLK_TCK")


class Agents:
    """All simulated agents of one run."""

    def __init__(self, url: str, count: int) -> None:
        self.nodes = [f"{number:032x}" for number in range(count)]
        self.streams = Wire(url)
        self.beats = Wire(url, idle_limit=256)
        self.full: set[str] = set()
        self.told: set[str] = set()
        self.failed = 0
        self.broken = 0
        self.beating: list[asyncio.Task[None]] = []
        self.joining = asyncio.Semaphore(JOINING)
        self.all_full = asyncio.Event()
        self.all_told = asyncio.Event()

    async def listen(self, node: str) -> None:
        """Hold a stream; one that does not come about, or breaks, is tried again as agents do."""
        while True:
            try:
                await self._listen(node)
            except HttpError:
                self.broken += 1
                await asyncio.sleep(random.uniform(0.5, 2))  # noqa: S311

    async def _listen(self, node: str) -> None:
        hello = msgspec.json.encode(Heartbeat("1", time.time(), Facts(hostname=node[-6:], boot_id="1")))
        path = f"/v1/agents/{node}/stream"
        async with contextlib.AsyncExitStack() as stack:
            async with self.joining:
                opened = self.streams.stream("POST", path, hello, headers=JSON, timeout_s=60)
                stream = await stack.enter_async_context(opened)
            lines = await stack.enter_async_context(aclosing(stream.lines()))
            async for line in lines:
                match decode_message(line):
                    case Full():
                        if node not in self.full:
                            self.beating.append(asyncio.create_task(self.beat(node)))
                        self._add(self.full, node, self.all_full)
                    case Change():
                        self._add(self.told, node, self.all_told)
                    case _:
                        pass

    async def beat(self, node: str) -> None:
        """Every five seconds, as it began."""
        due = time.monotonic()
        while True:
            due += HEARTBEAT_S
            await asyncio.sleep(due - time.monotonic())
            body = msgspec.json.encode(Heartbeat("1", time.time()))
            path = f"/v1/agents/{node}/heartbeat"
            try:
                answer = await self.beats.request("POST", path, body, headers=JSON, timeout_s=10)
                self.failed += answer.status != 200
            except HttpError:
                self.failed += 1

    def _add(self, names: set[str], node: str, event: asyncio.Event) -> None:
        names.add(node)
        if len(names) == len(self.nodes):
            event.set()


class Process:
    """What the system says of a process."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    @property
    def cpu_s(self) -> float:
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    @property
    def rss_mb(self) -> float:
        return int((self._folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def written_bytes(self) -> int:
        lines = dict(line.split(": ") for line in (self._folder / "io").read_text().splitlines())
        return int(lines["wchar"])


async def measure(url: str, server: Process, count: int) -> dict[str, float]:
    agents = Agents(url, count)
    asking = Wire(url)
    empty_mb = server.rss_mb
    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(agents.listen(node)) for node in agents.nodes]
        await asyncio.wait_for(agents.all_full.wait(), 300)
        joined = time.monotonic() - begun
        await asyncio.sleep(WARM_S)
        revision, cpu, at = await stored(asking), server.cpu_s, time.monotonic()
        await asyncio.sleep(REST_S)
        rest_s = time.monotonic() - at
        cpu = (server.cpu_s - cpu) / rest_s * 100
        writes = (await stored(asking) - revision) / rest_s
        unit = UnitRecord("all.service", GLOBAL, "h").wanting(DesiredState.LAUNCHED)
        begun, before = time.monotonic(), server.cpu_s
        await asking.request("POST", "/bench/unit", unit.encode(), timeout_s=60)
        await asyncio.wait_for(agents.all_told.wait(), 300)
        reached = time.monotonic() - begun
        spent = server.cpu_s - before
        for task in (*tasks, *agents.beating):
            task.cancel()
    asking.close()
    agents.beats.close()
    return {
        "a Global unit is with all (s)": reached,
        "server's CPU for it (s)": spent,
        "all have joined (s)": joined,
        "CPU at rest (% of a core)": cpu,
        "memory (MB)": server.rss_mb,
        "memory for each agent (kB)": (server.rss_mb - empty_mb) * 1000 / count,
        "store writes at rest (/s)": writes,
        "heartbeats lost": agents.failed,
        "streams tried again": agents.broken,
    }


async def stored(wire: Wire) -> int:
    answer = await wire.request("GET", "/bench/store", timeout_s=60)
    return int(msgspec.json.decode(answer.body)["revision"])


def main(sizes: list[int]) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for count in sizes:
        with (
            tempfile.TemporaryDirectory(prefix="skerry-agents-") as folder,
            subprocess.Popen(
                [sys.executable, str(SERVER), folder], stdout=subprocess.PIPE, text=True
            ) as server,
        ):
            try:
                assert server.stdout is not None
                url = server.stdout.readline().strip()
                taken = asyncio.run(measure(url, Process(server.pid), count))
            finally:
                server.kill()
        report(f"agents_{count}", "see each", {what: [value] for what, value in taken.items()})


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or list(SIZES))
