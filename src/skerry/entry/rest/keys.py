"""etcd's v2 key API, as far as its users' programs go: `/v2/keys…` and `/version`.

Forms as etcd parses them (a body's fields before the query's, the first of a name counts), statuses,
headers and error documents as etcd answers them. Source: https://etcd.io/docs/v2.3/api/ and the answers
of etcd 3.4 with --enable-v2, to which tests/conformance/test_keys_peer.py compares these.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import math
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from skerry.entry.rest.codec import JSON, read_body
from skerry.entry.rest.streaming import Stream
from skerry.fleet.keys.change import Change, Kind
from skerry.fleet.keys.errors import Code, KeysError
from skerry.fleet.keys.nodes import Event, Node, Shown
from skerry.fleet.store.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from starlette.requests import Request

    from skerry.fleet.keys.keyspace import Keyspace, Watch

PREFIX = "/v2/keys"
FORM = "application/x-www-form-urlencoded"
WAIT_LIMIT_S = 300.0
"""A long poll that nothing ended by then is answered with an empty body."""

ETCD_VERSION = "2.3.8"
"""Whose behaviour this is; programs ask before they speak."""

STATUS = {
    Code.KEY_NOT_FOUND: 404,
    Code.NOT_A_FILE: 403,
    Code.DIRECTORY_NOT_EMPTY: 403,
    Code.COMPARE_FAILED: 412,
    Code.KEY_EXISTS: 412,
    Code.INTERNAL: 500,
}
TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
UNQUOTED = frozenset({"prevExist", "refresh"})
FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


class NodeView(msgspec.Struct, frozen=True, omit_defaults=True):
    key: str = ""
    value: str | msgspec.UnsetType = msgspec.UNSET
    dir: bool = False
    expiration: str = ""
    ttl: int = 0
    nodes: tuple[NodeView, ...] = ()
    modifiedIndex: int = 0  # noqa: N815 - etcd's name
    createdIndex: int = 0  # noqa: N815 - etcd's name


class EventView(msgspec.Struct, frozen=True, omit_defaults=True):
    action: str
    node: NodeView | None = None
    prevNode: NodeView | None = None  # noqa: N815 - etcd's name


class ErrorView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    errorCode: int  # noqa: N815 - etcd's name
    message: str
    cause: str = ""
    index: int


def routes(keys: Keyspace, *, wait_limit_s: float = WAIT_LIMIT_S) -> list[Route]:
    """What the API's app mounts."""

    async def answer(request: Request) -> Response:
        try:
            return await _answer(keys, request, wait_limit_s)
        except KeysError as error:
            return _error(error)
        except StoreError as error:
            return _error(KeysError(Code.INTERNAL, error.message))

    async def version(_: Request) -> Response:
        return _json({"etcdserver": ETCD_VERSION, "etcdcluster": "2.3.0"}, 200, None)

    methods = ["GET", "PUT", "POST", "DELETE"]
    return [
        Route(PREFIX, answer, methods=methods),
        Route(PREFIX + "/{path:path}", answer, methods=methods),
        Route("/version", version),
    ]


async def _answer(keys: Keyspace, request: Request, wait_limit_s: float) -> Response:
    path = "/" + str(request.path_params.get("path", ""))
    form = await _form(request)
    check = _checked(form)
    if request.method not in ("GET", "HEAD"):
        if check.wait:
            raise KeysError(Code.INVALID_FIELD, '"wait" can only be used with GET requests')
        event = await keys.change(_change(request.method, path, form, check))
        view = _event_view(event, keys.now())
        if check.no_value and request.method != "DELETE":
            view = EventView(view.action)
        return _json(view, 201 if event.is_creation else 200, event.index)
    if check.wait and request.method == "GET":
        watch = await keys.watch(path, recursive=check.recursive, since=check.wait_index or None)
        stream = _streamed(watch, keys.now, wait_limit_s, only_one=not check.stream)
        return Stream(stream, headers=_headers(watch.index), media_type=JSON)
    event = await keys.get(path, recursive=check.recursive)
    return _json(_event_view(event, keys.now()), 200, event.index)


async def _form(request: Request) -> dict[str, str]:
    """The fields of the body, then those of the query; the first of a name counts."""
    pairs: list[tuple[str, str]] = []
    texts = [request.url.query]
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method in ("PUT", "POST") and content_type == FORM:
        texts.insert(0, (await read_body(request)).decode(errors="replace"))
    for text in texts:
        try:
            pairs += parse_qsl(text, keep_blank_values=True, errors="replace")
        except ValueError as error:
            raise KeysError(Code.INVALID_FORM, str(error)) from error
    return dict(reversed(pairs))


class _Checked(msgspec.Struct, frozen=True):
    """The fields that are not mere text."""

    recursive: bool
    wait: bool
    stream: bool
    directory: bool
    no_value: bool
    previous_exists: bool | None
    refresh: bool
    previous_index: int
    wait_index: int
    ttl_s: int | None


def _checked(form: Mapping[str, str]) -> _Checked:
    """The fields parsed, wrong ones refused in the order in which etcd looks at them."""
    previous_index = _number(form, "prevIndex", Code.INDEX_NOT_A_NUMBER) or 0
    wait_index = _number(form, "waitIndex", Code.INDEX_NOT_A_NUMBER) or 0
    recursive = _flag(form, "recursive")
    _flag(form, "sorted")  # listings are always sorted
    wait = _flag(form, "wait")
    directory = _flag(form, "dir")
    _flag(form, "quorum")  # reads are always of what is agreed
    stream = _flag(form, "stream")
    if form.get("prevValue") == "":
        raise KeysError(Code.PREV_VALUE_REQUIRED, '"prevValue" cannot be empty')
    no_value = _flag(form, "noValueOnSuccess")
    ttl_s = _number(form, "ttl", Code.TTL_NOT_A_NUMBER) if form.get("ttl") else None
    previous_exists = _flag(form, "prevExist") if "prevExist" in form else None
    refresh = _flag(form, "refresh")
    if refresh and form.get("value"):
        raise KeysError(Code.REFRESH_WITH_VALUE, "A value was provided on a refresh")
    if refresh and ttl_s is None:
        raise KeysError(Code.REFRESH_WITHOUT_TTL, "No TTL value set")
    return _Checked(
        recursive,
        wait,
        stream,
        directory,
        no_value,
        previous_exists,
        refresh,
        previous_index,
        wait_index,
        ttl_s,
    )


def _change(method: str, path: str, form: Mapping[str, str], check: _Checked) -> Change:
    return Change(
        _kind(method, form, check),
        path,
        value=form.get("value", ""),
        directory=check.directory,
        recursive=check.recursive,
        ttl_s=check.ttl_s,
        refresh=check.refresh and method == "PUT",
        in_order=method == "POST",
        previous_value=form.get("prevValue", ""),
        previous_index=check.previous_index,
    )


def _kind(method: str, form: Mapping[str, str], check: _Checked) -> Kind:
    compares = bool(form.get("prevValue")) or check.previous_index > 0
    if method == "DELETE":
        return Kind.DELETE_IF if compares else Kind.DELETE
    if method == "POST" or check.previous_exists is False:
        return Kind.CREATE
    if compares:
        return Kind.SWAP
    return Kind.UPDATE if check.previous_exists else Kind.SET


async def _streamed(
    watch: Watch, now: Callable[[], float], limit_s: float, *, only_one: bool
) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(watch.events) as events:
        with contextlib.suppress(TimeoutError, KeysError):
            async with asyncio.timeout(limit_s):
                async for event in events:
                    yield _encoded(_event_view(event, now()))
                    if only_one:
                        return


def _number(form: Mapping[str, str], name: str, code: Code) -> int | None:
    text = form.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < 2**64):
        raise KeysError(code, f'invalid value for "{name}"')
    return int(text)


def _flag(form: Mapping[str, str], name: str) -> bool:
    text = form.get(name)
    if text is None or text in FALSE:
        return False
    if text not in TRUE:
        shown = name if name in UNQUOTED else f'"{name}"'
        raise KeysError(Code.INVALID_FIELD, f"invalid value for {shown}")
    return True


def _event_view(event: Event, now: float) -> EventView:
    previous = None if event.previous is None else _node_view(Shown(event.previous), now)
    node = _node_view(event.shown, now, gone=event.action.value in ("delete", "expire", "compareAndDelete"))
    return EventView(event.action.value, node, previous)


def _node_view(shown: Shown, now: float, *, gone: bool = False) -> NodeView:
    node: Node = shown.node
    return NodeView(
        key="" if node.path == "/" else node.path,
        value=msgspec.UNSET if node.value is None or gone else node.value,
        dir=node.is_directory,
        expiration="" if node.expires is None else _rfc3339(node.expires),
        ttl=0 if node.expires is None else max(0, math.ceil(node.expires - now)),
        nodes=tuple(_node_view(child, now) for child in shown.below),
        modifiedIndex=node.modified,
        createdIndex=node.created,
    )


def _rfc3339(moment: float) -> str:
    # Not from a timestamp, which ends with the year 9999 by an error of the platform.
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    try:
        return (epoch + datetime.timedelta(seconds=moment)).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return "9999-12-31T23:59:59Z"


def _headers(index: int) -> dict[str, str]:
    """There is one server, so the raft of etcd stands where the store stands."""
    return {"X-Etcd-Index": str(index), "X-Raft-Index": str(index), "X-Raft-Term": "1"}


def _encoded(view: EventView | ErrorView | Mapping[str, str]) -> bytes:
    return msgspec.json.encode(view) + b"\n"


def _json(view: EventView | ErrorView | Mapping[str, str], status: int, index: int | None) -> Response:
    return Response(_encoded(view), status, None if index is None else _headers(index), media_type=JSON)


def _error(error: KeysError) -> Response:
    view = ErrorView(errorCode=error.code.value, message=error.text, cause=error.cause, index=error.index)
    return _json(view, STATUS.get(error.code, 400), error.index)
