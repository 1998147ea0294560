"""skerryd as a process of its own, over a systemd in memory: `python -m fakes.daemon ROOT`.

The store, the agent, the API and the socket are the real ones, under ROOT. `Daemon` starts it for tests,
waits for READY=1 as systemd would, and ends it, also in the middle of things.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

from fakes.service_manager import FakeServices
from skerry.entry.daemon.machine import Doors, Paths
from skerry.entry.daemon.main import set_up_logging
from skerry.entry.daemon.settings import LogLevel, read_settings
from skerry.entry.daemon.wiring import run
from skerry.host.units.journal import Line
from skerry.host.units.name import parse_name
from skerry.host.units.requirements import requirements
from skerry.host.units.unit_file import parse_unit
from skerry.kit.errors import Problem, ProblemsError, SkerryError
from skerry.kit.http import Client

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping

    from skerry.host.units.interface import ServiceManager

MACHINE = "0123456789abcdef0123456789abcdef"
STARTUP_S = 30

log = logging.getLogger("skerry.fake")


def check(
    name: str,
    text: str,
    companions: Mapping[str, str] | None = None,
    *,
    file: str | None = None,
    drop_ins: Iterable[tuple[str, str]] = (),
) -> list[Problem]:
    """What can be said of a unit without systemd's and Podman's programs."""
    try:
        unit = parse_unit(text, file or name)
        found = list(requirements(unit, parse_name(name))[1])
        for drop_in, more in drop_ins:
            parse_unit(more, drop_in)
    except ProblemsError as error:
        return list(error.problems)
    except SkerryError as error:
        return [Problem(file or name, None, error.message)]
    return found


async def journal(unit: str, *, lines: int = 10, follow: bool = False) -> AsyncGenerator[Line, None]:
    """As many lines as were asked for, at most two; then, when following, one more, or silence."""
    try:
        for number in range(min(lines, 2) + follow):
            yield Line(1_000_000 * number, f"{unit} says {number}", 6, "fake", 7, "here", str(number))
        if follow and unit.startswith("silent"):
            await asyncio.get_running_loop().create_future()
    finally:
        log.info("journal of %s closed", unit)


class Daemon:
    """A running daemon; use it as a context manager."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.socket = Paths.under(root).socket
        (root / "etc").mkdir(parents=True, exist_ok=True)
        (root / "etc/machine-id").write_text(MACHINE + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def _argv(self) -> list[str]:
        return [sys.executable, "-m", "fakes.daemon", str(self.root)]

    @property
    def client(self) -> Client:
        return Client(str(self.socket), timeout_s=30)

    @property
    def environment(self) -> dict[str, str]:
        """For a `skerry` that is to speak to this daemon."""
        return {"SKERRY_API": str(self.socket)}

    def run_to_its_end(self) -> bytes:
        """For one that is going to refuse to run: what it wrote."""
        ended = subprocess.run(
            self._argv, env=_environment(), capture_output=True, timeout=STARTUP_S, check=False
        )
        return ended.stderr

    def start(self) -> Self:
        """Start it and return when it says that it is ready."""
        address = str(self.root / "notify.sock")
        Path(address).unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(address)
            listener.settimeout(STARTUP_S)
            environment = _environment() | {"NOTIFY_SOCKET": address}
            with (self.root / "daemon.log").open("ab") as log:
                self._process = subprocess.Popen(self._argv, env=environment, stderr=log)
            while b"READY=1" not in listener.recv(4096):
                pass
        return self

    def kill(self) -> None:
        """As the kernel does when memory runs out."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """As systemd does; the exit status."""
        return self._end(signal.SIGTERM)

    def hang_up(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    @property
    def log(self) -> str:
        return (self.root / "daemon.log").read_text()

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        status = self._process.wait(timeout=STARTUP_S)
        self._process = None
        return status

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.stop()


def _environment() -> dict[str, str]:
    tests = Path(__file__).parent.parent
    return {**os.environ, "PYTHONPATH": f"{tests}:{tests.parent / 'src'}"}


def main() -> None:
    root = Path(sys.argv[1])
    services = FakeServices(root)

    async def connect() -> ServiceManager:
        return services

    paths = Paths.under(root)
    set_up_logging(LogLevel.DEBUG)
    settings = read_settings(paths.settings)
    asyncio.run(run(paths, settings, Doors(services=connect, check=check, journal=journal)))


if __name__ == "__main__":
    main()
