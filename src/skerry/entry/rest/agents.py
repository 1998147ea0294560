"""/v1/agents: what agents of other machines ask of a server; /v1/presence: what servers ask of the leader.

A node speaks for itself only, by its certificate: the guard before the API sees to it, and it is looked at
here again. A machine that another one of the same id is in the way of gets no assignments (409).
"""

from __future__ import annotations

import contextlib
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

from starlette.responses import Response
from starlette.routing import Route

from skerry.entry.rest.codec import NDJSON, RequestError, decode, respond
from skerry.entry.rest.openapi import described
from skerry.entry.rest.streaming import Stream
from skerry.fleet.access.caller import NOBODY, Caller, CallerKind
from skerry.fleet.agent.link import ReportBatch, Taken
from skerry.fleet.assign.assignment import Full, encode_message
from skerry.fleet.presence.heartbeat import Answers, Contact, Heard, Heartbeat
from skerry.fleet.presence.leader import NotLeadingError
from skerry.fleet.presence.liveness import DuplicateNodeError, NotYetError
from skerry.fleet.presence.registry import RefusedError
from skerry.fleet.state.node import Role
from skerry.fleet.store.errors import StoreError
from skerry.host.units.name import parse_name
from skerry.kit.http import HttpError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable

    from starlette.requests import Request

    from skerry.fleet.assign.feed import Feed
    from skerry.fleet.assign.reports import Reports
    from skerry.fleet.presence.registry import Registry


T = TypeVar("T")


class Agents:
    """The handlers."""

    def __init__(self, feed: Feed, reports: Reports, presence: Registry) -> None:
        self._feed = feed
        self._reports = reports
        self._presence = presence

    def routes(self) -> list[Route]:
        return [
            Route("/v1/agents/{id}/stream", self.stream, methods=["POST"]),
            Route("/v1/agents/{id}/reports", self.report, methods=["POST"]),
            Route("/v1/agents/{id}/heartbeat", self.heartbeat, methods=["POST"]),
            Route("/v1/agents/{id}/goodbye", self.goodbye, methods=["POST"]),
            Route("/v1/presence/heard", self.heard, methods=["POST"]),
        ]

    @described(takes=Heartbeat, gives=Full, media_type=NDJSON)
    async def stream(self, request: Request) -> Response:
        """What a node is to hold: all of it, then every change, one message on each line."""
        node = _itself(request)
        hello = await decode(request, Heartbeat)
        if not self._feed.ready:
            raise RequestError(
                503, "unavailable", "the store has not been read yet", hint="ask another server"
            )
        with contextlib.suppress(NotLeadingError, NotYetError, HttpError, StoreError):
            # Where nobody leads for now, what is to run is known all the same.
            await _duplicates_refused(self._presence.heard(node, hello))
        return Stream(self._messages(node), media_type=NDJSON, headers={"Cache-Control": "no-store"})

    @described(takes=ReportBatch, gives=Taken)
    async def report(self, request: Request) -> Response:
        """What has become of a node's units; the answer comes when it is in the store."""
        node = _itself(request)
        batch = await decode(request, ReportBatch)
        for report in batch.reports:
            if report.node != node:
                raise RequestError(403, "forbidden", f"{node} may not report for {report.node}")
        for name in (*batch.gone, *(report.name for report in batch.reports)):
            parse_name(name)
        refused = await self._reports.write(node, batch.reports, batch.gone, whole=batch.whole)
        return respond(Taken(tuple(sorted(refused))))

    @described(takes=Heartbeat, gives=Contact)
    async def heartbeat(self, request: Request) -> Response:
        """A node lives; the answer comes when the leader knows."""
        node = _itself(request)
        return respond(await self.beat(node, await decode(request, Heartbeat)))

    async def beat(self, node: str, beat: Heartbeat) -> Contact:
        """The answer to a heartbeat of a node that is who it says. Raises RequestError, StoreError."""
        return await _heard(self._presence.heard(node, beat))

    @described(status=204)
    async def goodbye(self, request: Request) -> Response:
        """A node leaves, its fenced units stopped."""
        await _heard(self._presence.goodbye(_itself(request)))
        return Response(status_code=204)

    @described(takes=Heard, gives=Answers)
    async def heard(self, request: Request) -> Response:
        """What another server heard of nodes; only the leader takes it."""
        caller = _caller(request)
        is_server = caller.kind is CallerKind.NODE and caller.node_role is Role.SERVER
        if not is_server and caller.kind is not CallerKind.ROOT:
            raise RequestError(403, "forbidden", "only a server may pass heartbeats on")
        return respond(await _heard(self._presence.passed_on(await decode(request, Heard))))

    async def _messages(self, node: str) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._feed.follow(node)) as messages:
            async for message in messages:
                yield encode_message(message)


def _caller(request: Request) -> Caller:
    found = request.scope.get("state", {}).get("caller")
    return found if isinstance(found, Caller) else NOBODY


def _itself(request: Request) -> str:
    """The node that asks, which must be the one that the path names. Raises RequestError."""
    node = str(request.path_params["id"])
    caller = _caller(request)
    if caller.kind is CallerKind.ROOT or (caller.kind is CallerKind.NODE and caller.name == node):
        return node
    raise RequestError(403, "forbidden", "a node speaks for itself only, by its certificate")


async def _duplicates_refused(work: Awaitable[T]) -> T:
    try:
        return await work
    except (DuplicateNodeError, RefusedError) as error:
        raise RequestError(409, "duplicate", error.message, hint=error.hint) from error


async def _heard(work: Awaitable[T]) -> T:
    try:
        return await _duplicates_refused(work)
    except (NotLeadingError, NotYetError, HttpError) as error:
        raise RequestError(503, "no-leader", error.message, hint=error.hint) from error
