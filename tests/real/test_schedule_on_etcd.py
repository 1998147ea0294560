"""The leader's loop over a real etcd: its limit of operations in a transaction, and its watches."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fakes.scheduling import A, B, Cluster, led
from fakes.stores import Driver, opened
from skerry.fleet.state.node import Liveness
from skerry.kit.clock import SystemClock

if TYPE_CHECKING:
    from pathlib import Path

UNITS = [f"{number:03}" for number in range(300)]


def test_hundreds_of_units_find_their_machines_and_new_ones(tmp_path: Path) -> None:
    async def story() -> None:
        clock = SystemClock()
        async with opened(Driver.ETCD, tmp_path, clock) as store:
            cluster = Cluster(store, clock)
            async with led(cluster):
                await cluster.node(A, B)
                for begin in range(0, len(UNITS), 100):
                    await cluster.put(*(f"{name}.service" for name in UNITS[begin : begin + 100]))
                await cluster.until({name: "ab"[int(name) % 2] for name in UNITS})
                await cluster.node(A, liveness=Liveness.LOST)
                await cluster.until(dict.fromkeys(UNITS, "b"))

    asyncio.run(story())
