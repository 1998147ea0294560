"""/v1/units: what is wanted of each unit, and what became of it.

GET    /v1/units                 {"units": [UnitView…], "unreadable": {name: why}, …}, in pages
POST   /v1/units                 an Order; the answer tells of every unit, or streams until all is done
GET    /v1/units/{name}          UnitDetail: the view with the texts
DELETE /v1/units/{name}          204
GET    /v1/units/{name}/file     the author's text, as it was submitted
GET    /v1/units/{name}/explain  why it is where it is, or nowhere
GET    /v1/units/{name}/journal  lines of the journal; ?lines=N, ?follow=true, as NDJSON
POST   /v1/verify                offers; every problem of each, nothing is stored
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Protocol

import msgspec
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from skerry.entry.rest.auth import note
from skerry.entry.rest.codec import NDJSON, RequestError, classify, decode, problem_views, respond
from skerry.entry.rest.mirror import known
from skerry.entry.rest.nodes import find_node
from skerry.entry.rest.openapi import described
from skerry.entry.rest.pages import page_after
from skerry.entry.rest.snapshot import is_glob, matching
from skerry.entry.rest.streaming import Stream
from skerry.entry.rest.views import (
    Accepted,
    Order,
    ProblemView,
    Progress,
    UnitDetail,
    UnitList,
    Verified,
    VerifyRequest,
)
from skerry.entry.rest.waiting import outcomes
from skerry.fleet.schedule.explain import Explanation, Standing, explain
from skerry.fleet.schedule.reading import read_world
from skerry.fleet.state.placement import PlacementRecord, placement_key
from skerry.host.units.errors import UnitNameError
from skerry.host.units.journal import MOST_LINES, Line
from skerry.host.units.name import parse_name

if TYPE_CHECKING:
    from starlette.requests import Request

    from skerry.entry.rest.desired import Committed, Desired
    from skerry.entry.rest.shown import Shown
    from skerry.entry.rest.snapshot import Stored


_LIST_QUERY = {
    "name": "only units with this name, or of this glob",
    "node": "only units that are on this machine",
    "limit": "at most so many, 1000 where it is absent",
    "token": "the `next` of the page before",
}
_JOURNAL_QUERY = {"lines": "how many of the last lines", "follow": "true to go on with new ones"}


class Journal(Protocol):
    """skerry.host.units.journal.read_journal, or a test's stand-in."""

    def __call__(self, unit: str, *, lines: int = 10, follow: bool = False) -> AsyncIterator[Line]: ...


class Explain(Protocol):
    """Says why a unit is where it is, or nowhere; None where nobody knows such a unit."""

    async def __call__(self, unit: str) -> Explanation | None: ...


class Units:
    """The handlers."""

    def __init__(self, desired: Desired, journal: Journal, explain: Explain | None = None) -> None:
        self._desired = desired
        self._journal = journal
        self._explain = explain

    def routes(self) -> list[Route]:
        return [
            Route("/v1/units", self.list_units, methods=["GET"]),
            Route("/v1/units", self.order, methods=["POST"]),
            Route("/v1/units/{name}", self.get, methods=["GET"]),
            Route("/v1/units/{name}", self.delete, methods=["DELETE"]),
            Route("/v1/units/{name}/file", self.file, methods=["GET"]),
            Route("/v1/units/{name}/explain", self.explain, methods=["GET"]),
            Route("/v1/units/{name}/journal", self.journal, methods=["GET"]),
            Route("/v1/verify", self.verify, methods=["POST"]),
        ]

    @described(gives=UnitList, query=_LIST_QUERY)
    async def list_units(self, request: Request) -> Response:
        """Every unit that is stored, with its states."""
        shown = await self._desired.fresh()
        query = request.query_params
        try:
            node = find_node(shown, query["node"]) if query.get("node") else ""
            names, token = page_after(_listed(shown, query.get("name", ""), node), query)
        except ValueError as error:
            raise RequestError(400, "bad-request", str(error)) from error
        views = tuple(shown.unit(name) for name in names if name in shown.now.units)
        unreadable = {name: shown.now.unreadable[name] for name in names if name in shown.now.unreadable}
        machines = {v.machine for v in views} | {s.machine for v in views for s in v.states}
        addresses = shown.addresses({*machines, shown.local.id})
        return respond(UnitList(views, unreadable, addresses, self._desired.mirror.revision, token))

    @described(takes=Order, gives=Accepted, lines=Progress)
    async def order(self, request: Request) -> Response:
        """Submit, load, start, stop, unload or destroy units, all or none."""
        order = await decode(request, Order)
        for offer in order.offers:
            parse_name(offer.name)
        note(request, f"{order.verb} {' '.join(order.names)}")
        committed = await self._desired.carry_out(order)
        note(request, f"{order.verb} {' '.join(committed.plan.reach)}")
        accepted = self._accepted(committed)
        if not order.wait:
            return respond(accepted)
        return Stream(self._progress(order, committed, accepted), media_type=NDJSON)

    @described(gives=UnitDetail)
    async def get(self, request: Request) -> Response:
        """One unit with its texts."""
        stored = await self._stored(request)
        record = stored.record
        shown = await self._desired.fresh()
        if record.name not in shown.now.units:
            raise _unknown(record.name)
        target = shown.now.placements.get(record.name)
        placed = "" if target is None else await self._why(target, record.name)
        return respond(
            UnitDetail(shown.unit(record.name), record.text, record.drop_ins, record.files, placed)
        )

    @described(status=204)
    async def delete(self, request: Request) -> Response:
        """Destroy a unit; 404 where there is none."""
        name = request.path_params["name"]
        if not await self._desired.remove(name):
            raise _unknown(name)
        return Response(status_code=204)

    @described(media_type="text/plain")
    async def file(self, request: Request) -> Response:
        """The unit's file as its author submitted it."""
        return PlainTextResponse((await self._stored(request)).record.text)

    @described(gives=Explanation)
    async def explain(self, request: Request) -> Response:
        """Why a unit is where it is, or why it is nowhere: per constraint, how many machines fail it."""
        return respond(await self._explained((await self._stored(request)).record.name))

    @described(
        gives=Line,
        media_type=NDJSON,
        query=_JOURNAL_QUERY,
    )
    async def journal(self, request: Request) -> Response:
        """Lines of the journal, a JSON object each."""
        lines = _count(request.query_params.get("lines", "10"))
        follow = request.query_params.get("follow", "") in {"1", "true", "yes"}
        stored = await self._stored(request)
        name = stored.record.name
        shown = await self._desired.fresh()
        here = shown.now.reports_of(name).get(shown.local.id)
        elsewhere = sorted(set(shown.now.reports_of(name)) - {shown.local.id})
        if here is None and elsewhere:
            raise RequestError(
                409,
                "elsewhere",
                f"unit {name} is on {shown.label(elsewhere[0])}, whose journal cannot be read from here",
                hint=f"`skerry unit journal {name}` reads it there, through ssh",
            )
        unit = name if here is None else here.report.unit
        return Stream(_ended(self._journal(unit, lines=lines, follow=follow)), media_type=NDJSON)

    @described(takes=VerifyRequest, gives=Verified)
    async def verify(self, request: Request) -> Response:
        """Every problem of the offered units; nothing is stored."""
        wanted = await decode(request, VerifyRequest)
        now = await self._desired.snapshot((), wanted.offers)
        found: list[ProblemView] = []
        refused: list[str] = []
        for offer in wanted.offers:
            problems = await self._desired.problems_of(offer, now, wanted.offers)
            found.extend(problem_views(problems))
            if any(p.severity == "error" for p in problems):
                refused.append(offer.name)
        return respond(Verified(tuple(found), tuple(refused)))

    async def _stored(self, request: Request) -> Stored:
        name = request.path_params["name"]
        stored = await self._desired.get(name)
        if stored is None:
            raise _unknown(name)
        return stored

    async def _explained(self, name: str) -> Explanation:
        """By the scheduler of this process where it knows, else by one made of what the store holds."""
        found = None if self._explain is None else await self._explain(name)
        if found is not None:
            return found
        target = self._desired.shown().now.placements.get(name)
        decided = "" if target is None else await self._why(target, name)
        return explain(await read_world(self._desired.store), name, decided=decided)

    async def _pending(self, name: str) -> str:
        """Why a unit has no machine, "" where that is a matter of time."""
        found = await self._explained(name)
        if found.standing is not Standing.PENDING or found.able:
            return ""
        told = [f"{r.constraint} ({r.reason}: {r.nodes})" for r in found.refusals[:3]]
        because = f": {', '.join(told)}" if told else ""
        return f"{found.why}{because}; it stays wanted, and is placed as soon as a machine can take it"

    async def _why(self, node: str, name: str) -> str:
        """Why a unit was placed on a machine."""
        entry = await self._desired.store.get(placement_key(node, name))
        return "" if entry is None else PlacementRecord.decode(entry.value).why

    def _accepted(self, committed: Committed) -> Accepted:
        planned = committed.plan
        is_global = []
        for name in planned.reach:
            record = planned.changes.get(name)
            stored = committed.before.units.get(name)
            if record is None and stored is not None:
                record = stored.record
            if record is not None and known(record, 0).is_global:
                is_global.append(name)
        warnings = planned.warnings + tuple(str(p) for p in committed.problems)
        shown = self._desired.shown()
        nodes = shown.node_ids()
        machine = shown.label(nodes[0]) if len(nodes) == 1 else ""
        changed = tuple(planned.changes)
        return Accepted(planned.reach, changed, machine, tuple(is_global), warnings, committed.revision)

    async def _progress(
        self, order: Order, committed: Committed, accepted: Accepted
    ) -> AsyncGenerator[bytes, None]:
        yield _line(Progress(accepted=accepted))
        names = [name for name in accepted.units if not _is_template(name)]
        steps = outcomes(self._desired, order.verb, names, committed.revision, pending=self._pending)
        try:
            async for outcome in steps:
                yield _line(Progress(outcome=outcome))
        finally:
            await steps.aclose()


def _listed(shown: Shown, name: str, node: str) -> list[str]:
    """The names of the units that a list asks for, in order."""
    now = shown.now
    names = now.names
    if node:
        there = now.placed.get(node, set()) | now.reported.get(node, set())
        names = sorted(there & {*now.units, *now.unreadable})
    if name:
        names = matching(names, name) if is_glob(name) else [n for n in names if n == name]
    return names


def _line(value: object) -> bytes:
    return msgspec.json.encode(value) + b"\n"


async def _ended(lines: AsyncIterator[Line]) -> AsyncGenerator[bytes, None]:
    """Lines with their ends; an error in the middle becomes the last line, for the head is sent."""
    try:
        async for line in lines:
            yield _line(line)
    except Exception as error:
        yield _line({"error": classify(error)[1]})
    finally:
        if isinstance(lines, AsyncGenerator):
            await lines.aclose()


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > MOST_LINES:
        raise RequestError(400, "bad-request", f"lines={text!r} is not a number from 0 to {MOST_LINES}")
    return int(text)


def _unknown(name: str) -> RequestError:
    return RequestError(
        404,
        "unit-not-found",
        f"unit {name} does not exist",
        hint="`skerry unit list-files` shows what is stored",
    )


def _is_template(name: str) -> bool:
    try:
        return parse_name(name).is_template
    except UnitNameError:
        return False
