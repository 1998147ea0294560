"""fleet's own HTTP API, version 1, so that its clients and the scripts written for it work on.

    /fleet/v1/… and /v1-alpha/…
    units, units/{name}, state, state/{name}, machines, discovery

Codes are fleet's; its one-line messages are kept where they were, and are longer where they helped
nobody. Errors are `{"error": {"code": 409, "message": "…"}}`. Unknown fields are ignored, as Go did.
Source: fleet's Documentation/api-v1.md and the behaviour of fleetd 1.0.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

import skerry
from skerry.entry.rest.codec import JSON, classify, describe, is_json, read_body
from skerry.entry.rest.discovery import discovery_document
from skerry.entry.rest.machine import change_node
from skerry.entry.rest.openapi import described
from skerry.entry.rest.pages import DEFAULT_LIMIT, cut, decode_page
from skerry.entry.rest.snapshot import Stored, read_units
from skerry.entry.rest.verbs import make_record, replace_content
from skerry.entry.rest.views import Offer
from skerry.fleet.state.document import RecordError
from skerry.fleet.state.unit import DesiredState, UnitRecord, UnitReport
from skerry.host.units.check import refuse
from skerry.host.units.errors import UnitFileError, UnitNameError
from skerry.host.units.name import parse_name
from skerry.host.units.unit_file import from_options, parse_unit, serialise, unit_hash
from skerry.kit.errors import ProblemsError, SkerryError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from skerry.entry.rest.desired import Desired
    from skerry.entry.rest.shown import Shown

log = logging.getLogger("skerry.rest.fleet")

PREFIXES = ("/fleet/v1", "/v1-alpha")
SERVER = f"fleetd/1.0.0 (skerry/{skerry.__version__})"
_METADATA_PATH = re.compile(r"/([^/]+)/metadata/([A-Za-z0-9_.-]+)")

_PAGE = {"nextPageToken": "the token that the page before gave"}
_STATES = {**_PAGE, "machineID": "only states on this machine", "unitName": "only states of this unit"}

Handler = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")


class FleetError(SkerryError):
    """An answer in fleet's form."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class UnitOption(msgspec.Struct, frozen=True):
    section: str = ""
    name: str = ""
    value: str = ""


class UnitBody(msgspec.Struct, frozen=True):
    """What PUT takes; null is as good as absent. What else a client sends is not looked at."""

    name: str | None = None
    options: list[UnitOption] | None = None
    desiredState: str | None = None  # noqa: N815  the name on the wire


class Unit(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    name: str
    options: list[UnitOption]
    desired_state: str
    current_state: str = ""
    machine_id: str = msgspec.field(default="", name="machineID")


class UnitState(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    hash: str
    machine_id: str = msgspec.field(name="machineID")
    systemd_load_state: str
    systemd_active_state: str
    systemd_sub_state: str


class Machine(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    primary_ip: str = msgspec.field(name="primaryIP")
    metadata: dict[str, str]


class Page(msgspec.Struct, frozen=True, omit_defaults=True):
    """One page; just one of the lists is there."""

    units: list[Unit] | None = None
    states: list[UnitState] | None = None
    machines: list[Machine] | None = None
    next_page_token: str | None = msgspec.field(default=None, name="nextPageToken")


class PatchValue(msgspec.Struct, frozen=True):
    value: str


class PatchOperation(msgspec.Struct, frozen=True):
    op: str
    path: str
    value: str | PatchValue | None = None


class FleetErrorView(msgspec.Struct, frozen=True):
    code: int
    message: str


class FleetErrorBody(msgspec.Struct, frozen=True):
    """Every error of fleet's API."""

    error: FleetErrorView


class Resource:
    """All methods of one path: a method without a handler gets fleet's 405. An ASGI application."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self.handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            response = await self._answer(request)
        except Exception as error:
            response = _error(request, error)
        response.headers["Server"] = SERVER
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if not self.handlers:
            raise FleetError(404, f"there is nothing at {request.url.path}")
        handler = self.handlers.get(request.method)
        if handler is None:
            *first, last = self.handlers
            allowed = f"{', '.join(first)} and {last}" if first else last
            raise FleetError(405, f"only {allowed} supported against this resource")
        return await handler(request)


class Fleet:
    """The handlers of fleet's API over one store."""

    def __init__(self, desired: Desired, *, limit: int = DEFAULT_LIMIT) -> None:
        self._desired = desired
        self._limit = limit

    def routes(self) -> list[Mount]:
        resources: dict[str, Mapping[str, Handler]] = {
            "/units": {"GET": self.list_units},
            "/units/{name}": {"GET": self.get_unit, "PUT": self.put_unit, "DELETE": self.delete_unit},
            "/state": {"GET": self.list_states},
            "/state/{name}": {"GET": self.get_state},
            "/machines": {"GET": self.list_machines, "PATCH": self.patch_machines},
            "/discovery": {"GET": self.discovery},
            "/{rest:path}": {},
        }
        routes = [Route(path, Resource(handlers)) for path, handlers in resources.items()]
        return [Mount(prefix, routes=routes) for prefix in PREFIXES]

    @described(gives=Page, query=_PAGE, error=FleetErrorBody)
    async def list_units(self, request: Request) -> Response:
        """A page of units."""
        shown = await self._desired.fresh()
        names = [name for name in shown.now.names if name in shown.now.units]
        some, token = self._page(request, names)
        found = await read_units(self._desired.store, some)
        units = [_unit(found[name], shown) for name in some if name in found]
        return _json(Page(units=[unit for unit in units if unit is not None], next_page_token=token))

    @described(gives=Unit, error=FleetErrorBody)
    async def get_unit(self, request: Request) -> Response:
        """One unit."""
        shown = await self._desired.fresh()
        stored = await self._desired.get(request.path_params["name"])
        unit = None if stored is None else _unit(stored, shown)
        if unit is None:
            raise FleetError(404, "unit does not exist")
        return _json(unit)

    @described(takes=UnitBody, status=201, error=FleetErrorBody)
    async def put_unit(self, request: Request) -> Response:
        """Create a unit, or change what is wanted of it."""
        if not is_json(request):
            said = request.headers.get("content-type", "nothing")
            raise FleetError(415, f"the Content-Type must be {JSON}, the request says {said!r}")
        name = request.path_params["name"]
        body = _decoded(await read_body(request), UnitBody)
        if body.name and body.name != name:
            raise FleetError(
                400, f'name in URL "{name}" differs from unit name in request body "{body.name}"'
            )
        parse_name(name)
        wanted = _desired_state(body.desiredState)
        for _ in range(20):
            stored = await self._desired.get(name)
            record = await self._record(name, body, wanted, stored)
            if stored is not None and record == stored.record:
                return Response(status_code=204)
            if await self._desired.put(record, stored):
                changed = stored is not None and record.identity == stored.record.identity
                return Response(status_code=204 if changed else 201)
        raise FleetError(409, "others keep changing the same unit: try again")

    @described(status=204, error=FleetErrorBody)
    async def delete_unit(self, request: Request) -> Response:
        """Destroy a unit."""
        if not await self._desired.remove(request.path_params["name"]):
            raise FleetError(404, "unit does not exist")
        return Response(status_code=204)

    @described(gives=Page, query=_STATES, error=FleetErrorBody)
    async def list_states(self, request: Request) -> Response:
        """A page of states, one for each unit and machine."""
        machine = request.query_params.get("machineID", "")
        unit = request.query_params.get("unitName", "")
        shown = await self._desired.fresh()
        now = shown.now
        names: Iterable[str] = now.reported.get(machine, set()) if machine else now.reports
        if unit:
            names = {unit}.intersection(names)
        reports = [
            report
            for name in sorted(names)
            for report in _published(shown, name)
            if machine in {"", report.node}
        ]
        items, token = self._page(request, reports)
        return _json(Page(states=[_state(report) for report in items], next_page_token=token))

    @described(gives=UnitState, error=FleetErrorBody)
    async def get_state(self, request: Request) -> Response:
        """The state of one unit."""
        name = request.path_params["name"]
        shown = await self._desired.fresh()
        reports = _published(shown, name)
        if not reports:
            raise FleetError(404, "unit state does not exist: no machine has loaded such a unit")
        target = shown.now.placements.get(name)
        return _json(_state(next((r for r in reports if r.node == target), reports[0])))

    @described(gives=Page, query=_PAGE, error=FleetErrorBody)
    async def list_machines(self, request: Request) -> Response:
        """A page of the machines that live."""
        shown = await self._desired.fresh()
        nodes = [node for node in shown.node_ids() if shown.is_ready(node)]
        items, token = self._page(request, nodes)
        machines = [Machine(node, shown.address(node), shown.metadata(node)) for node in items]
        return _json(Page(machines=machines, next_page_token=token))

    @described(takes=list[PatchOperation], status=204, error=FleetErrorBody)
    async def patch_machines(self, request: Request) -> Response:
        """Set and take away labels, by JSON patch."""
        if not is_json(request):
            raise FleetError(415, f"the Content-Type must be {JSON}")
        operations = _decoded(await read_body(request), list[PatchOperation])
        shown = await self._desired.fresh()
        changes: dict[str, dict[str, str]] = {}
        for operation in operations:
            node, key, value = _change(operation)
            if not shown.has_node(node):
                raise FleetError(400, f'machine "{node}" does not exist')
            changes.setdefault(node, {})[key] = value
        for node, labels in changes.items():
            configured = shown.facts(node).metadata
            await change_node(self._desired.store, node, metadata=labels, configured=configured)
        return Response(status_code=204)

    @described(error=FleetErrorBody)
    async def discovery(self, request: Request) -> Response:
        """This API, described as fleet did."""
        prefix = request.scope.get("root_path", PREFIXES[0])
        return _json(discovery_document(prefix))

    async def _record(
        self, name: str, body: UnitBody, wanted: DesiredState | None, stored: Stored | None
    ) -> UnitRecord:
        """What PUT makes of what is stored. Raises FleetError, UnitFileError, UnitRefusedError."""
        record = None if stored is None else stored.record
        if record is None and not body.options:
            raise FleetError(409, "unit does not exist and options field empty")
        if body.options:
            offered = await self._offered(name, body.options, record)
            record = offered if record is None else replace_content(record, offered)
        elif wanted is None:
            raise FleetError(409, "must provide DesiredState to update existing unit")
        assert record is not None  # noqa: S101  either stored or offered
        if stored is not None and wanted is None and record.identity == stored.record.identity:
            raise FleetError(409, "must provide DesiredState to update existing unit")
        state = record.desired if wanted is None else wanted
        if parse_name(name).is_template and state is not DesiredState.INACTIVE:
            raise FleetError(400, f'cannot activate template "{name}"')
        return record.wanting(state)

    async def _offered(self, name: str, options: list[UnitOption], known: UnitRecord | None) -> UnitRecord:
        unit = from_options(((o.section, o.name, o.value) for o in options), name)
        if known is not None and unit_hash(unit) == known.hash:
            return known  # the author's own text, comments and all, says the same
        offer = Offer(name, serialise(unit.options))
        now = await self._desired.snapshot((), [offer])
        refuse(name, await self._desired.problems_of(offer, now, ()))
        return make_record(name, offer)

    def _page(self, request: Request, items: list[T]) -> tuple[list[T], str | None]:
        try:
            page = decode_page(request.query_params.getlist("nextPageToken"), self._limit)
        except ValueError as error:
            raise FleetError(400, str(error)) from error
        return cut(items, self._limit, page)


def _unit(stored: Stored | RecordError, shown: Shown) -> Unit | None:
    """A unit as fleet showed it: on a machine only where it was placed, in the state reported from there."""
    if isinstance(stored, RecordError):
        return None
    record = stored.record
    try:
        found = parse_unit(record.text, record.name).options
    except UnitFileError:
        found = ()
    options = [UnitOption(o.section, o.name, o.value) for o in found]
    known = shown.now.units.get(record.name)
    if known is not None and known.is_global:
        return Unit(record.name, options, record.desired.value)
    target = shown.now.placements.get(record.name, "")
    reported = shown.now.reports_of(record.name).get(target)
    current = DesiredState.INACTIVE if reported is None else reported.report.current
    return Unit(record.name, options, record.desired.value, current.value, target)


def _state(report: UnitReport) -> UnitState:
    return UnitState(report.name, report.hash, report.node, report.load, report.active, report.sub)


def _published(shown: Shown, name: str) -> list[UnitReport]:
    """fleet's agents published states of units that they had loaded, and those of lost machines expired."""
    return [
        report
        for report in shown.reports(name)
        if report.current is not DesiredState.INACTIVE and shown.is_ready(report.node)
    ]


def _desired_state(text: str | None) -> DesiredState | None:
    if not text:
        return None
    try:
        return DesiredState(text)
    except ValueError:
        known = ", ".join(DesiredState)
        raise FleetError(400, f'invalid desiredState "{text}": it is one of {known}') from None


def _change(operation: PatchOperation) -> tuple[str, str, str]:
    """The machine and the label that one JSON-patch operation is about.

    fleet's documentation and its code differ on `value`, so both forms are taken.
    """
    found = _METADATA_PATH.fullmatch(operation.path)
    if found is None:
        raise FleetError(400, f'invalid path "{operation.path}": it is /<machineID>/metadata/<key>')
    if operation.op == "remove":
        return found[1], found[2], ""
    if operation.op not in {"add", "replace"}:
        raise FleetError(400, f'invalid op "{operation.op}": it is one of add, remove, replace')
    value = operation.value.value if isinstance(operation.value, PatchValue) else operation.value
    if value is None:
        raise FleetError(400, f'operation "{operation.op}" on "{operation.path}" has no value')
    return found[1], found[2], value


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FleetError(400, f"unable to decode body: {describe(error)}") from error


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type=JSON)


def _error(request: Request, error: Exception) -> Response:
    if isinstance(error, FleetError):
        status, message = error.status, error.message
    elif isinstance(error, UnitNameError):
        status, message = 400, error.message
    elif isinstance(error, ProblemsError):
        status, message = 400, "; ".join(str(p) for p in error.problems if p.severity == "error")
    else:
        status, view = classify(error)
        message = view.message
        if view.code == "bug":
            log.error("bug while answering %s %s", request.method, request.url.path, exc_info=error)
    return _json(FleetErrorBody(FleetErrorView(status, message)), status)
