"""Thousands of agents on one server: how soon a Global unit is with all of them, and what they cost at rest.

The server is a process of its own (programs/agents_server.py), over TLS; its agents are simulated here (see
programs/simulated_agents.py), and all of them come at once. `python3 bench/agents.py [AGENTS …]`; with
SKERRY_BENCH_ETCD=http://127.0.0.1:2379 the state is kept in that etcd, an empty one for each number.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from harness import report
from programs.simulated_agents import Agent, Counts, contexts

from skerry.fleet.state.unit import DesiredState, UnitRecord
from skerry.fleet.trust.certificates import Authority, Credential, make_request, new_key, read_request
from skerry.fleet.trust.files import Pki
from skerry.fleet.trust.identity import Identity, Role

if TYPE_CHECKING:
    import ssl

SIZES = (1000, 5000)
REST_S = 30
WARM_S = 15
JOIN_S = 240
SERVER = Path(__file__).resolve().parent / "programs" / "agents_server.py"
SERVER_ID = Identity("5" * 32, Role.SERVER)
GLOBAL = "[Service]\nExecStart=/bin/sleep infinity\n[X-Fleet]\nGlobal=true\n"
TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """The process, and what the system says of it."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        argv = [sys.executable, str(SERVER), str(folder), str(port)]
        # In a session of its own, as on another machine: the kernel shares processors by sessions.
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._folder = Path(f"/proc/{self.process.pid}")
        self.url = self._line()
        if not self.url:
            raise SystemExit("the server has not started; it says why above")

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    @property
    def cpu_s(self) -> float:
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    @property
    def rss_mb(self) -> float:
        return int((self._folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    async def ask(self, text: str) -> int:
        """The revision of the store after `text` was done."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return int(await asyncio.to_thread(self._line))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


async def measure(folder: Path, tls: dict[str, ssl.SSLContext]) -> dict[str, float]:
    counts = Counts(len(tls))
    server = await asyncio.to_thread(Server, folder)
    taken: dict[str, float] = {}
    try:
        empty_mb, begun, mine = server.rss_mb, time.monotonic(), time.process_time()
        async with asyncio.TaskGroup() as group:
            agents = [Agent(node, server.port, context, counts) for node, context in tls.items()]
            tasks = [group.create_task(work) for agent in agents for work in (agent.listen(), agent.beat())]
            await counts.all_in(counts.full, JOIN_S)
            await counts.all_in(counts.beating, JOIN_S)
            joined, joining_cpu = time.monotonic() - begun, server.cpu_s
            late, broken = counts.late_beats, counts.broken_streams
            await asyncio.sleep(WARM_S)
            lost, missed = counts.late_beats, counts.broken_streams
            revision, cpu, at, mine = (
                await server.ask("revision"),
                server.cpu_s,
                time.monotonic(),
                time.process_time(),
            )
            await asyncio.sleep(REST_S)
            rest_s = time.monotonic() - at
            taken |= {
                "CPU at rest (% of a core)": (server.cpu_s - cpu) / rest_s * 100,
                "CPU of the simulation (%)": (time.process_time() - mine) / rest_s * 100,
                "store writes at rest (/s)": (await server.ask("revision") - revision) / rest_s,
                "heartbeats late at rest": counts.late_beats - lost,
                "streams broken at rest": counts.broken_streams - missed,
                "memory (MB)": server.rss_mb,
                "memory for each agent (kB)": (server.rss_mb - empty_mb) * 1000 / len(tls),
            }
            record = UnitRecord("all.service", GLOBAL, "h").wanting(DesiredState.LAUNCHED)
            begun, before = time.monotonic(), server.cpu_s
            await server.ask("unit " + msgspec.json.encode(record).decode())
            await counts.all_in(counts.told, JOIN_S)
            taken["a Global unit is with all (s)"] = time.monotonic() - begun
            taken["server's CPU for it (s)"] = server.cpu_s - before
            taken |= {
                "all have joined (s)": joined,
                "server's CPU for it, joining (s)": joining_cpu,
                "heartbeats late, joining": late,
                "streams tried again, joining": broken,
            }
            for task in tasks:
                task.cancel()
    finally:
        server.kill()
    return taken


def main(sizes: list[int]) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for count in sizes:
        with tempfile.TemporaryDirectory(prefix="skerry-agents-") as folder:
            authority = Authority.create("bench", time.time())
            pki, key = Pki(Path(folder, "pki")), new_key()
            request = read_request(make_request(key, SERVER_ID))
            pki.write_ca(authority.pem)
            pki.write_authority(authority)
            pki.write_node(
                Credential(key, authority.issue(request, SERVER_ID, time.time(), hosts=("127.0.0.1",)))
            )
            tls = contexts(authority, Path(folder), count)
            gc.collect()
            gc.freeze()
            taken = asyncio.run(measure(Path(folder), tls))
        report(f"agents_{count}", "see each", {what: [value] for what, value in taken.items()})


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or list(SIZES))
