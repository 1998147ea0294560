"""What happens in etcd, followed by one watch of everything and told to all who watch the store.

The watch is taken up again wherever it ended, with another member if need be, so that whoever follows sees no
gap. A member that says nothing may be cut off, stopped, or have nothing to say: after some seconds of silence
another question tells which, and the watch moves on if others know more. Each revision of etcd has its batch
here, one without events where what changed is not the interface's; only who watches everything is shown it.

What lies further back than the newest batches is read from etcd by who asks for it. There, a watch from
revision n is refused only if history is forgotten beyond n, and not if it is forgotten up to n: so it
is begun one revision earlier, and what stands there is left out. Only where there is nothing new yet a watch
begins after what is known: etcd tells it of changes at once, and a watch of the past in turns of 100 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from typing import TYPE_CHECKING

import msgspec

from skerry.fleet.store.errors import CompactedError, StoreError, UnavailableError
from skerry.fleet.store.etcd_messages import RangeResponse, WatchLine
from skerry.fleet.store.etcd_transaction import NO_END, PRIVATE, Base, text
from skerry.fleet.store.feed import Feed, Page, restricted
from skerry.fleet.store.interface import Batch, Entry, Event, EventKind
from skerry.kit.wire import WireError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from skerry.fleet.store.etcd_client import EtcdClient
    from skerry.fleet.store.etcd_messages import WatchEvent, WatchResponse

RECENT_BATCHES = 1024
PAGE_BATCHES = 500
SILENCE_S = 5.0
"""How long a watch may say nothing before somebody else is asked."""

LAG_S = 2.0
"""How much longer it may take to tell what others know already."""

RETRY_S = 0.2
LONGEST_RETRY_S = 2.0

_log = logging.getLogger(__name__)


class _ForgottenError(Exception):
    """etcd does not reach back to where the watch stands; `revision` is etcd's."""

    def __init__(self, revision: int) -> None:
        super().__init__(f"forgotten up to {revision}")
        self.revision = revision


class EtcdHistory:
    """`revision` is where it begins, in our numbers."""

    def __init__(self, client: EtcdClient, base: Base, revision: int) -> None:
        self._client = client
        self._base = base
        self._revision = revision
        self._compacted = base.floor
        self._feed = Feed(revision, min(base.floor, revision), keep=RECENT_BATCHES)
        self._moved = asyncio.Event()
        self._placed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._heard = 0
        self._newest = revision
        self._closed = False

    @property
    def compacted(self) -> int:
        """The newest revision that we know to be forgotten."""
        return self._compacted

    async def start(self) -> None:
        """Return when the watch is in place; or after a while, when it comes into place as soon as it can."""
        self._task = asyncio.create_task(self._run(), name="watch of etcd")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SILENCE_S):
                await self._placed.wait()

    def follow(self, prefix: str, after: int) -> AsyncGenerator[Batch, None]:
        """See Store.watch."""
        return self._feed.follow(prefix, after, self._page)

    async def forget(self, revision: int) -> None:
        """History was forgotten up to here: tell so, once we have told of what is newer."""
        self._compacted = max(self._compacted, revision)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SILENCE_S):
                while self._revision < revision and not self._closed:
                    self._moved.clear()
                    await self._moved.wait()
        self._publish([])

    async def close(self) -> None:
        self._closed = True
        self._feed.close()
        self._moved.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        failures = 0
        while True:
            before = self._revision
            try:
                await self._follow_member()
            except _ForgottenError as forgotten:
                await self._jump(self._base.ours(forgotten.revision))
            except (WireError, StoreError) as error:
                failures = 0 if self._revision > before else failures + 1
                if failures == 1:
                    _log.info("The watch of etcd is taken up again at %d: %s", self._revision, error)
                await self._client.clock.sleep(min(RETRY_S * failures, LONGEST_RETRY_S))

    async def _follow_member(self) -> None:
        """Follow one member until it fails. Raises WireError, StoreError, _ForgottenError."""
        begin = self._revision + (self._newest <= self._revision)
        async with _watching(self._client, self._base, begin) as (url, responses):
            pump = asyncio.ensure_future(self._pump(responses, begin))
            try:
                while not pump.done():
                    heard = self._heard
                    await self._wait(pump, SILENCE_S)
                    if not pump.done() and self._heard == heard and await self._lags(pump):
                        self._client.mark_failed(url)
                        raise UnavailableError(f"{url} tells nothing of what others know")
            finally:
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)
            pump.result()

    async def _pump(self, responses: AsyncIterator[WatchResponse], begin: int) -> None:
        async for response in responses:
            self._heard += 1
            if response.created:
                self._newest = self._base.ours(response.header.revision)
                if begin > self._revision and self._newest > self._revision:
                    return  # begin again, one revision earlier
                self._placed.set()
            batches = _batches(response, self._base, self._revision)
            if batches:
                self._revision = batches[-1].revision
                self._publish(batches)

    async def _lags(self, pump: asyncio.Future[None]) -> bool:
        """Whether others know of more than we were told, even some time later."""
        try:
            found = await self._client.ask(
                "/v3/kv/range", {"key": text(PRIVATE), "count_only": True}, RangeResponse
            )
        except UnavailableError:
            return False  # nobody knows anything
        newest = self._base.ours(found.header.revision)
        if self._revision < newest:
            await self._wait(pump, LAG_S)
        return self._revision < newest

    async def _wait(self, pump: asyncio.Future[None], seconds: float) -> None:
        sleeping = asyncio.ensure_future(self._client.clock.sleep(seconds))
        try:
            await asyncio.wait((pump, sleeping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            await asyncio.gather(sleeping, return_exceptions=True)

    async def _jump(self, compacted: int) -> None:
        """We were away for too long: whoever follows is told to list again."""
        _log.warning(
            "etcd has forgotten what happened after revision %d; going on at %d", self._revision, compacted
        )
        self._compacted = max(self._compacted, compacted)
        self._revision = compacted
        self._feed.skip(compacted)
        self._moved.set()

    def _publish(self, batches: list[Batch]) -> None:
        self._feed.publish(batches, min(self._compacted, self._revision))
        self._moved.set()

    async def _page(self, prefix: str, after: int) -> Page:
        """Some of history, up to where the feed begins at most. Raises CompactedError."""
        if after < self._compacted:
            raise CompactedError(after + 1, self._compacted)
        upto = self._feed.below_recent
        failures = 0
        while not self._closed:
            try:
                return await self._read_page(prefix, after, upto)
            except _ForgottenError as forgotten:
                compacted = self._base.ours(forgotten.revision)
                self._compacted = max(self._compacted, compacted)
                raise CompactedError(after + 1, compacted) from forgotten
            except (WireError, StoreError, TimeoutError):
                failures += 1
                await self._client.clock.sleep(min(RETRY_S * failures, LONGEST_RETRY_S))
        return Page((), after)

    async def _read_page(self, prefix: str, after: int, upto: int) -> Page:
        batches: list[Batch] = []
        async with (
            asyncio.timeout(self._client.attempt_s * 2),
            _watching(self._client, self._base, after) as (_, responses),
        ):
            async for response in responses:
                batches += _batches(response, self._base, batches[-1].revision if batches else after)
                if batches and (batches[-1].revision >= upto or len(batches) >= PAGE_BATCHES):
                    break
        if not batches:
            raise UnavailableError("etcd told nothing of its history")
        shown = (restricted(batch, prefix) for batch in batches)
        return Page(tuple(batch for batch in shown if batch is not None), batches[-1].revision)


@contextlib.asynccontextmanager
async def _watching(
    client: EtcdClient, base: Base, begin: int
) -> AsyncIterator[tuple[str, AsyncIterator[WatchResponse]]]:
    """Everything from a revision on, as one member tells it."""
    question = {
        "create_request": {
            "key": text(PRIVATE),
            "range_end": text(NO_END),
            "start_revision": max(base.theirs(begin), 1),
            "prev_kv": True,
        }
    }
    async with client.stream("/v3/watch", question) as (url, stream):
        yield url, _responses(stream.lines())


async def _responses(lines: AsyncGenerator[bytes, None]) -> AsyncGenerator[WatchResponse, None]:
    async with contextlib.aclosing(lines):
        async for line in lines:
            if not line.strip():
                continue
            try:
                told = msgspec.json.decode(line, type=WatchLine, strict=False)
            except msgspec.DecodeError as error:
                raise UnavailableError(f"etcd's watch cannot be read: {error}") from error
            if told.result is None:
                said = told.error.message if told.error is not None else "nothing"
                raise UnavailableError(f"etcd ended a watch: {said}")
            if told.result.compact_revision:
                raise _ForgottenError(told.result.compact_revision)
            if told.result.canceled:
                raise UnavailableError(f"etcd ended a watch: {told.result.cancel_reason}")
            yield told.result
    raise UnavailableError("etcd ended a watch")


def _batches(response: WatchResponse, base: Base, after: int) -> list[Batch]:
    """The batches of a response with revisions above `after`. Raises _ForgottenError, UnavailableError."""
    batches: list[Batch] = []
    for theirs, events in itertools.groupby(response.events, key=lambda event: event.kv.mod_revision):
        revision = base.ours(theirs)
        if revision <= after:
            continue
        if revision != (batches[-1].revision if batches else after) + 1:
            raise UnavailableError(f"etcd told of revision {theirs} too early")
        shown = tuple(_event(event, base) for event in events if not event.kv.key.startswith(PRIVATE))
        batches.append(Batch(revision, shown))
    return batches


def _event(event: WatchEvent, base: Base) -> Event:
    previous = None if event.prev_kv is None else base.entry(event.prev_kv)
    if event.type == "DELETE":
        if previous is None:
            raise _ForgottenError(event.kv.mod_revision - 1)
        gone = Entry(event.kv.key.decode(), b"", 0, base.ours(event.kv.mod_revision), 0)
        return Event(EventKind.DELETE, gone, previous)
    if previous is None and event.kv.create_revision != event.kv.mod_revision:
        raise _ForgottenError(event.kv.mod_revision - 1)
    return Event(EventKind.PUT, base.entry(event.kv), previous)
