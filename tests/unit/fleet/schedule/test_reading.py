"""Records as the scheduler's values."""

from __future__ import annotations

import asyncio

import pytest

from fakes.clock import FakeClock
from skerry.fleet.schedule.model import NodeSpec, UnitSpec
from skerry.fleet.schedule.reading import UnitReader, node_spec, read_world, unit_spec
from skerry.fleet.state.node import Facts, Liveness, NodeRecord, PresenceRecord, presence_key
from skerry.fleet.state.placement import PlacementRecord
from skerry.fleet.state.unit import Attachment, DesiredState, UnitRecord, unit_key
from skerry.fleet.store.interface import Put
from skerry.fleet.store.memory import MemoryStore
from skerry.host.units.ports import parse_host_port
from skerry.host.units.requirements import Requirements

TEXT = "[Service]\nExecStart=/bin/true\nMemoryMax=1M\n[X-Fleet]\nConflicts=%p@*\n"
NODE = "a" * 32


def record(
    name: str, text: str = TEXT, desired: DesiredState = DesiredState.LAUNCHED, **more: object
) -> UnitRecord:
    return UnitRecord(name, text, "hash", desired, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "desired", "active"),
    [
        ("web@1.service", DesiredState.LAUNCHED, True),
        ("web@1.service", DesiredState.LOADED, True),
        ("web@1.service", DesiredState.INACTIVE, False),
        ("web@.service", DesiredState.LAUNCHED, False),
        ("web.service", DesiredState.LAUNCHED, True),
    ],
)
def test_what_is_active(name: str, desired: DesiredState, active: bool) -> None:
    assert unit_spec(record(name, desired=desired)).active is active


def test_a_unit_with_specifiers_is_read_for_each_name() -> None:
    reader = UnitReader()
    text = "[X-Skerry]\nHostPort=80%i\n"
    found = [reader.spec(record(f"web@{n}.service", text)).asks.ports for n in (1, 2)]
    assert found == [(parse_host_port("801"),), (parse_host_port("802"),)]


def test_instances_share_what_they_ask() -> None:
    reader = UnitReader()
    one, other = (reader.spec(record(f"web@{n}.service", "[Service]\nMemoryMax=1M\n")) for n in (1, 2))
    assert one.asks == Requirements(memory_bytes=1 << 20)
    assert one.asks is other.asks


def test_a_drop_in_counts_and_comes_last() -> None:
    more = (Attachment("10-more.conf", "[Service]\nMemoryMax=2M\n"),)
    assert unit_spec(record("web.service", drop_ins=more)).asks.memory_bytes == 2 << 20


def test_a_text_that_cannot_be_read_asks_for_nothing() -> None:
    assert unit_spec(record("web.service", "nonsense")) == UnitSpec("web.service")


def test_a_machine() -> None:
    presence = PresenceRecord(Facts(metadata={"a": "1"}, cpus=2, memory_bytes=5), Liveness.READY, 0.0)
    assert node_spec(NODE, NodeRecord(cordoned=True), presence) == NodeSpec(
        NODE, {"a": "1"}, cordoned=True, memory_bytes=5, cpu_millis=2000
    )
    assert node_spec(NODE, NodeRecord(), None).liveness is None


def test_the_whole_world() -> None:
    async def story() -> None:
        store = MemoryStore(clock=FakeClock())
        newer = record("newer.service").encode().replace(b'"version":1', b'"version":99')
        await store.transact(
            (),
            [
                Put(unit_key("web.service"), record("web.service").encode()),
                Put(unit_key("newer.service"), newer),
                Put(
                    presence_key(NODE),
                    PresenceRecord(Facts(memory_bytes=1 << 20), Liveness.READY, 0.0).encode(),
                ),
                *(
                    Put(p.key, p.encode())
                    for p in (PlacementRecord(u, NODE) for u in ("web.service", "newer.service"))
                ),
            ],
        )
        world = await read_world(store)
        assert list(world.units) == ["web.service"]
        assert list(world.grounds[NODE].units) == ["web.service"]
        assert world.decide() == ()
        await store.close()

    asyncio.run(story())
