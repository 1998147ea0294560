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
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

import skerry
from skerry.entry.rest.codec import JSON, classify, describe, is_json, read_body
from skerry.entry.rest.discovery import discovery_document
from skerry.entry.rest.machine import Machine, Node, change_metadata, machine
from skerry.entry.rest.pages import DEFAULT_LIMIT, cut, decode_page
from skerry.entry.rest.snapshot import asked
from skerry.entry.rest.verbs import Offer, make_record, replace_content
from skerry.fleet.state.unit import DesiredState, UnitRecord, UnitReport
from skerry.host.units.check import refuse
from skerry.host.units.errors import UnitFileError, UnitNameError
from skerry.host.units.name import parse_name
from skerry.host.units.unit_file import from_options, parse_unit, serialise, unit_hash
from skerry.kit.errors import ProblemsError, SkerryError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from skerry.entry.rest.desired import Desired
    from skerry.entry.rest.snapshot import Stored

log = logging.getLogger("skerry.rest.fleet")

PREFIXES = ("/fleet/v1", "/v1-alpha")
SERVER = f"fleetd/1.0.0 (skerry/{skerry.__version__})"
_METADATA_PATH = re.compile(r"/([^/]+)/metadata/([A-Za-z0-9_.-]+)")

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


class Resource:
    """All methods of one path: a method without a handler gets fleet's 405. An ASGI application."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            response = await self._answer(request)
        except Exception as error:
            response = _error(request, error)
        response.headers["Server"] = SERVER
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if not self._handlers:
            raise FleetError(404, f"there is nothing at {request.url.path}")
        handler = self._handlers.get(request.method)
        if handler is None:
            *first, last = self._handlers
            allowed = f"{', '.join(first)} and {last}" if first else last
            raise FleetError(405, f"only {allowed} supported against this resource")
        return await handler(request)


class Fleet:
    """The handlers of fleet's API over one store."""

    def __init__(self, desired: Desired, node: Node, *, limit: int = DEFAULT_LIMIT) -> None:
        self._desired = desired
        self._node = node
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

    async def list_units(self, request: Request) -> Response:
        now = await self._desired.snapshot()
        units = [
            _unit(now.units[name].record, now.reports.get(name), self._node.id) for name in sorted(now.units)
        ]
        items, token = self._page(request, units)
        return _json(Page(units=items, next_page_token=token))

    async def get_unit(self, request: Request) -> Response:
        name = request.path_params["name"]
        now = await self._desired.snapshot()
        if name not in now.units:
            raise FleetError(404, "unit does not exist")
        return _json(_unit(now.units[name].record, now.reports.get(name), self._node.id))

    async def put_unit(self, request: Request) -> Response:
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

    async def delete_unit(self, request: Request) -> Response:
        if not await self._desired.remove(request.path_params["name"]):
            raise FleetError(404, "unit does not exist")
        return Response(status_code=204)

    async def list_states(self, request: Request) -> Response:
        wanted_machine = request.query_params.get("machineID", "")
        wanted_unit = request.query_params.get("unitName", "")
        now = await self._desired.snapshot()
        states = [
            _state(now.reports[name])
            for name in sorted(now.reports)
            if _is_published(now.reports[name])
            and wanted_machine in {"", now.reports[name].node}
            and wanted_unit in {"", name}
        ]
        items, token = self._page(request, states)
        return _json(Page(states=items, next_page_token=token))

    async def get_state(self, request: Request) -> Response:
        now = await self._desired.snapshot()
        report = now.reports.get(request.path_params["name"])
        if report is None or not _is_published(report):
            raise FleetError(404, "unit state does not exist: no machine has loaded such a unit")
        return _json(_state(report))

    async def list_machines(self, request: Request) -> Response:
        items, token = self._page(request, [await machine(self._desired.store, self._node)])
        return _json(Page(machines=items, next_page_token=token))

    async def patch_machines(self, request: Request) -> Response:
        if not is_json(request):
            raise FleetError(415, f"the Content-Type must be {JSON}")
        operations = _decoded(await read_body(request), list[PatchOperation])
        changes = dict(_change(operation, self._node.id) for operation in operations)
        if changes:
            await change_metadata(self._desired.store, self._node, changes)
        return Response(status_code=204)

    async def discovery(self, request: Request) -> Response:
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
        now = await self._desired.snapshot()
        refuse(name, await self._desired.problems_of(offer, now, ()))
        return make_record(name, offer)

    def _page(self, request: Request, items: list[T]) -> tuple[list[T], str | None]:
        try:
            page = decode_page(request.query_params.getlist("nextPageToken"), self._limit)
        except ValueError as error:
            raise FleetError(400, str(error)) from error
        return cut(items, self._limit, page)


def _unit(record: UnitRecord, report: UnitReport | None, node: str) -> Unit:
    try:
        found = parse_unit(record.text, record.name).options
    except UnitFileError:
        found = ()
    options = [UnitOption(o.section, o.name, o.value) for o in found]
    if asked(record).is_global:
        return Unit(record.name, options, record.desired.value)
    current = DesiredState.INACTIVE if report is None else report.current
    placed = record.desired is not DesiredState.INACTIVE or current is not DesiredState.INACTIVE
    return Unit(record.name, options, record.desired.value, current.value, node if placed else "")


def _state(report: UnitReport) -> UnitState:
    return UnitState(report.name, report.hash, report.node, report.load, report.active, report.sub)


def _is_published(report: UnitReport) -> bool:
    """fleet's agent published states of units that it had loaded."""
    return report.current is not DesiredState.INACTIVE


def _desired_state(text: str | None) -> DesiredState | None:
    if not text:
        return None
    try:
        return DesiredState(text)
    except ValueError:
        known = ", ".join(DesiredState)
        raise FleetError(400, f'invalid desiredState "{text}": it is one of {known}') from None


def _change(operation: PatchOperation, node: str) -> tuple[str, str]:
    """The label that one JSON-patch operation sets; fleet's documentation and its code differ on
    `value`, so both forms are taken."""
    found = _METADATA_PATH.fullmatch(operation.path)
    if found is None:
        raise FleetError(400, f'invalid path "{operation.path}": it is /<machineID>/metadata/<key>')
    if found[1] != node:
        raise FleetError(400, f'machine "{found[1]}" does not exist')
    if operation.op == "remove":
        return found[2], ""
    if operation.op not in {"add", "replace"}:
        raise FleetError(400, f'invalid op "{operation.op}": it is one of add, remove, replace')
    value = operation.value.value if isinstance(operation.value, PatchValue) else operation.value
    if value is None:
        raise FleetError(400, f'operation "{operation.op}" on "{operation.path}" has no value')
    return found[2], value


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
    return _json({"error": {"code": status, "message": message}}, status)
