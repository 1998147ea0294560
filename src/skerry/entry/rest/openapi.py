"""/v1/openapi.json: the API described, generated from the routes and the types that they carry.

A handler says with `described` what it takes and gives; its docstring's first line is the summary. The
document is made when it is asked for, and schemas by msgspec, so that it costs nothing until then.
Format: https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from starlette.routing import BaseRoute, Mount, Route

import skerry
from skerry.entry.rest.codec import JSON, NDJSON, respond
from skerry.entry.rest.views import ErrorBody

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from skerry.kit.http import Json

_ATTRIBUTE = "__described__"
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


def described(
    *,
    takes: type | None = None,
    gives: type | None = None,
    status: int = 200,
    media_type: str = JSON,
    query: Mapping[str, str] | None = None,
    lines: type | None = None,
) -> Callable[[F], F]:
    """Write down beside a handler what it takes and gives."""

    def mark(handler: F) -> F:
        setattr(handler, _ATTRIBUTE, Description(takes, gives, status, media_type, query or {}, lines))
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

    plain = [(route, _description(route)) for route in routes if isinstance(route, Route)]
    types = {t for _, d in plain for t in (d.takes, d.gives, d.lines) if t is not None} | {ErrorBody}
    ordered = sorted(types, key=lambda t: t.__name__)
    references, schemas = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    by_type = dict(zip(ordered, references, strict=True))
    paths: dict[str, Json] = {}
    for route, description in plain:
        operations = paths.setdefault(route.path.replace(":path", ""), {})
        assert isinstance(operations, dict)  # noqa: S101
        for method in sorted((route.methods or set()) - {"HEAD"}):
            operations[method.lower()] = _operation(route, description, by_type)
    for mount in routes:
        if isinstance(mount, Mount):
            summary = f"fleet's API; {mount.path}/discovery describes it"
            paths[f"{mount.path}/discovery"] = {
                "get": {"summary": summary, "responses": {"200": {"description": "the description"}}}
            }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Skerry", "version": skerry.__version__, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(route: Route, description: Description, by_type: Mapping[type, dict[str, Json]]) -> Json:
    parameters: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in route.param_convertors
    ]
    parameters += [
        {"name": name, "in": "query", "description": meaning, "schema": {"type": "string"}}
        for name, meaning in description.query.items()
    ]
    good: dict[str, Json] = {"description": "as asked"}
    if description.status != 204:
        schema: Json = {} if description.gives is None else dict(by_type[description.gives])
        content: dict[str, Json] = {description.media_type: {"schema": schema}}
        if description.lines is not None:
            content[NDJSON] = {"schema": dict(by_type[description.lines])}
        good["content"] = content
    error: Json = {"description": "an error", "content": {JSON: {"schema": dict(by_type[ErrorBody])}}}
    operation: dict[str, Json] = {
        "summary": (inspect.getdoc(route.endpoint) or route.name).partition("\n")[0],
        "responses": {str(description.status): good, "default": error},
    }
    if parameters:
        operation["parameters"] = parameters
    if description.takes is not None:
        body: Json = {JSON: {"schema": dict(by_type[description.takes])}}
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _description(route: Route) -> Description:
    found = getattr(route.endpoint, _ATTRIBUTE, None)
    return found if isinstance(found, Description) else Description(None, None, 200, JSON, {})
