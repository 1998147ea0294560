"""/v1/units: what is wanted of each unit, and what became of it.

GET    /v1/units                 {"units": [UnitView…], "unreadable": {name: why}}
POST   /v1/units                 an Order; the answer tells of every unit, or streams until all is done
GET    /v1/units/{name}          UnitDetail: the view with the texts
DELETE /v1/units/{name}          204
GET    /v1/units/{name}/file     the author's text, as it was submitted
GET    /v1/units/{name}/journal  lines of the journal; ?lines=N, ?follow=true, as NDJSON
POST   /v1/verify                offers; every problem of each, nothing is stored
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Protocol

import msgspec
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from skerry.entry.rest.codec import (
    NDJSON,
    ProblemView,
    RequestError,
    classify,
    decode,
    problem_views,
    respond,
)
from skerry.entry.rest.machine import primary_ip
from skerry.entry.rest.openapi import described
from skerry.entry.rest.snapshot import UnitView, stored_report, view
from skerry.entry.rest.streaming import Stream
from skerry.entry.rest.verbs import Offer, Order
from skerry.entry.rest.waiting import Outcome, outcomes
from skerry.fleet.state.unit import Attachment
from skerry.host.units.errors import UnitNameError
from skerry.host.units.journal import MOST_LINES, Line
from skerry.host.units.name import parse_name

if TYPE_CHECKING:
    from starlette.requests import Request

    from skerry.entry.rest.desired import Committed, Desired
    from skerry.entry.rest.snapshot import Stored


_JOURNAL_QUERY = {"lines": "how many of the last lines", "follow": "true to go on with new ones"}


class Journal(Protocol):
    """skerry.host.units.journal.read_journal, or a test's stand-in."""

    def __call__(self, unit: str, *, lines: int = 10, follow: bool = False) -> AsyncIterator[Line]: ...


class UnitList(msgspec.Struct, frozen=True):
    """`machines` maps the ids of machines to their addresses."""

    units: tuple[UnitView, ...]
    unreadable: dict[str, str]
    machines: dict[str, str]


class UnitDetail(msgspec.Struct, frozen=True):
    unit: UnitView
    text: str
    drop_ins: tuple[Attachment, ...]
    files: tuple[Attachment, ...]


class Accepted(msgspec.Struct, frozen=True):
    """The answer to an order, durable when it is sent; `changed` names what was not so before.

    `machine` is where units are placed, as lists show it.
    """

    units: tuple[str, ...]
    changed: tuple[str, ...]
    machine: str
    global_units: tuple[str, ...]
    warnings: tuple[str, ...]


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the stream: first `accepted`, then an `outcome` whenever a unit moves."""

    accepted: Accepted | None = None
    outcome: Outcome | None = None


class VerifyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    offers: tuple[Offer, ...]


class Verified(msgspec.Struct, frozen=True):
    problems: tuple[ProblemView, ...]
    refused: tuple[str, ...]


class Units:
    """The handlers."""

    def __init__(self, desired: Desired, journal: Journal) -> None:
        self._desired = desired
        self._journal = journal

    def routes(self) -> list[Route]:
        return [
            Route("/v1/units", self.list_units, methods=["GET"]),
            Route("/v1/units", self.order, methods=["POST"]),
            Route("/v1/units/{name}", self.get, methods=["GET"]),
            Route("/v1/units/{name}", self.delete, methods=["DELETE"]),
            Route("/v1/units/{name}/file", self.file, methods=["GET"]),
            Route("/v1/units/{name}/journal", self.journal, methods=["GET"]),
            Route("/v1/verify", self.verify, methods=["POST"]),
        ]

    @described(gives=UnitList)
    async def list_units(self, request: Request) -> Response:
        """Every unit that is stored, with its states."""
        now = await self._desired.snapshot()
        views = tuple(now.view(name, self._desired.node) for name in sorted(now.units))
        machines = {self._desired.node: primary_ip()}
        return respond(UnitList(views, dict(now.unreadable), machines))

    @described(takes=Order, gives=Accepted)
    async def order(self, request: Request) -> Response:
        """Submit, load, start, stop, unload or destroy units, all or none."""
        order = await decode(request, Order)
        for offer in order.offers:
            parse_name(offer.name)
        committed = await self._desired.carry_out(order)
        accepted = self._accepted(committed)
        if not order.wait:
            return respond(accepted)
        return Stream(self._progress(order, committed, accepted), media_type=NDJSON)

    @described(gives=UnitDetail)
    async def get(self, request: Request) -> Response:
        """One unit with its texts."""
        stored = await self._stored(request)
        record = stored.record
        report = await stored_report(self._desired.store, self._desired.node, record.name)
        seen = view(record, report, self._desired.node)
        return respond(UnitDetail(seen, record.text, record.drop_ins, record.files))

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
        report = await stored_report(self._desired.store, self._desired.node, stored.record.name)
        unit = stored.record.name if report is None else report.unit
        return Stream(_ended(self._journal(unit, lines=lines, follow=follow)), media_type=NDJSON)

    @described(takes=VerifyRequest, gives=Verified)
    async def verify(self, request: Request) -> Response:
        """Every problem of the offered units; nothing is stored."""
        wanted = await decode(request, VerifyRequest)
        now = await self._desired.snapshot()
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

    def _accepted(self, committed: Committed) -> Accepted:
        planned = committed.plan
        is_global = []
        for name in planned.reach:
            record = planned.changes.get(name)
            stored = committed.before.units.get(name)
            if record is None and stored is not None:
                record = stored.record
            if record is not None and view(record, None, "").is_global:
                is_global.append(name)
        warnings = planned.warnings + tuple(str(p) for p in committed.problems)
        return Accepted(planned.reach, tuple(planned.changes), self._machine(), tuple(is_global), warnings)

    def _machine(self) -> str:
        address = primary_ip()
        name = f"{self._desired.node[:8]}..."
        return f"{name}/{address}" if address else name

    async def _progress(
        self, order: Order, committed: Committed, accepted: Accepted
    ) -> AsyncGenerator[bytes, None]:
        yield _line(Progress(accepted=accepted))
        names = [name for name in accepted.units if not _is_template(name)]
        steps = outcomes(self._desired.store, self._desired.node, order.verb, names, committed.revision)
        try:
            async for outcome in steps:
                yield _line(Progress(outcome=outcome))
        finally:
            await steps.aclose()


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
