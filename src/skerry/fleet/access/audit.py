"""The audit log: who asked for which change, from where, and what became of it; bounded, without secrets.

    /skerry/v1/audit/changes/<id>   units, nodes, tokens, the cluster: in the store before the answer is sent
    /skerry/v1/audit/keys/<id>      /v2/keys: gathered for a second, for programs write there all the time
    <id> = microseconds since 1970 in 16 hexadecimal digits, so that names sort by time, and 4 of chance

Each series keeps its newest records; concurrent ones share a transaction. While the store takes nothing, so
many wait and no more; how many were dropped beyond that stands in the log afterwards. Refusals of people
nobody knows are not written here, where a stranger could push out what matters, but to the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from skerry.fleet.access.records import AUDIT_PREFIX, AuditRecord
from skerry.fleet.state.document import RecordError
from skerry.fleet.store.errors import StoreError
from skerry.fleet.store.interface import Delete, Put

if TYPE_CHECKING:
    from skerry.fleet.store.interface import Operation, Store
    from skerry.kit.clock import Clock

log = logging.getLogger("skerry.access")

BATCH = 100  # etcd takes 128 operations a transaction
GATHER_S = 1.0
LAST_S = 2.0
MOST_WAITING = 10_000


class Series(enum.StrEnum):
    CHANGES = "changes"
    KEYS = "keys"


KEPT = {Series.CHANGES: 10_000, Series.KEYS: 2_000}


@dataclass(slots=True, eq=False)
class _Waiting:
    put: Put
    written: bool = False
    dropped: bool = False
    lost: int = 0  # of the record that says how many were dropped


@dataclass(slots=True)
class _State:
    keep: int
    waiting: list[_Waiting] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    dropped: int = 0  # not said in the log yet
    held: int | None = None  # how many are in the store, as far as this server knows


class Audit:
    """Over one store; run `run` for what is gathered."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        keep: dict[Series, int] | None = None,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._store = store
        self._clock = clock
        self._most_waiting = most_waiting
        self._series = {series: _State((keep or KEPT)[series]) for series in Series}
        self._last = 0
        self._gathered = asyncio.Event()

    async def append(self, record: AuditRecord, series: Series = Series.CHANGES) -> None:
        """Write a record; it is in the store on return. Raises StoreError: it comes later, or is dropped."""
        state = self._series[series]
        mine = self._wait(record, series)
        try:
            async with state.lock:
                while not mine.written:
                    if mine.dropped:
                        raise StoreError("too much waits for the audit log")
                    await self._write(series, state)
        except StoreError:
            self._gathered.set()
            raise

    def gather(self, record: AuditRecord, series: Series = Series.KEYS) -> None:
        """Write a record within a second or so; a flood loses its oldest."""
        self._wait(record, series)
        self._gathered.set()

    async def run(self) -> None:
        """Write what was gathered, for as long as this runs, and once more when it ends."""
        try:
            while True:
                await self._gathered.wait()
                await self._clock.sleep(GATHER_S)
                self._gathered.clear()
                await self.flush()
        finally:
            with contextlib.suppress(TimeoutError):  # of a store without a majority: it would be long
                async with asyncio.timeout(LAST_S):
                    await asyncio.shield(self.flush())

    async def flush(self) -> None:
        """Write what was gathered; what the store does not take is kept for the next time."""
        for series, state in self._series.items():
            async with state.lock:
                try:
                    while state.waiting:
                        await self._write(series, state)
                except StoreError as error:
                    self._gathered.set()
                    log.warning("the audit log cannot be written for now: %s", error.message)

    async def newest(
        self, series: Series = Series.CHANGES, *, limit: int = 100, before: str | None = None
    ) -> list[tuple[str, AuditRecord]]:
        """Ids and records, the newest first, without unreadable ones; `before` an id: the next page."""
        prefix = f"{AUDIT_PREFIX}{series}/"
        found: list[tuple[str, AuditRecord]] = []
        for entry in reversed((await self._store.list(prefix)).entries):
            name = entry.key.removeprefix(prefix)
            if before is not None and name >= before:
                continue
            try:
                found.append((name, AuditRecord.decode(entry.value)))
            except RecordError:
                continue
            if len(found) == limit:
                break
        return found

    def _key(self, record: AuditRecord, series: Series) -> str:
        self._last = max(int(record.at * 1_000_000), self._last + 1)
        return f"{AUDIT_PREFIX}{series}/{self._last:016x}-{secrets.token_hex(2)}"

    def _wait(self, record: AuditRecord, series: Series) -> _Waiting:
        mine = _Waiting(Put(self._key(record, series), record.encode()))
        state = self._series[series]
        state.waiting.append(mine)
        self._drop(state)
        return mine

    def _drop(self, state: _State) -> None:
        """Keep what waits within its bound, without the oldest."""
        for old in state.waiting[: -self._most_waiting]:
            old.dropped = True
            state.dropped += old.lost or 1
        del state.waiting[: -self._most_waiting]

    def _lost(self, series: Series, count: int) -> _Waiting:
        what, detail = "AUDIT", f"{count} entries were dropped: more waited than are kept"
        record = AuditRecord(self._clock.now(), "daemon", "skerryd", "", what, 507, detail)
        return _Waiting(Put(self._key(record, series), record.encode()), lost=count)

    async def _write(self, series: Series, state: _State) -> None:
        if state.dropped:
            state.waiting.insert(0, self._lost(series, state.dropped))
            state.dropped = 0
        batch, later = state.waiting[:BATCH], state.waiting[BATCH:]
        state.waiting = later
        try:
            await self._store.transact([], [one.put for one in batch])
        except BaseException:
            # Whoever waits for one of these tries it again; the key is the same, so nothing is twice.
            state.waiting = batch + state.waiting
            self._drop(state)
            raise
        for one in batch:
            one.written = True
            if one.lost:
                log.warning("%d entries of the audit log (%s) were dropped", one.lost, series)
        if state.held is not None:
            state.held += len(batch)
        if state.held is None or state.held > state.keep + state.keep // 10:
            state.held = await self._bound(series, state.keep)

    async def _bound(self, series: Series, keep: int) -> int:
        entries = (await self._store.list(f"{AUDIT_PREFIX}{series}/")).entries
        old = entries[: max(0, len(entries) - keep)]
        for start in range(0, len(old), BATCH):
            gone: list[Operation] = [Delete(entry.key) for entry in old[start : start + BATCH]]
            await self._store.transact([], gone)
        return len(entries) - len(old)
