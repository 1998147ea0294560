"""/v1/events: every change of a unit, as Server-Sent Events, without gaps and without polling.

    event: unit               id: <revision>
    data: {"name": …, "unit": UnitView, or null where it is gone}

At first every unit comes once, unless `Last-Event-ID` (or ?after=) says where the client stands; where
history does not reach back so far everything comes again, after an event `reset`.
Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec
from starlette.routing import Route

from skerry.entry.rest.codec import RequestError
from skerry.entry.rest.openapi import described
from skerry.entry.rest.snapshot import UnitView, stored_report, unit_of_key, view
from skerry.entry.rest.streaming import Stream
from skerry.fleet.state.document import RecordError
from skerry.fleet.store.errors import CompactedError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from starlette.requests import Request
    from starlette.responses import Response

    from skerry.entry.rest.desired import Desired

PREFIX = "/skerry/v1/"


class UnitEvent(msgspec.Struct, frozen=True):
    name: str
    unit: UnitView | None


class Events:
    """The handler."""

    def __init__(self, desired: Desired) -> None:
        self._desired = desired

    def routes(self) -> list[Route]:
        return [Route("/v1/events", self.stream, methods=["GET"])]

    @described(gives=UnitEvent, media_type="text/event-stream", query={"after": "the last revision seen"})
    async def stream(self, request: Request) -> Response:
        """Every change of a unit, as Server-Sent Events."""
        said = request.headers.get("last-event-id") or request.query_params.get("after")
        if said is not None and not (said.isascii() and said.isdigit() and len(said) < 19):
            raise RequestError(400, "bad-request", f"{said!r} is not a revision")
        after = None if said is None else int(said)
        headers = {"Cache-Control": "no-store"}
        return Stream(self._events(after), media_type="text/event-stream", headers=headers)

    async def _events(self, after: int | None) -> AsyncGenerator[bytes, None]:
        while True:
            if after is None:
                now = await self._desired.snapshot()
                after = now.revision
                for name in sorted(now.units):
                    yield _event(UnitEvent(name, now.view(name, self._desired.node)), after)
            watch = self._desired.store.watch(PREFIX, after)
            try:
                async with contextlib.aclosing(watch) as batches:
                    async for batch in batches:
                        for name in dict.fromkeys(self._names(e.entry.key for e in batch.events)):
                            yield _event(await self._now(name), batch.revision)
            except CompactedError:
                after = None
                yield b"event: reset\ndata: {}\n\n"
            else:
                return

    def _names(self, keys: Iterable[str]) -> list[str]:
        found = []
        for key in keys:
            name = unit_of_key(key, self._desired.node)
            if name is not None:
                found.append(name)
        return found

    async def _now(self, name: str) -> UnitEvent:
        try:
            stored = await self._desired.get(name)
            report = await stored_report(self._desired.store, self._desired.node, name)
        except RecordError:
            return UnitEvent(name, None)
        if stored is None:
            return UnitEvent(name, None)
        return UnitEvent(name, view(stored.record, report, self._desired.node))


def _event(event: UnitEvent, revision: int) -> bytes:
    return b"event: unit\nid: %d\ndata: %b\n\n" % (revision, msgspec.json.encode(event))
