"""A store moved into a new etcd: what stands, its leases, and the newest history, with its revisions.

    picture at H     in as few transactions as it takes       these revisions lie at H and just below
    H+1 … R          each change of the source as one         etcd's revision + offset is the source's
    foundation       now it is a store                        (etcd_foundation.py)

So whoever follows the store goes on where they were: watchers, and clients of etcd v2 with their indexes.
H is where the history of the source begins, or 1,000 revisions back, which is what etcd v2 kept. Nodes of the
v2 key space that stood at H are told their indexes in so many words, because their entries are new.

Half a transfer is none: without its foundation an etcd is emptied and filled anew.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from skerry.fleet.cluster.errors import EtcdError
from skerry.fleet.keys.nodes import NODES, ROOT, settled
from skerry.fleet.store.errors import CompactedError, LeaseNotFoundError
from skerry.fleet.store.etcd import PAGE_KEYS
from skerry.fleet.store.etcd_foundation import found, read_foundation
from skerry.fleet.store.etcd_messages import LeaseResponse, RangeResponse, TxnResponse
from skerry.fleet.store.etcd_transaction import PRIVATE, Base, span, text
from skerry.fleet.store.interface import Batch, Entry, EventKind
from skerry.fleet.store.transaction import MAX_BYTES, MAX_OPERATIONS
from skerry.kit.progress import Phase, Progress, silent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from skerry.fleet.store.etcd_client import EtcdClient
    from skerry.fleet.store.etcd_transaction import Json
    from skerry.fleet.store.interface import Store
    from skerry.kit.progress import Reporter

KEPT_HISTORY = 1000
CHUNK_OPERATIONS = 1000
CHUNK_BYTES = 1024 * 1024
SURVIVORS_LEASE_S = 60.0
STEP = "copy the store"

Puts: TypeAlias = "list[dict[str, Json]]"


@dataclass(frozen=True, slots=True)
class Picture:
    """A store as of one revision; `leases` are the seconds that each has left."""

    revision: int
    entries: tuple[Entry, ...]
    leases: dict[int, float]


async def take_picture(store: Store) -> Picture:
    """All that stands now."""
    listing = await store.list("")
    leases = {}
    for lease in sorted({entry.lease for entry in listing.entries if entry.lease}):
        with contextlib.suppress(LeaseNotFoundError):  # its keys are about to go
            leases[lease] = await store.time_to_live_s(lease)
    return Picture(listing.revision, listing.entries, leases)


async def survivors_picture(client: EtcdClient) -> Picture:
    """What one member holds, though there is no majority to ask; `client` is leaderless.

    What was under a lease gets a little time anew. Raises EtcdError, UnavailableError.
    """
    base, _ = await read_foundation(client, serializable=True)
    if base is None:
        raise EtcdError("the member here holds no store of Skerry")
    question = span("") | {"serializable": True, "limit": PAGE_KEYS}
    page = await client.ask("/v3/kv/range", question, RangeResponse)
    revision = page.header.revision
    entries = [base.entry(kv) for kv in page.kvs]
    while page.more:
        rest = {"key": text(page.kvs[-1].key + b"\0"), "revision": revision}
        page = await client.ask("/v3/kv/range", question | rest, RangeResponse)
        entries += [base.entry(kv) for kv in page.kvs]
    leases = dict.fromkeys((entry.lease for entry in entries if entry.lease), SURVIVORS_LEASE_S)
    return Picture(base.ours(revision), tuple(entries), leases)


async def newest_history(store: Store, upto: int) -> list[Batch]:
    """The changes before and up to a revision, as far as they are kept, at most KEPT_HISTORY."""
    after = max(upto - KEPT_HISTORY, 0)
    while after < upto:
        batches: list[Batch] = []
        try:
            async with contextlib.aclosing(store.watch("", after)) as following:
                async for batch in following:
                    batches.append(batch)
                    if batch.revision >= upto:
                        break
        except CompactedError as error:
            after = error.compacted_revision
            continue
        return _from_the_last_that_is_too_large(batches, upto)
    return []


def before(picture: Picture, batches: Sequence[Batch]) -> Picture:
    """The picture as it was before the batches that led to it. Pure."""
    if not batches:
        return picture
    entries = {entry.key: entry for entry in picture.entries}
    for batch in reversed(batches):
        for event in reversed(batch.events):
            if event.previous is None:
                entries.pop(event.entry.key, None)
            else:
                entries[event.entry.key] = event.previous
    held = tuple(entries[key] for key in sorted(entries))
    return Picture(batches[0].revision - 1, held, picture.leases)


async def transfer(
    source: Store,
    client: EtcdClient,
    freeze: Callable[[], Awaitable[None]],
    *,
    report: Reporter = silent,
) -> int:
    """Copy a live store into an empty etcd; the revision of the source that it stands for now.

    `freeze` is called when all but the last changes are copied; when it returns, the source changes no
    more. Raises EtcdError, StoreError.
    """
    now = await take_picture(source)
    batches = await newest_history(source, now.revision)
    base = await put_picture(client, before(now, batches), report=report)
    replay = _Replay(client, base, now.leases, report)
    for batch in batches:
        await replay.put(batch)
    await freeze()
    last = (await source.list(".")).revision
    if last > now.revision:
        async with contextlib.aclosing(source.watch("", now.revision)) as following:
            async for batch in following:
                await replay.put(batch)
                if batch.revision >= last:
                    break
        await replay.grant_new(await take_picture(source))
    await found(client, base)
    report(Progress(STEP, Phase.DONE, note=f"revision {last}"))
    return last


async def put_picture(
    client: EtcdClient, picture: Picture, *, beyond: int = 0, report: Reporter = silent
) -> Base:
    """Fill an empty etcd; where our revisions are to begin in it, for `found`.

    `beyond` leaves room above the picture's revision, for changes that were made after it and are lost.
    """
    for lease, left_s in picture.leases.items():
        await _grant(client, lease, left_s)
    chunks = list(_chunks(picture.entries, picture.leases))
    report(Progress(STEP, Phase.STARTED, 0, len(picture.entries), "entries"))
    done = 0
    for chunk in chunks:
        await client.ask("/v3/kv/txn", {"success": chunk}, TxnResponse)
        done += len(chunk)
        report(Progress(STEP, Phase.ADVANCED, done, len(picture.entries), "entries"))
    revision = await _revision(client)
    # Each entry's revision must be above 0, however many transactions it took.
    floor = max(picture.revision + beyond, len(chunks))
    return Base(revision - floor, floor)


class _Replay:
    """Changes of the source made again, one for one."""

    def __init__(self, client: EtcdClient, base: Base, leases: dict[int, float], report: Reporter) -> None:
        self._client = client
        self._leases = leases
        self._report = report
        self._expected = base.theirs(base.floor)

    async def put(self, batch: Batch) -> None:
        self._expected += 1
        operations: Puts = []
        for event in batch.events:
            if event.kind is EventKind.DELETE:
                operations.append({"request_delete_range": {"key": text(event.entry.key.encode())}})
            else:
                operations.append(_put(event.entry, event.entry.value, self._leases))
        done = await self._client.ask("/v3/kv/txn", {"success": operations}, TxnResponse)
        if done.header.revision != self._expected:
            raise EtcdError(
                "a change was copied twice, because an answer of etcd was lost", hint="do it again"
            )
        self._report(Progress(STEP, Phase.ADVANCED, note=f"revision {batch.revision}"))

    async def grant_new(self, picture: Picture) -> None:
        """Leases that came while we copied: their entries are put under them."""
        for lease in picture.leases.keys() - self._leases.keys():
            await _grant(self._client, lease, picture.leases[lease])
            attached = {lease: 0.0}
            for entry in picture.entries:
                if entry.lease == lease:
                    await self._client.ask(
                        "/v3/kv/txn", {"success": [_put(entry, entry.value, attached)]}, TxnResponse
                    )


async def _grant(client: EtcdClient, lease: int, left_s: float) -> None:
    await client.ask("/v3/lease/grant", {"ID": lease, "TTL": max(math.ceil(left_s), 1)}, LeaseResponse)


async def _revision(client: EtcdClient) -> int:
    found_now = await client.ask("/v3/kv/range", {"key": text(PRIVATE), "count_only": True}, RangeResponse)
    return found_now.header.revision


def _chunks(entries: Iterable[Entry], leases: dict[int, float]) -> Iterator[Puts]:
    chunk: Puts = []
    size_bytes = 0
    for entry in entries:
        value = settled(entry) if entry.key.startswith(NODES + ROOT) else entry.value
        entry_bytes = len(entry.key) + len(value)
        if chunk and (len(chunk) >= CHUNK_OPERATIONS or size_bytes + entry_bytes > CHUNK_BYTES):
            yield chunk
            chunk, size_bytes = [], 0
        chunk.append(_put(entry, value, leases))
        size_bytes += entry_bytes
    if chunk:
        yield chunk


def _put(entry: Entry, value: bytes, leases: dict[int, float]) -> dict[str, Json]:
    words: dict[str, Json] = {"key": text(entry.key.encode()), "value": text(value)}
    return {"request_put": words | {"lease": entry.lease} if entry.lease in leases else words}


def _from_the_last_that_is_too_large(batches: list[Batch], upto: int) -> list[Batch]:
    """History behind a change that etcd would not take as one is left out."""
    for place in range(len(batches) - 1, -1, -1):
        events = batches[place].events
        if len(events) > MAX_OPERATIONS or sum(len(e.entry.value) for e in events) > MAX_BYTES:
            return batches[place + 1 :]
    return [batch for batch in batches if batch.revision <= upto]
