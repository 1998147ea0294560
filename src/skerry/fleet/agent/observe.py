"""What is wanted, followed in the store: one listing, then every change, without gaps.

A record that cannot be read is neither wanted nor unwanted: what runs of it is left alone. Loss of the
store changes nothing that is known; when it is back everything is listed again.
"""

from __future__ import annotations

import logging
from contextlib import aclosing
from typing import TYPE_CHECKING

from skerry.fleet.agent.plan import Wanted, wanted_of
from skerry.fleet.state.document import RecordError
from skerry.fleet.state.unit import UNITS_PREFIX, UnitRecord
from skerry.fleet.store.errors import CompactedError, StoreError
from skerry.fleet.store.interface import EventKind
from skerry.host.units.errors import UnitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from skerry.fleet.store.interface import Store
    from skerry.kit.clock import Clock

STORE_RETRY_S = 2.0

log = logging.getLogger(__name__)


class Desired:
    """The records under units/, parsed. `known` turns true with the first listing.

    `unreadable` maps names to a sentence for each record that no one can act on.
    """

    def __init__(self, store: Store, clock: Clock, on_change: Callable[[Iterable[str]], None]) -> None:
        self._store = store
        self._clock = clock
        self._on_change = on_change
        self.known = False
        self.records: dict[str, UnitRecord] = {}
        self.wanted: dict[str, Wanted] = {}
        self.unreadable: dict[str, str] = {}

    async def follow(self) -> None:
        """Keep up with the store until cancelled, or until the store is closed."""
        while True:
            try:
                revision = await self._list()
                async with aclosing(self._store.watch(UNITS_PREFIX, revision)) as batches:
                    async for batch in batches:
                        changed = []
                        for event in batch.events:
                            name = event.entry.key.removeprefix(UNITS_PREFIX)
                            value = event.entry.value if event.kind is EventKind.PUT else None
                            self._take(name, value)
                            changed.append(name)
                        self._on_change(changed)
            except CompactedError:
                continue
            except StoreError as error:
                log.warning("the store cannot be read, units stay as they are: %s", error.message)
                await self._clock.sleep(STORE_RETRY_S)
            else:
                return

    async def _list(self) -> int:
        listing = await self._store.list(UNITS_PREFIX)
        there = {entry.key.removeprefix(UNITS_PREFIX): entry.value for entry in listing.entries}
        names = there.keys() | self.records.keys() | self.unreadable.keys()
        for name in names:
            self._take(name, there.get(name))
        self.known = True
        self._on_change(names)
        return listing.revision

    def _take(self, name: str, value: bytes | None) -> None:
        for kept in (self.records, self.wanted, self.unreadable):
            kept.pop(name, None)
        if value is None:
            return
        try:
            record = UnitRecord.decode(value)
            if record.name != name:
                raise RecordError(f"the record at {name} is about {record.name}")
            self.records[name] = record
            wanted = wanted_of(record)
            if wanted is not None:
                self.wanted[name] = wanted
        except (RecordError, UnitError) as error:
            self.unreadable[name] = error.message
            log.warning("unit %s cannot be acted on and is left as it is: %s", name, error.message)
