"""Bytes to values and back, at the edge of the API: what comes in is parsed once and strictly.

Errors of ours are `{"error": {"code", "message", "hint", "problems"}}`: `code` a word for programs,
`problems` a list where a document has several, each on its author's line. A body is never read beyond
LARGEST_BODY_BYTES. Nothing a client sends may become a 500; what does is a bug and is logged as one.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from skerry.entry.rest.views import ErrorBody, ErrorView, ProblemView
from skerry.fleet.access.errors import (
    AccessError,
    AddressTakenError,
    DuplicateNodeError,
    ForbiddenError,
    NoSuchTokenError,
    TokenRefusedError,
    UnauthenticatedError,
)
from skerry.fleet.state.document import RecordError
from skerry.fleet.store.errors import StoreError
from skerry.fleet.trust.errors import CertificateError, TokenTextError
from skerry.host.units.errors import ServiceManagerError, UnitError
from skerry.kit.errors import Problem, ProblemsError, SkerryError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request

log = logging.getLogger("skerry.rest")

LARGEST_BODY_BYTES = 8 * 1024 * 1024
JSON = "application/json"
NDJSON = "application/x-ndjson"

T = TypeVar("T")

_OF_ACCESS: tuple[tuple[type[SkerryError], int, str], ...] = (
    (UnauthenticatedError, 401, "unauthenticated"),
    (ForbiddenError, 403, "forbidden"),
    (TokenRefusedError, 403, "token-refused"),
    (DuplicateNodeError, 409, "duplicate-node"),
    (AddressTakenError, 409, "address-taken"),
    (NoSuchTokenError, 404, "token-not-found"),
    (AccessError, 400, "bad-request"),
    (TokenTextError, 400, "bad-token"),
    (CertificateError, 400, "bad-certificate"),
)


class RequestError(SkerryError):
    """A request that cannot be answered as asked; `status` and `code` go to the client."""

    def __init__(self, status: int, code: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code


async def read_body(request: Request) -> bytes:
    """The whole body. Raises RequestError: 413 beyond the limit, before the rest is read; 400 where the rest
    does not come, for nobody to read but the log."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > LARGEST_BODY_BYTES:
                raise RequestError(
                    413, "too-large", f"the request is larger than {LARGEST_BODY_BYTES // 1024 // 1024} MiB"
                )
    except ClientDisconnect as error:
        raise RequestError(400, "bad-request", "the body is not whole: the client hung up") from error
    return bytes(body)


def is_json(request: Request) -> bool:
    """Whether the request says that its body is JSON; parameters such as a charset do not matter."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == JSON


async def decode(request: Request, kind: type[T]) -> T:
    """The body as `kind`. Raises RequestError 415 or 400, which names the place in the document."""
    if not is_json(request):
        said = request.headers.get("content-type", "nothing")
        raise RequestError(415, "not-json", f"the body must be {JSON}, Content-Type says {said!r}")
    try:
        return msgspec.json.decode(await read_body(request), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(400, "bad-request", f"the body cannot be read: {describe(error)}") from error


def describe(error: Exception) -> str:
    """msgspec's message in our words: `$.units[0].name` is a place that people find."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error).replace("Object ", "the object ").replace("JSON is malformed", "the JSON is malformed")


def respond(value: object, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(value), status, media_type=JSON)


def problem_view(problem: Problem) -> ProblemView:
    return ProblemView(
        problem.file, problem.message, problem.severity.value, str(problem), problem.line, problem.hint
    )


def problem_views(problems: Iterable[Problem]) -> tuple[ProblemView, ...]:
    return tuple(problem_view(p) for p in problems)


def classify(error: Exception) -> tuple[int, ErrorView]:
    """The status and the body for anything that can be raised; what is no SkerryError is a bug."""
    if isinstance(error, RequestError):
        return error.status, ErrorView(error.code, error.message, error.hint)
    if isinstance(error, ProblemsError):
        return 400, ErrorView("refused", error.message, error.hint, problem_views(error.problems))
    if isinstance(error, HTTPException):
        words = {404: "not-found", 405: "method-not-allowed"}
        return error.status_code, ErrorView(words.get(error.status_code, "bad-request"), error.detail)
    for kind, status, code in _OF_ACCESS:
        if isinstance(error, kind):
            return status, ErrorView(code, error.message, error.hint)
    if isinstance(error, StoreError | ServiceManagerError):
        return 503, ErrorView("unavailable", error.message, error.hint)
    if isinstance(error, RecordError):
        return 409, ErrorView("newer", error.message, error.hint)
    if isinstance(error, UnitError):
        return 400, ErrorView("refused", error.message, error.hint)
    if isinstance(error, SkerryError):
        return 500, ErrorView("failed", error.message, error.hint)
    return 500, ErrorView("bug", "skerryd has a bug", "the journal of skerryd.service tells more")


async def on_error(request: Request, error: Exception) -> Response:
    """Starlette's handler for every exception: the answer, and for a bug the trace in the journal."""
    status, view = classify(error)
    if view.code == "bug":
        log.error("bug while answering %s %s", request.method, request.url.path, exc_info=error)
    headers = error.headers if isinstance(error, HTTPException) else None
    return Response(msgspec.json.encode(ErrorBody(view)), status, headers, media_type=JSON)
