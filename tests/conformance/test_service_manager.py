"""The conformance suite of service managers, over the fake and, as root beside a systemd, the real one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from conformance.service_manager_cases import CASES, Bench, run_case
from fakes.service_manager import FakeServices
from skerry.host.units.systemd import Systemd

REAL = (
    os.geteuid() == 0
    and Path("/run/systemd/private").exists()
    and Path("/run/dbus/system_bus_socket").exists()
)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_fake(case, tmp_path: Path) -> None:
    bench = Bench(FakeServices(tmp_path), tmp_path / "run/systemd/system")
    asyncio.run(run_case(case, bench))


@pytest.mark.skipif(not REAL, reason="needs root and a running systemd with a system bus")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_systemd(case) -> None:
    async def scenario() -> None:
        await run_case(case, Bench(await Systemd.connect(), Path("/run/systemd/system")))

    asyncio.run(scenario())
