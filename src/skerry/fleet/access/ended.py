"""Who was removed, kept on each server's own disk: a store that is restored has forgotten some.

    pki/removed.json   {"version": 1, "nodes": {id: RevokedRecord, …}, "tokens": {id: expires, …}}

    store ─→ union with the file ─→ file ─→ what the store lacks is put back: refused again, on every server

The file is of one cluster, and goes with its certificates. A machine that was let in again after its removal
is in both, with the certificates that it has since; the later removal counts, and of one removal the later
story. `tokens` are people's that were seen to go; no other ever has such an id. One that is not there when
the server starts was not revoked for that: the store may be empty, and about to be restored.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec

from skerry.fleet.access.records import (
    AuditRecord,
    PersonToken,
    RevokedRecord,
    member_key,
    person_key,
    revoked_key,
)
from skerry.fleet.state.document import RecordError
from skerry.fleet.state.node import node_key, presence_key
from skerry.fleet.store.errors import StoreError
from skerry.fleet.store.interface import Delete, Put, absent, unchanged
from skerry.kit.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from skerry.fleet.access.audit import Audit
    from skerry.fleet.access.known import Known
    from skerry.fleet.store.interface import Entry, Operation, Store
    from skerry.kit.clock import Clock

FILE_NAME = "removed.json"
VERSION = 1
RETRY_S = 5.0

log = logging.getLogger("skerry.access")


class Kept(msgspec.Struct, frozen=True):
    """The file. `expires` is in seconds since 1970, 0 for never."""

    nodes: dict[str, RevokedRecord] = {}
    tokens: dict[str, float] = {}
    version: int = VERSION


def later(kept: RevokedRecord | None, stored: RevokedRecord | None) -> RevokedRecord | None:
    """Which of two records of one machine is the truth."""
    if kept is None or stored is None:
        return kept or stored
    if kept.at != stored.at:
        return max(kept, stored, key=lambda record: record.at)
    if not kept.again or kept.again[-1] in stored.again:
        return stored
    if not stored.again or stored.again[-1] in kept.again:
        return kept
    return msgspec.structs.replace(stored, again=(*kept.again, *stored.again))


def union(kept: Mapping[str, RevokedRecord], stored: Mapping[str, RevokedRecord]) -> dict[str, RevokedRecord]:
    """All that is known of removals."""
    nodes = sorted({*kept, *stored})
    return {node: found for node in nodes if (found := later(kept.get(node), stored.get(node)))}


class Ended:
    """Run `run` beside `known`. `node` is this server, which is never put out by its own list."""

    def __init__(self, path: Path, store: Store, clock: Clock, known: Known, audit: Audit, node: str) -> None:
        self._path = path
        self._store = store
        self._clock = clock
        self._known = known
        self._audit = audit
        self._node = node
        self._news = asyncio.Event()
        known.on_change(lambda _: self._news.set())

    async def run(self) -> None:
        """For as long as the server runs."""
        written = self._read()
        kept = written or Kept()
        await self._known.ready()
        held: dict[str, float] = {}
        while True:
            self._news.clear()
            people = self._known.people
            gone = kept.tokens | {token: end for token, end in held.items() if token not in people}
            gone = {token: end for token, end in gone.items() if not end or end > self._clock.now()}
            held = {token: record.expires for token, record in people.items()}
            kept = Kept(union(kept.nodes, self._known.revocations), gone)
            if kept != written and self._write(kept):
                written = kept
            try:
                for node, record in kept.nodes.items():
                    if node != self._node and self._known.revocations.get(node) != record:
                        await self._put_back(record)
                for token in gone.keys() & held.keys():
                    await self._revoke_again(token)
            except StoreError as error:
                log.debug("who was removed is not compared for now: %s", error.message)
                await self._clock.sleep(RETRY_S)
                continue
            await self._news.wait()

    async def _put_back(self, kept: RevokedRecord) -> None:
        node, key = kept.node, revoked_key(kept.node)
        entry = await self._store.get(key)
        record = later(kept, _read_entry(entry))
        if record is None or (entry is not None and record.encode() == entry.value):
            return
        then: list[Operation] = [Put(key, record.encode())]
        if not record.again:
            then += [Delete(member_key(node)), Delete(node_key(node)), Delete(presence_key(node))]
        compare = absent(key) if entry is None else unchanged(entry)
        if not (await self._store.transact([compare], then)).succeeded:
            self._news.set()
            return
        log.warning("node %s was removed before this store was restored: it is refused again", node)
        await self._tell(f"DELETE /v1/nodes/{node}", "it was removed before the store was restored")

    async def _revoke_again(self, token: str) -> None:
        entry = await self._store.get(person_key(token))
        if entry is None:
            return
        name = PersonToken.decode(entry.value).name
        if not (await self._store.transact([unchanged(entry)], [Delete(entry.key)])).succeeded:
            self._news.set()
            return
        log.warning("token %s was revoked before this store was restored: it is refused again", name)
        await self._tell(f"DELETE /v1/tokens/{token}", f"{name} was revoked before the store was restored")

    async def _tell(self, what: str, detail: str) -> None:
        await self._audit.append(AuditRecord(self._clock.now(), "daemon", "skerryd", "", what, 200, detail))

    def _read(self) -> Kept | None:
        """None where there is no file yet, or none that can be read."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Kept)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            log.error("%s cannot be read, and is begun anew: %s", self._path, error)  # noqa: TRY400
            return None

    def _write(self, kept: Kept) -> bool:
        try:
            write_atomic(self._path, msgspec.json.encode(kept), mode=0o600)
        except OSError as error:
            log.warning("who was removed cannot be kept in %s: %s", self._path, error.strerror)
            return False
        return True


def _read_entry(entry: Entry | None) -> RevokedRecord | None:
    try:
        return None if entry is None else RevokedRecord.decode(entry.value)
    except RecordError:
        return None
