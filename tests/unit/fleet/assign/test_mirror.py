"""What the feed reads of a unit is what the scheduler reads of it."""

from __future__ import annotations

from skerry.fleet.assign.mirror import read_unit
from skerry.fleet.schedule.reading import unit_spec
from skerry.fleet.state.unit import Attachment, DesiredState, UnitRecord


def test_drop_ins_count_in_the_feed_as_in_the_scheduler() -> None:
    text = "[Service]\nMemoryMax=2M\n[X-Fleet]\nGlobal=true\n[X-Skerry]\nFence=no\n"
    more = (Attachment("10-more.conf", text),)
    record = UnitRecord("a.service", "[Service]\n", "hash", DesiredState.LOADED, drop_ins=more)
    unit = read_unit("a.service", record.encode())
    assert unit.is_global
    assert unit.spec == unit_spec(record)
    assert unit.spec.asks.memory_bytes == 2 << 20
