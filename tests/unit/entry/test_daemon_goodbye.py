"""A machine that stops tells the servers so, until one has heard it or its time is up."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from fakes.clock import FakeClock
from skerry.entry.daemon.machine import LEAVE_AGAIN_S, Doors, Machine, Paths
from skerry.entry.daemon.settings import Settings
from skerry.entry.rest.machine import Node
from skerry.kit.http import HttpError

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


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


def test_a_machine_does_not_wait_for_ever_for_its_servers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    agent = Busy(100)
    asyncio.run(machine_of(tmp_path, agent).leave(0.05))
    assert agent.said == 0
    assert "do not know that this machine stops: no answer in time" in caplog.text
