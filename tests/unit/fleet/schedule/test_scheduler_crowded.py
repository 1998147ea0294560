"""Clusters so large and so full that most machines refuse a unit: the pools, against asking every machine."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from skerry.fleet.schedule.choice import MOST_POOLS, Choice
from skerry.fleet.schedule.model import NodeSpec, UnitSpec
from skerry.fleet.schedule.pools import MOST_TRIED
from skerry.fleet.schedule.scheduler import Scheduler
from skerry.fleet.state.node import Liveness
from skerry.host.units.ports import parse_host_port
from skerry.host.units.requirements import Requirements

if TYPE_CHECKING:
    from skerry.fleet.schedule.ground import Unit
    from skerry.fleet.schedule.pools import Entry, Wide

NODES = 2 * MOST_TRIED


def asks(chance: random.Random) -> Requirements:
    kind = chance.randrange(6)
    if kind == 0:
        return Requirements(conflicts=("w@*",), memory_bytes=chance.randrange(40))
    if kind == 1:
        return Requirements(ports=(parse_host_port(str(chance.choice((80, 81)))),))
    if kind == 2:
        return Requirements(spread=("zone",), prefer=(("disk", "ssd"),), memory_bytes=chance.randrange(60))
    if kind == 3:
        return Requirements(metadata=(("zone", frozenset("p")),), memory_bytes=chance.randrange(70))
    if kind == 4:
        return Requirements(
            is_global=True, memory_bytes=chance.randrange(20), metadata=(("disk", frozenset({"ssd"})),)
        )
    return Requirements(memory_bytes=chance.randrange(30, 90), cpu_millis=chance.randrange(3))


class Scanning(Choice):
    """Asks every machine, each time; no pools."""

    def _best(self, unit: Unit, wide: Wide) -> Entry | None:
        return min(
            (
                (wide.rank(ground.spec), ground.load, ground.id)
                for ground in self._grounds.values()
                if wide.holds(ground.spec) and self._rules.able(unit, ground)
            ),
            default=None,
        )


@pytest.mark.parametrize("seed", range(8))
def test_pools_choose_as_whole_scans_do(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  draws examples, keeps no secret
    pooled, scanned = Scheduler(), Scheduler()
    scanned._choice = Scanning(scanned.grounds, scanned.units, scanned.rules)

    def node(number: int) -> None:
        labels = {"zone": chance.choice("pq"), "disk": chance.choice(("ssd", "hdd"))}
        liveness = Liveness.LOST if chance.random() < 0.1 else Liveness.READY
        memory = chance.choice((60, 100))
        spec = NodeSpec(f"{number:032x}", labels, liveness, memory_bytes=memory, cpu_millis=10)
        for scheduler in (pooled, scanned):
            scheduler.put_node(spec)

    for number in range(NODES):
        node(number)
    waited = 0
    for _ in range(30):
        for _ in range(15):
            name = f"{chance.choice('wx')}@{chance.randrange(200):03}.service"
            unit = UnitSpec(name, asks(chance), chance.random() < 0.85)
            for scheduler in (pooled, scanned):
                scheduler.put_unit(unit)
        if chance.random() < 0.3:
            node(chance.randrange(NODES))
        assert pooled.decide() == scanned.decide()
        waited += sum(unit.waits is not None for unit in pooled.units.values())
    assert waited
    assert any(narrow is not None for _, narrow in pooled._choice._pools)


def test_pools_are_let_go_when_there_are_too_many() -> None:
    scheduler = Scheduler()
    for number in range(3):
        scheduler.put_node(NodeSpec(f"{number:032x}", {str(n): "yes" for n in range(2 * MOST_POOLS)}))
    for number in range(2 * MOST_POOLS):
        metadata = ((str(number), frozenset({"yes"})),)
        scheduler.put_unit(UnitSpec(f"{number}.service", Requirements(metadata=metadata)))
    assert len(scheduler.decide()) == 2 * MOST_POOLS
    assert len(scheduler._choice._pools) == MOST_POOLS
