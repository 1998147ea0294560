"""Fencing over a real systemd: what is fenced is dead in time whatever becomes of the agent. Inside a node:

    python3 fence_cases.py [IMAGE]      IMAGE is a container image the node has, for the Quadlet case

A child process runs the agent, over servers that answer until a file says that they do not. Each unit is its
own witness: it writes the uptime into a file ten times a second, dies unwillingly, and leaves children.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.fleet.agent.agent import Agent, uptime
from skerry.fleet.agent.fence_drop_in import LEASE_S
from skerry.fleet.assign.assignment import Assignment, Full, Message
from skerry.fleet.presence.heartbeat import DEFAULT_TTL_S, Contact, Heartbeat
from skerry.fleet.state.unit import DesiredState, UnitRecord, UnitReport
from skerry.host.units.systemd import Systemd
from skerry.host.units.unit_file import parse_unit, unit_hash
from skerry.kit.clock import SystemClock
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

FOLDER = Path("/run/skerry-fence")
SCRIPT = """trap "" TERM INT HUP
while read -r now rest <"$2"; do
    echo "$now" >>"/run/skerry-fence/$1"
    sleep 0.1
done
"""
WITNESS = "/bin/sh /run/skerry-fence/witness {} /proc/uptime"
STUBBORN = f"""[Service]
ExecStart={WITNESS.format("stubborn")}
ExecStop=/bin/sleep 60
TimeoutStopSec=90
"""
PARENT = f"""[Service]
ExecStart=/bin/sh -c '{WITNESS.format("child")} & exec sleep 1000'
KillMode=process
"""
PLAIN = f"[Service]\nExecStart={WITNESS.format('plain')}\n"
CONTAINER = """[Container]
Image={image}
Volume=/run/skerry-fence:/run/skerry-fence
Volume=/proc/uptime:/uptime
Exec=sh /run/skerry-fence/witness app /uptime
"""
FENCED = ("stubborn", "child")


def record(name: str, text: str) -> UnitRecord:
    return UnitRecord(name, text, unit_hash(parse_unit(text))).wanting(DesiredState.LAUNCHED)


class Servers:
    """Answer while FOLDER/alive is there, and write down when what they answered was sent."""

    refused = ""

    def __init__(self, *assignments: Assignment) -> None:
        self._assignments = assignments

    async def messages(self) -> AsyncGenerator[Message, None]:
        while True:
            if (FOLDER / "alive").exists():
                yield Full(self._assignments, 1)
                while (FOLDER / "alive").exists():  # noqa: ASYNC110  the parent is another process
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.05)

    async def report(
        self, reports: Sequence[UnitReport], gone: Sequence[str], *, whole: bool = False
    ) -> frozenset[str]:
        return frozenset()

    async def heartbeat(self, beat: Heartbeat) -> Contact:
        sent = uptime()
        if not (FOLDER / "alive").exists():
            raise SkerryError("no server answers")
        (FOLDER / "sent").write_text(str(sent))
        return Contact(DEFAULT_TTL_S)

    async def goodbye(self) -> None: ...


async def run_agent(image: str | None) -> None:
    """The child."""
    assignments = [
        Assignment(record("skerry-stubborn.service", STUBBORN), fence=True),
        Assignment(record("skerry-parent.service", PARENT), fence=True),
        Assignment(record("skerry-plain.service", PLAIN)),
    ]
    if image:
        assignments.append(
            Assignment(record("skerry-app.container", CONTAINER.format(image=image)), fence=True)
        )
    services = await Systemd.connect()
    await Agent(Servers(*assignments), services, Path("/"), SystemClock(), "node").run()


class Bench:
    """The parent: starts agents, and looks at the witnesses."""

    def __init__(self, image: str | None) -> None:
        self.image = image
        self.fenced = (*FENCED, "app") if image else FENCED

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, __file__, "--child", *([self.image] if self.image else [])])

    def last(self, name: str) -> float:
        """The last moment at which it was seen to live."""
        try:
            return float((FOLDER / name).read_text().split()[-1])
        except (OSError, IndexError, ValueError):
            return 0.0

    def alive(self, name: str) -> bool:
        return uptime() - self.last(name) < 0.6

    def until(self, names: Sequence[str], *, alive: bool, timeout_s: float = 60) -> None:
        end = time.monotonic() + timeout_s
        while any(self.alive(name) is not alive for name in names):
            assert time.monotonic() < end, {name: self.alive(name) for name in names}
            time.sleep(0.05)

    def sent(self) -> float:
        """When the last heartbeat was sent that was answered."""
        return float((FOLDER / "sent").read_text())

    def died_in_time(self) -> str:
        """All that is fenced dies after the lease and before the TTL; the rest goes on."""
        sent = self.sent()
        time.sleep(max(0.0, sent + LEASE_S - 1.5 - uptime()))
        for name in self.fenced:
            assert self.alive(name), f"{name} died before its time"
        self.until(self.fenced, alive=False, timeout_s=20)
        ends = {name: self.last(name) - sent for name in self.fenced}
        assert all(LEASE_S - 0.5 <= end < DEFAULT_TTL_S - 0.3 for end in ends.values()), ends
        assert self.alive("plain")
        return ", ".join(f"{name} {end:.1f} s" for name, end in ends.items())


def main(image: str | None) -> int:
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "alive").touch()
    (FOLDER / "witness").write_text(SCRIPT)
    bench = Bench(image)
    everybody = (*bench.fenced, "plain")
    agent = bench.start()
    try:
        bench.until(everybody, alive=True)
        pids = main_pids()
        agent.kill()
        agent.wait()
        agent = bench.start()
        time.sleep(LEASE_S + 5)
        assert main_pids() == pids, "a restart of the agent restarted a unit"
        print("ok     a_restart_within_the_lease_restarts_nothing", flush=True)

        agent.send_signal(signal.SIGSTOP)
        print(f"ok     stopped_by_sigstop ({bench.died_in_time()})", flush=True)
        time.sleep(3)
        assert not any(map(bench.alive, bench.fenced))
        agent.send_signal(signal.SIGCONT)
        (FOLDER / "alive").unlink()
        time.sleep(2)
        (FOLDER / "alive").touch()
        bench.until(everybody, alive=True)
        print("ok     continued_it_starts_them_by_a_new_word", flush=True)

        (FOLDER / "alive").unlink()
        print(f"ok     servers_silent ({bench.died_in_time()})", flush=True)
        (FOLDER / "alive").touch()
        bench.until(everybody, alive=True)

        agent.kill()
        agent.wait()
        print(f"ok     killed_for_good ({bench.died_in_time()})", flush=True)
    except AssertionError as error:
        print(f"FAILED {error}", flush=True)
        return 1
    finally:
        agent.kill()
        agent.wait()
        clear()
    return 0


def main_pids() -> dict[str, str]:
    units = (
        "skerry-stubborn.service",
        "skerry-parent.service",
        "skerry-plain.service",
        "skerry-lease.service",
    )
    argv = ["systemctl", "show", "--value", "-p", "MainPID"]
    return {
        unit: subprocess.run([*argv, unit], capture_output=True, text=True, check=True).stdout.strip()
        for unit in units
    }


def clear() -> None:
    """Leave nothing behind."""
    subprocess.run(["systemctl", "kill", "--signal=KILL", "skerry-plain.service"], check=False)
    units = ["skerry-plain.service", "skerry-parent.service", "skerry-stubborn.service", "skerry-app.service"]
    subprocess.run(
        ["systemctl", "stop", *units, "skerry-lease.service"], check=False, stderr=subprocess.DEVNULL
    )
    subprocess.run(["systemctl", "reset-failed"], check=False)
    for folder in ("/run/systemd/system", "/run/containers/systemd", "/run/skerry/units"):
        for path in sorted(Path(folder).rglob("skerry-*"), reverse=True):
            if path.is_file():
                path.unlink()
    (Path("/run/skerry/lease")).unlink(missing_ok=True)
    subprocess.run(["systemctl", "daemon-reload"], check=False)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        asyncio.run(run_agent(sys.argv[2] if len(sys.argv) > 2 else None))
        sys.exit(0)
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else None))
