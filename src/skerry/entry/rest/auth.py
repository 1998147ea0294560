"""Stands before the whole API: finds out who asks, whether they may, and writes down what they changed.

    connection ─→ Caller: root (Unix socket), node (certificate), person (Bearer or Basic token), nobody
    path ─→ the route the application itself will take ─→ its right in `rights.RIGHTS`, or none: refused

What an answer acknowledges is in the audit log before it is sent. A caller who is not known any more (token
revoked or expired, node removed or its certificate run out) loses streams that are open, and connections that
are kept. No header, body or query is ever logged.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec
from starlette.routing import Match, Mount, Route

from skerry.entry.rest.codec import JSON, RequestError, classify
from skerry.entry.rest.rights import check, right_of
from skerry.entry.rest.views import ErrorBody
from skerry.fleet.access.audit import Series
from skerry.fleet.access.caller import NOBODY, Caller, CallerKind, root
from skerry.fleet.access.errors import UnauthenticatedError
from skerry.fleet.access.records import AuditRecord
from skerry.fleet.store.errors import StoreError
from skerry.fleet.trust.token_text import without_secrets
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.routing import BaseRoute
    from starlette.types import Message, Receive, Scope, Send

    from skerry.entry.rest.rights import Right
    from skerry.fleet.access.audit import Audit
    from skerry.fleet.access.known import Known
    from skerry.fleet.trust.identity import Peer
    from skerry.kit.clock import Clock

log = logging.getLogger("skerry.access")

CONNECTION, CALLER, DETAIL = "connection", "caller", "audit"
SWEEP_S = 60.0
LONGEST_PATH = 256


@dataclass(frozen=True, slots=True)
class Connection:
    """What the listener knows of a connection; it puts this into each request's state."""

    is_local: bool = False
    peer: Peer | None = None
    problem: str = ""  # why its certificate, though signed by the authority, is nobody's
    let_in: Callable[[], object] = field(default=lambda: None, compare=False)  # for the listener, that counts


@dataclass(slots=True, eq=False)
class _Live:
    """A request that is being answered, and the task to cancel."""

    principal: str
    expires: float
    task: asyncio.Task[object] | None
    answering: bool = False
    cut: bool = field(default=False)


def caller_of(request: Request) -> Caller:
    """Who asks; NOBODY where no guard stands before the application."""
    found = request.scope.get("state", {}).get(CALLER)
    return found if isinstance(found, Caller) else NOBODY


def note(request: Request, detail: str) -> None:
    """Say more of a change than its path does ("start web.service"), for the audit log; no secrets."""
    request.scope.setdefault("state", {})[DETAIL] = detail[:500]


class Guard:
    """An ASGI application around another. Without `known` (no store) only root is let in.

    Run `run` beside it.
    """

    def __init__(self, app: Starlette, clock: Clock, known: Known | None, audit: Audit | None) -> None:
        self._app = app
        self._routes = [(_beginning(route), route) for route in app.routes]
        self._clock = clock
        self._known = known
        self._audit = audit
        self._live: set[_Live] = set()
        if known is not None:
            known.on_change(self._changed)

    async def run(self) -> None:
        """Cut the streams of those whose time has run out."""
        while True:
            await self._clock.sleep(SWEEP_S)
            self._changed("")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        state = scope.setdefault("state", {})
        near = [route for beginning, route in self._routes if scope["path"].startswith(beginning)]
        route, params = find_route(near, scope)
        caller, right = NOBODY, None if route is None else right_of(route, scope["method"])
        try:
            caller = self._caller(scope, right)
            if right is None:
                _check_unknown(route, caller, scope)
            else:
                check(right, caller, scope["method"], params)
        except SkerryError as error:
            await self._refuse(error, caller, right, scope, send)
            return
        assert right is not None  # noqa: S101  _check_unknown has raised
        state[CALLER] = caller
        connection = state.get(CONNECTION)
        if caller.kind is not CallerKind.NOBODY and isinstance(connection, Connection):
            connection.let_in()
        await self._answer(caller, right, scope, receive, send)

    def is_node(self, connection: Connection, node: str) -> bool:
        """Whether a node that is known, and is this one, is at the other end; no reason is given."""
        if connection.peer is None or connection.problem or self._known is None or not self._known.is_ready:
            return False
        try:
            return self._known.node(connection.peer, "").name == node
        except UnauthenticatedError:
            return False

    def _caller(self, scope: Scope, right: Right | None) -> Caller:
        connection = scope["state"].get(CONNECTION)
        if not isinstance(connection, Connection):
            connection = Connection()
        if connection.is_local:
            return root()
        address = str(scope["client"][0]) if scope.get("client") else ""
        nobody = Caller(CallerKind.NOBODY, address=address)
        if right is not None and right.public:
            return nobody
        if self._known is None or not self._known.is_ready:
            raise RequestError(503, "unavailable", "this server does not know yet who may do what")
        if connection.problem:
            raise UnauthenticatedError(connection.problem)
        if connection.peer is not None:
            return self._known.node(connection.peer, address)
        token = _token(scope)
        return nobody if token is None else self._known.person(token, address)

    async def _answer(self, caller: Caller, right: Right, scope: Scope, receive: Receive, send: Send) -> None:
        live = _Live(caller.principal, caller.expires, asyncio.current_task())
        changes = scope["method"] not in ("GET", "HEAD")

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                if changes and right.series is not None:
                    await self._write_down(caller, right.series, scope, message["status"])
                live.answering = True
            elif live.cut and message.get("more_body"):
                raise OSError("the caller is not known any more")
            await send(message)

        self._live.add(live)
        try:
            await self._app(scope, receive, sending)
        except asyncio.CancelledError:
            if not live.cut or live.task is None:
                raise
            live.task.uncancel()  # the answer ends in the middle, and uvicorn closes the connection
        finally:
            self._live.discard(live)

    def _changed(self, principal: str) -> None:
        """Cut the streams of callers that are not known any more."""
        for live in tuple(self._live):
            if not live.principal.startswith(principal) or live.cut or not live.principal:
                continue
            if self._known is not None and not self._known.still(live.principal, live.expires):
                live.cut = True
                # What is not answered yet is let finish: it may be the very request that removed its caller.
                if live.answering and live.task is not None:
                    live.task.cancel()

    async def _write_down(self, caller: Caller, series: Series, scope: Scope, status: int) -> None:
        what = f"{scope['method']} {shown_path(scope['path'])}"
        detail = str(scope["state"].get(DETAIL, ""))
        record = AuditRecord(
            self._clock.now(), caller.kind, caller.name, caller.address, what, status, detail
        )
        if self._audit is None:
            return
        if series is Series.KEYS:
            self._audit.gather(record)
            return
        log.info("%s %s: %s%s, %d", caller.kind, caller.name, what, f" ({detail})" if detail else "", status)
        try:
            await self._audit.append(record, series)
        except StoreError as error:
            log.warning("the audit log does not have this yet: %s", error.message)

    async def _refuse(
        self, error: SkerryError, caller: Caller, right: Right | None, scope: Scope, send: Send
    ) -> None:
        status, _ = classify(error)
        address = str(scope["client"][0]) if scope.get("client") else ""
        if caller.kind is CallerKind.NOBODY:
            log.debug("refused %s from %s: %s", scope["method"], address, error.message)
        elif right is not None and right.series is not None and scope["method"] not in ("GET", "HEAD"):
            await self._write_down(caller, right.series, scope, status)
        body = refusal(scope["path"], error)
        headers = [(b"content-type", JSON.encode()), (b"content-length", str(len(body)).encode())]
        if status == 401:
            headers.append((b"www-authenticate", b'Bearer realm="skerry"'))
            # A connection keeps the certificate that it began with: a node's next one shows the renewed one.
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def shown_path(path: str) -> str:
    """A path for a log: on one line whatever was sent, and without the secret of a token put into it."""
    shown = without_secrets(path)[:LONGEST_PATH]
    return "".join(c if c.isprintable() else quote(c, errors="replace") for c in shown)


def find_route(
    routes: Sequence[BaseRoute], scope: Mapping[str, object]
) -> tuple[str | None, dict[str, object]]:
    """The declared path of the route that the application takes for this request, and the path's parameters.

    Asked of the routes themselves, in their order, so that no other reading of a path can differ.
    """
    partial: tuple[str, dict[str, object]] | None = None
    for route in routes:
        match, child = route.matches(dict(scope))
        if match is Match.NONE:
            continue
        params = dict(child.get("path_params", {}))
        if isinstance(route, Mount):
            inner, more = find_route(route.routes, {**scope, **child})
            return (None if inner is None else route.path + inner), params | more
        if isinstance(route, Route):
            if match is Match.FULL:
                return route.path, params
            partial = partial or (route.path, params)
    return partial if partial is not None else (None, {})


def _beginning(route: BaseRoute) -> str:
    """What every path of a route begins with: the others need not be asked."""
    return route.path.partition("{")[0] if isinstance(route, Route | Mount) else ""


def refusal(path: str, error: SkerryError) -> bytes:
    """The body, in the form that clients of this part of the API read."""
    status, view = classify(error)
    if path.startswith("/v2/"):
        shown = {"errorCode": 110, "message": "The request requires user authentication"}
        return msgspec.json.encode(shown | {"cause": error.message, "index": 0})
    if path.startswith(("/fleet/", "/v1-alpha/")):
        return msgspec.json.encode({"error": {"code": status, "message": error.message}})
    return msgspec.json.encode(ErrorBody(view))


def _check_unknown(route: str | None, caller: Caller, scope: Scope) -> None:
    """Always raises: what is not in the table is refused, with no more than the caller may know."""
    if caller.kind is CallerKind.NOBODY:
        raise UnauthenticatedError("this needs a token or a node's certificate")
    if route is None:
        raise RequestError(404, "not-found", f"there is nothing at {scope['path'][:LONGEST_PATH]}")
    if any(right_of(route, method) for method in ("GET", "POST", "PUT", "PATCH", "DELETE")):
        raise RequestError(405, "method-not-allowed", f"{scope['method']} is not for this path")
    raise RequestError(403, "forbidden", f"nobody has a right to {route}", hint="this is a bug of Skerry")


def _token(scope: Scope) -> str | None:
    """The token of an Authorization header; None without one. Raises UnauthenticatedError."""
    said: list[bytes] = [value for name, value in scope["headers"] if name == b"authorization"]
    if not said:
        return None
    kind, _, rest = said[0].decode("latin-1").partition(" ")
    if len(said) == 1 and kind.lower() == "bearer":
        return rest.strip()
    if len(said) == 1 and kind.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            pass
    raise UnauthenticatedError("the Authorization header is neither one Bearer token nor one Basic password")
