"""The store of a cluster: etcd v3, through its JSON gateway.

The loss of a connection, of a member or of its leader is not the callers' affair: what may be asked twice is
asked again, and a change carries a receipt by which it is known whether it was made (etcd_transaction.py).
What etcd itself cannot decide, for want of a majority, is refused after some seconds (UnavailableError).

One watch of everything feeds all watchers (etcd_history.py). History is bounded as in the other drivers,
by whoever writes. Leases are etcd's own, so they outlive this process, and their times are whole seconds.

Beside the keys of the interface etcd holds the foundation (etcd_foundation.py) and

    \\0skerry/receipts/<name>/<n>  see etcd_transaction.py
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
from typing import TYPE_CHECKING, NoReturn, Self, TypeVar

from skerry.fleet.store.commands import COMPACTED_AT_ONCE, KEPT_REVISIONS
from skerry.fleet.store.errors import (
    LeaseNotFoundError,
    OutcomeUnknownError,
    StoreError,
    StoreFormatError,
    StoreFullError,
    TooLargeError,
    UnavailableError,
)
from skerry.fleet.store.etcd_client import (
    EXHAUSTED,
    NOT_FOUND,
    OUT_OF_RANGE,
    PATIENCE_S,
    PRECONDITION,
    EtcdClient,
    RefusedError,
)
from skerry.fleet.store.etcd_foundation import FOUNDATION, read_foundation
from skerry.fleet.store.etcd_history import EtcdHistory
from skerry.fleet.store.etcd_messages import (
    HeaderOnly,
    KeepAliveLine,
    LeaseResponse,
    RangeResponse,
    TxnResponse,
)
from skerry.fleet.store.etcd_receipts import Receipts
from skerry.fleet.store.etcd_transaction import (
    Base,
    Done,
    answer,
    changes,
    clears,
    request,
    span,
    text,
    where,
)
from skerry.fleet.store.interface import Lease, Listing, Operation, Put, Result
from skerry.fleet.store.leases import check_ttl
from skerry.fleet.store.transaction import MAX_LEASE, Transaction, decide

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Callable, Sequence

    from skerry.fleet.store.interface import Batch, Compare, Entry
    from skerry.kit.clock import Clock

RECEIPTS = FOUNDATION + b"/receipts/"
PAGE_KEYS = 2000
LONGEST_TTL_S = 9_000_000_000
"""etcd's own limit."""

T = TypeVar("T")


class EtcdStore:
    """Implements skerry.fleet.store.interface.Store; made by `open`. Used from one event loop."""

    def __init__(
        self,
        client: EtcdClient,
        base: Base,
        revision: int,
        *,
        name: str,
        keep: int,
        lease_ids: Callable[[], int] | None,
    ) -> None:
        self._client = client
        self._base = base
        self._keep = keep
        self._lease_ids = lease_ids or _random_lease
        self._history = EtcdHistory(client, base, revision)
        self._receipts = Receipts(RECEIPTS + name.encode() + b"/", client.clock)
        self._closed = False

    @classmethod
    async def open(
        cls,
        endpoints: Sequence[str],
        *,
        name: str,
        tls: Callable[[], ssl.SSLContext] | None = None,
        clock: Clock,
        keep: int = KEPT_REVISIONS,
        patience_s: float = PATIENCE_S,
        lease_ids: Callable[[], int] | None = None,
    ) -> Self:
        """Open the store that was founded (`found`) in the etcd behind `endpoints`, the nearest first.

        `name` is this process's among the servers, its node id. Raises UnavailableError, StoreFormatError.
        """
        client = EtcdClient(endpoints, tls=tls, clock=clock, patience_s=patience_s)
        try:
            base, revision = await read_foundation(client)
            if base is None:
                raise StoreFormatError(
                    "this etcd holds no store of Skerry",
                    hint="where a restore was cut short, `skerry cluster restore` the same snapshot again",
                )
            store = cls(client, base, base.ours(revision), name=name, keep=keep, lease_ids=lease_ids)
            await store._find_old_receipts()
        except BaseException:
            client.close()
            raise
        await store._history.start()
        return store

    @property
    def client(self) -> EtcdClient:
        """For who looks after etcd itself, and to change the endpoints."""
        return self._client

    async def get(self, key: str) -> Entry | None:
        found = await self._ask("/v3/kv/range", {"key": text(key.encode())}, RangeResponse)
        return self._base.entry(found.kvs[0]) if found.kvs else None

    async def list(self, prefix: str) -> Listing:
        while True:
            try:
                return await self._list(prefix)
            except RefusedError as refused:
                # Compacted between two pages: begin anew.
                if refused.code != OUT_OF_RANGE:
                    raise

    async def transact(
        self, compares: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation] = ()
    ) -> Result:
        transaction = Transaction(tuple(compares), tuple(then), tuple(otherwise))
        self._check_open()
        receipt = None
        cleared: list[bytes] = []
        if changes(transaction):
            receipt = self._receipts.fresh()
            cleared = self._receipts.to_clear()
        try:
            response, perhaps = await self._tell(
                "/v3/kv/txn",
                lambda again: request(transaction, self._base, receipt, again=again, cleared=cleared),
                TxnResponse,
                harmless=receipt is None,
            )
        except RefusedError as refused:
            self._receipts.put_back(cleared)
            await self._refuse(refused, transaction)
        except BaseException:
            self._receipts.put_back(cleared)
            if receipt is not None:
                self._receipts.kept(receipt, late=True)
            raise
        result = answer(response, transaction, self._base, with_receipt=receipt is not None)
        if receipt is not None:
            self._receipts.kept(receipt, late=perhaps)
        if isinstance(result, Done):
            self._receipts.put_back(cleared)
            return await self._recalled(result, transaction)
        if not clears(transaction, succeeded=result.succeeded):
            self._receipts.put_back(cleared)
        await self._bound(result.revision)
        return result

    def watch(self, prefix: str, after: int) -> AsyncGenerator[Batch, None]:
        return self._history.follow(prefix, after)

    async def grant(self, ttl_s: float) -> Lease:
        seconds = min(math.ceil(check_ttl(ttl_s)), LONGEST_TTL_S)
        lease = self._lease_ids()
        question = {"ID": lease, "TTL": seconds}
        try:
            granted, _ = await self._tell("/v3/lease/grant", lambda _: question, LeaseResponse)
        except RefusedError as refused:
            if refused.code != PRECONDITION:
                raise
            return Lease(lease, seconds)  # an earlier attempt was heard: ids are not guessed twice
        return Lease(lease, granted.ttl_s)

    async def keep_alive(self, lease: int) -> Lease:
        self._check_lease(lease)
        line = await self._ask("/v3/lease/keepalive", {"ID": lease}, KeepAliveLine, urgent=True)
        if line.result is None:
            raise UnavailableError("etcd did not keep a lease alive", hint=None)
        if line.result.ttl_s <= 0:
            raise _no_lease(lease)
        return Lease(lease, line.result.ttl_s)

    async def revoke(self, lease: int) -> None:
        self._check_lease(lease)
        heard = False

        def question(again: bool) -> object:
            nonlocal heard
            heard = again
            return {"ID": lease}

        try:
            done, _ = await self._tell("/v3/lease/revoke", question, HeaderOnly)
        except RefusedError as refused:
            if refused.code != NOT_FOUND:
                raise
            if not heard:
                raise _no_lease(lease) from refused
            return
        await self._bound(self._base.ours(done.header.revision))

    async def time_to_live_s(self, lease: int) -> float:
        self._check_lease(lease)
        left = await self._ask("/v3/lease/timetolive", {"ID": lease}, LeaseResponse)
        if left.ttl_s < 0:
            raise _no_lease(lease)
        return left.ttl_s

    async def compact(self, revision: int) -> None:
        self._check_open()
        if revision <= max(self._history.compacted, self._base.floor):
            return
        try:
            await self._ask("/v3/kv/compaction", {"revision": self._base.theirs(revision)}, HeaderOnly)
        except RefusedError as refused:
            if refused.code != OUT_OF_RANGE:
                raise
            if "future" in refused.said:
                _, newest = await read_foundation(self._client)
                raise ValueError(
                    f"revision {revision} is yet to come; the newest is {self._base.ours(newest)}"
                ) from refused
            # else: somebody has compacted further
        await self._history.forget(revision)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self._history.close()
        self._client.close()
        await asyncio.sleep(0)  # connections are closed in the loop's next turn

    async def _list(self, prefix: str) -> Listing:
        question = span(prefix) | {"limit": PAGE_KEYS}
        page = await self._ask("/v3/kv/range", question, RangeResponse)
        revision = page.header.revision
        entries = [self._base.entry(kv) for kv in page.kvs]
        while page.more:
            rest = {"key": text(page.kvs[-1].key + b"\0"), "revision": revision}
            page = await self._ask("/v3/kv/range", question | rest, RangeResponse)
            entries += [self._base.entry(kv) for kv in page.kvs]
        return Listing(self._base.ours(revision), tuple(entries))

    async def _bound(self, revision: int) -> None:
        """Keep history from growing, as commands.bound_history does."""
        if revision - self._history.compacted >= self._keep + min(self._keep, COMPACTED_AT_ONCE):
            with contextlib.suppress(UnavailableError):  # another turn will do
                await self.compact(revision - self._keep)

    async def _recalled(self, done: Done, transaction: Transaction) -> Result:
        """The result of a transaction whose answer was lost."""
        operations = transaction.then if done.succeeded else transaction.otherwise
        revision = self._base.ours(done.revision)
        if not operations:
            return Result(done.succeeded, revision, ())
        view = _Past()
        try:
            for operation in operations:
                view.entries |= await self._before(operation, done.revision - 1)
        except RefusedError as refused:
            raise OutcomeUnknownError(
                "the change was made, but what stood before it is forgotten already", hint="look again"
            ) from refused
        return Result(done.succeeded, revision, decide(view, Transaction((), operations), revision).found)

    async def _before(self, operation: Operation, revision: int) -> dict[str, Entry]:
        found = await self._ask("/v3/kv/range", where(operation) | {"revision": revision}, RangeResponse)
        entries = (self._base.entry(kv) for kv in found.kvs)
        return {entry.key: entry for entry in entries}

    async def _refuse(self, refused: RefusedError, transaction: Transaction) -> NoReturn:
        if refused.code == NOT_FOUND:
            for put in (*transaction.then, *transaction.otherwise):
                if isinstance(put, Put) and put.lease and not await self._has_lease(put.lease):
                    raise LeaseNotFoundError(
                        f"there is no lease {put.lease} to put {put.key!r} under"
                    ) from refused
            raise LeaseNotFoundError("there is no such lease any more") from refused
        if refused.code == EXHAUSTED:
            raise StoreFullError(
                "the servers' etcd is full: it has reached its quota and takes no more",
                hint="remove what is not needed: a minute or two later it takes changes again",
            ) from refused
        if "too large" in refused.said or "too many operations" in refused.said:
            raise TooLargeError(f"etcd does not take a change of this size: {refused.said}") from refused
        raise refused

    async def _has_lease(self, lease: int) -> bool:
        try:
            await self.time_to_live_s(lease)
        except LeaseNotFoundError:
            return False
        return True

    async def _find_old_receipts(self) -> None:
        """Those of this name from before: nobody waits for them any more."""
        prefix = self._receipts.prefix
        question = {"key": text(prefix), "range_end": text(prefix[:-1] + b"0"), "keys_only": True}
        found = await self._client.ask("/v3/kv/range", question, RangeResponse)
        for kv in found.kvs:
            self._receipts.kept(kv.key, late=True)

    async def _ask(self, path: str, question: object, kind: type[T], *, urgent: bool = False) -> T:
        self._check_open()
        return await self._client.ask(path, question, kind, urgent=urgent)

    async def _tell(
        self, path: str, question: Callable[[bool], object], kind: type[T], *, harmless: bool = False
    ) -> tuple[T, bool]:
        self._check_open()
        return await self._client.tell(path, question, kind, harmless=harmless)

    def _check_lease(self, lease: int) -> None:
        self._check_open()
        if not 0 < lease < MAX_LEASE:
            raise _no_lease(lease)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")


class _Past:
    """transaction.View of what stood before a transaction that etcd took; its leases were there then."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def get(self, key: str) -> Entry | None:
        return self.entries.get(key)

    def scan(self, prefix: str) -> Sequence[Entry]:
        return [entry for key, entry in sorted(self.entries.items()) if key.startswith(prefix)]

    def has_lease(self, lease: int) -> bool:
        return True


def _random_lease() -> int:
    return secrets.randbelow(2**62) + 1


def _no_lease(lease: int) -> LeaseNotFoundError:
    return LeaseNotFoundError(f"there is no lease {lease}")
