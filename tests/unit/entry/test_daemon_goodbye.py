"""A machine that stops tells the servers so, until one has heard it or its time is up."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from fakes.clock import FakeClock, settle
from fakes.service_manager import FakeChanges, FakeServices
from fakes.source import FakeSource
from skerry.entry.daemon.machine import LEAVE_AGAIN_S, Doors, Machine, Paths
from skerry.entry.daemon.settings import Settings
from skerry.entry.rest.machine import Node
from skerry.fleet.state.node import Role
from skerry.host.units.errors import ServiceManagerError
from skerry.kit.http import HttpError

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from skerry.host.units.interface import ServiceManager, UnitState


class Busy:
    """An agent whose servers are busy, so many times."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.said = 0

    async def leave(self) -> None:
        if self.left:
            self.left -= 1
            raise HttpError("no answer in time")
        self.said += 1


def machine_of(root: Path, agent: Busy) -> Machine:
    doors = Doors(clock=FakeClock())
    return Machine(Paths.under(root), Settings(), doors, Node("5" * 32), agents=[agent])  # type: ignore[list-item]


def test_goodbye_is_said_again_where_no_server_heard_it(tmp_path: Path) -> None:
    async def story() -> None:
        agent = Busy(2)
        machine = machine_of(tmp_path, agent)
        leaving = asyncio.create_task(machine.leave(60))
        assert isinstance(machine.clock, FakeClock)
        await machine.clock.advance(3 * LEAVE_AGAIN_S)
        await leaving
        assert agent.said == 1

    asyncio.run(story())


class Deaf(FakeChanges):
    """Of a bus that goes away."""

    async def __anext__(self) -> UnitState:
        raise ServiceManagerError("the bus went away")


class BusGoes(FakeServices):
    def changes(self, names: frozenset[str]) -> FakeChanges:
        stream = Deaf(self)
        self._streams.append(stream)
        return stream


def test_it_is_said_though_the_bus_went_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        source = FakeSource()

        async def connect() -> ServiceManager:
            return BusGoes(tmp_path)

        doors = Doors(services=connect, clock=FakeClock())
        machine = Machine(Paths.under(tmp_path), Settings(), doors, Node("5" * 32))
        running = asyncio.create_task(machine.run_agent(source, Role.AGENT))
        await settle()
        assert "the bus went away; trying again" in caplog.text
        await machine.leave(60)
        assert source.left
        running.cancel()
        await asyncio.wait([running])
        assert machine.agents == []

    asyncio.run(story())


def test_a_machine_does_not_wait_for_ever_for_its_servers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    agent = Busy(100)
    asyncio.run(machine_of(tmp_path, agent).leave(0.05))
    assert agent.said == 0
    assert "do not know that this machine stops: no answer in time" in caplog.text
