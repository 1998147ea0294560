"""/v1/openapi.json: the API described, generated from the routes and the types that they carry.

A handler says with `described` what it takes and gives; its docstring's first line is the summary. The
document is made when it is asked for, and schemas by msgspec, so that it costs nothing until then.
Format: https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from starlette.routing import BaseRoute, Mount, Route

import skerry
from skerry.entry.rest.codec import JSON, NDJSON, respond
from skerry.entry.rest.views import ErrorBody

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from skerry.kit.http import Json

_ATTRIBUTE = "__described__"
CREATED, NO_CONTENT = 201, 204
EMPTY = (CREATED, NO_CONTENT)  # statuses whose answers have no body
F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Description:
    """What a handler takes and gives; `query` maps parameters to what they mean.

    `lines` is what each line of a stream holds, where the request can ask for one.
    """

    takes: type | None
    gives: type | None
    status: int
    media_type: str
    query: Mapping[str, str]
    lines: type | None = None
    error: type = ErrorBody


NOTHING_SAID = Description(None, None, 200, JSON, {})


@runtime_checkable
class ByMethod(Protocol):
    """An endpoint that answers each method by a handler of its own."""

    @property
    def handlers(self) -> Mapping[str, Callable[..., object]]: ...


def described(
    *,
    takes: type | None = None,
    gives: type | None = None,
    status: int = 200,
    media_type: str = JSON,
    query: Mapping[str, str] | None = None,
    lines: type | None = None,
    error: type = ErrorBody,
) -> Callable[[F], F]:
    """Write down beside a handler what it takes and gives."""

    def mark(handler: F) -> F:
        said = Description(takes, gives, status, media_type, query or {}, lines, error)
        setattr(handler, _ATTRIBUTE, said)
        return handler

    return mark


class OpenApi:
    """The handler, over the routes of the whole application."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._routes = tuple(routes)

    def routes(self) -> list[Route]:
        return [Route("/v1/openapi.json", self.get, methods=["GET"])]

    async def get(self, request: Request) -> Response:
        return respond(document(self._routes))


def document(routes: Sequence[BaseRoute]) -> Json:
    """The OpenAPI document of the routes."""
    import msgspec

    found = list(_operations(routes, ""))
    types = {
        t for o in found for t in (o.said.takes, o.said.gives, o.said.lines, o.said.error) if t is not None
    }
    ordered = sorted(types, key=str)
    references, schemas = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    by_type = dict(zip(ordered, references, strict=True))
    paths: dict[str, dict[str, Json]] = {}
    for operation in found:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _shown(operation, by_type)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Skerry", "version": skerry.__version__, "license": {"name": "Apache-2.0"}},
        "paths": {path: dict(paths[path]) for path in paths},
        "components": {"schemas": schemas},
    }


@dataclass(frozen=True, slots=True)
class _Operation:
    path: str
    method: str
    parameters: tuple[str, ...]
    handler: Callable[..., object]
    said: Description


def _operations(routes: Iterable[BaseRoute], prefix: str) -> Iterator[_Operation]:
    """Every method of every route, those of mounted resources, too."""
    for route in routes:
        if isinstance(route, Mount):
            yield from _operations(route.routes, prefix + route.path)
        if not isinstance(route, Route):
            continue
        endpoint: object = route.endpoint
        methods: dict[str, Callable[..., object]] = {}
        if isinstance(endpoint, ByMethod):
            methods.update(endpoint.handlers)
        else:
            methods.update(dict.fromkeys((route.methods or set()) - {"HEAD"}, route.endpoint))
        path = prefix + route.path.replace(":path", "")
        for method in sorted(methods):
            said = getattr(methods[method], _ATTRIBUTE, NOTHING_SAID)
            yield _Operation(path, method, tuple(route.param_convertors), methods[method], said)


def _shown(operation: _Operation, by_type: Mapping[type, dict[str, Json]]) -> Json:
    said = operation.said
    parameters: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in operation.parameters
    ]
    parameters += [
        {"name": name, "in": "query", "description": meaning, "schema": {"type": "string"}}
        for name, meaning in said.query.items()
    ]
    good: dict[str, Json] = {"description": "as asked"}
    if said.status not in EMPTY:
        schema: Json = {} if said.gives is None else dict(by_type[said.gives])
        content: dict[str, Json] = {said.media_type: {"schema": schema}}
        if said.lines is not None:
            content[NDJSON] = {"schema": dict(by_type[said.lines])}
        good["content"] = content
    responses: dict[str, Json] = {str(said.status): good}
    if said.status == CREATED:
        responses[str(NO_CONTENT)] = {"description": "it was there, and is changed"}
    error: Json = {"description": "an error", "content": {JSON: {"schema": dict(by_type[said.error])}}}
    shown: dict[str, Json] = {
        "summary": (inspect.getdoc(operation.handler) or operation.path).partition("\n")[0],
        "responses": {**responses, "default": error},
    }
    if parameters:
        shown["parameters"] = parameters
    if said.takes is not None:
        body: Json = {JSON: {"schema": dict(by_type[said.takes])}}
        shown["requestBody"] = {"required": True, "content": body}
    return shown
