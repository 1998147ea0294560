"""/v1/events: every change of a unit or a machine, as Server-Sent Events, without gaps and without polling.

    event: unit               id: <revision>
    data: {"name": …, "unit": UnitView, or null where it is gone}
    event: node               id: <revision>
    data: {"id": …, "node": NodeView, or null where it is gone}

At first everything comes once, unless `Last-Event-ID` (or ?after=) says where the client stands; where
history does not reach back so far everything comes again, after an event `reset`. An event shows its thing
as it is when it is sent, so that a client which reads on slowly skips what is no longer so.
Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec
from starlette.routing import Route

from skerry.entry.rest.codec import RequestError
from skerry.entry.rest.mirror import PREFIX, unit_or_node
from skerry.entry.rest.nodes import find_node
from skerry.entry.rest.openapi import described
from skerry.entry.rest.streaming import Stream
from skerry.entry.rest.views import NodeEvent, UnitEvent
from skerry.fleet.store.errors import CompactedError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from starlette.requests import Request
    from starlette.responses import Response

    from skerry.entry.rest.desired import Desired
    from skerry.entry.rest.shown import Shown
    from skerry.fleet.store.interface import Batch

KINDS = ("unit", "node")
_RESET = b"event: reset\ndata: {}\n\n"
_QUERY = {
    "after": "the last revision seen",
    "kinds": "unit, node, or both with a comma between; both where it is absent",
    "name": "only of this unit",
    "node": "only of this machine, and of the units that are on it",
}


class Wanted(msgspec.Struct, frozen=True):
    """What a client asked to be told of; "" for all."""

    kinds: frozenset[str]
    name: str = ""
    node: str = ""

    def unit(self, shown: Shown, name: str, *nodes: str) -> bool:
        """Whether a unit is meant; `nodes` are machines that the change is about."""
        if "unit" not in self.kinds or (self.name and name != self.name):
            return False
        if not self.node or self.node in nodes:
            return True
        return shown.now.placements.get(name) == self.node or self.node in shown.now.reports_of(name)

    def machine(self, node: str) -> bool:
        return "node" in self.kinds and not self.name and self.node in {"", node}


class Events:
    """The handler."""

    def __init__(self, desired: Desired) -> None:
        self._desired = desired

    def routes(self) -> list[Route]:
        return [Route("/v1/events", self.stream, methods=["GET"])]

    @described(gives=UnitEvent, media_type="text/event-stream", query=_QUERY)
    async def stream(self, request: Request) -> Response:
        """Every change of a unit or a machine, as Server-Sent Events."""
        said = request.headers.get("last-event-id") or request.query_params.get("after")
        if said is not None and not (said.isascii() and said.isdigit() and len(said) < 19):
            raise RequestError(400, "bad-request", f"{said!r} is not a revision")
        kinds = frozenset(request.query_params.get("kinds", ",".join(KINDS)).split(","))
        if not kinds <= set(KINDS):
            raise RequestError(400, "bad-request", f"kinds are {' and '.join(KINDS)}")
        after = None if said is None else int(said)
        shown = await self._desired.fresh()
        node = request.query_params.get("node", "")
        wanted = Wanted(kinds, request.query_params.get("name", ""), find_node(shown, node) if node else "")
        headers = {"Cache-Control": "no-store"}
        return Stream(self._events(shown, wanted, after), media_type="text/event-stream", headers=headers)

    async def _events(self, shown: Shown, wanted: Wanted, after: int | None) -> AsyncGenerator[bytes, None]:
        if after is not None and after > self._desired.mirror.revision:
            after = None  # the store was restored from a snapshot since
            yield _RESET
        while True:
            if after is None:
                after = self._desired.mirror.revision
                for part in _everything(shown, wanted, after):
                    yield part
            try:
                async with contextlib.aclosing(self._desired.store.watch(PREFIX, after)) as batches:
                    async for batch in batches:
                        await self._desired.mirror.reached(batch.revision)
                        for part in _changes(self._desired.shown(), wanted, batch):
                            yield part
            except CompactedError:
                after = None
                shown = await self._desired.fresh()
                yield _RESET
            else:
                return


def _everything(shown: Shown, wanted: Wanted, revision: int) -> Iterator[bytes]:
    for name in list(shown.now.names):
        if name in shown.now.units and wanted.unit(shown, name):
            yield _unit(shown, name, revision)
    for node in shown.node_ids():
        if wanted.machine(node):
            yield _node(shown, node, revision)


def _changes(shown: Shown, wanted: Wanted, batch: Batch) -> Iterator[bytes]:
    """What a batch is about, each thing once."""
    units: dict[str, list[str]] = {}
    nodes: dict[str, None] = {}
    for event in batch.events:
        name, node = unit_or_node(event.entry.key)
        if name is not None:
            units.setdefault(name, []).extend([node] if node else [])
        elif node is not None:
            nodes[node] = None
    for name, about in units.items():
        if wanted.unit(shown, name, *about):
            yield _unit(shown, name, batch.revision)
    for node in nodes:
        if wanted.machine(node):
            yield _node(shown, node, batch.revision)


def _unit(shown: Shown, name: str, revision: int) -> bytes:
    view = shown.unit(name) if name in shown.now.units else None
    return b"event: unit\nid: %d\ndata: %b\n\n" % (revision, msgspec.json.encode(UnitEvent(name, view)))


def _node(shown: Shown, node: str, revision: int) -> bytes:
    view = shown.node(node) if shown.has_node(node) else None
    return b"event: node\nid: %d\ndata: %b\n\n" % (revision, msgspec.json.encode(NodeEvent(node, view)))
