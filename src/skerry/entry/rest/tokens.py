"""Tokens of people and of machines to come, and the audit log; for admins. A secret leaves once.

/v1/tokens, /v1/tokens/{id or name}    people and programs      /v1/whoami   what my token is good for
/v1/cluster/tokens[/{id}]              machines to come         /v1/audit    who changed what
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from skerry.entry.rest.auth import caller_of, note
from skerry.entry.rest.codec import RequestError, decode, respond
from skerry.entry.rest.openapi import described
from skerry.fleet.access.audit import Audit, Series
from skerry.fleet.access.caller import KeyRight, PersonRole
from skerry.fleet.trust.identity import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from skerry.fleet.access.known import Known
    from skerry.fleet.access.records import JoinToken, PersonToken
    from skerry.fleet.access.tokens import Tokens

MOST_RECORDS = 1000

T = TypeVar("T")


class NewToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`ttl_s` null is for ever; `keys` narrows what the token may do under /v2/keys."""

    name: str
    role: PersonRole
    ttl_s: float | None = None
    keys: tuple[KeyRight, ...] = ()


class TokenView(msgspec.Struct, frozen=True):
    id: str
    name: str
    role: PersonRole
    created: float
    expires: float
    keys: tuple[KeyRight, ...]
    created_by: str


class CreatedToken(msgspec.Struct, frozen=True):
    """`token` is shown this once."""

    token: str
    record: TokenView


class TokenList(msgspec.Struct, frozen=True):
    tokens: tuple[TokenView, ...]


class NewJoinToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    role: Role = Role.AGENT
    ttl_s: float = 3600.0
    uses: int = 1


class JoinTokenView(msgspec.Struct, frozen=True):
    id: str
    role: Role
    created: float
    expires: float
    uses: int
    used: int
    created_by: str


class CreatedJoinToken(msgspec.Struct, frozen=True):
    """`token` is shown this once; `servers` are those to join through."""

    token: str
    record: JoinTokenView
    servers: tuple[str, ...]


class JoinTokenList(msgspec.Struct, frozen=True):
    tokens: tuple[JoinTokenView, ...]


class WhoAmI(msgspec.Struct, frozen=True):
    kind: str
    name: str
    role: str
    keys: tuple[KeyRight, ...]
    cluster: str


class AuditView(msgspec.Struct, frozen=True):
    id: str
    at: float
    kind: str
    who: str
    address: str
    what: str
    outcome: int
    detail: str


class AuditPage(msgspec.Struct, frozen=True):
    """The newest first; `before` of the next request is the id of the last one here."""

    records: tuple[AuditView, ...]


class TokenRoutes:
    """The handlers. `servers` and `cluster` (its name) are asked when they are needed."""

    def __init__(
        self,
        tokens: Tokens,
        known: Known,
        audit: Audit,
        *,
        servers: Callable[[], tuple[str, ...]],
        cluster: Callable[[], str],
    ) -> None:
        self._tokens = tokens
        self._known = known
        self._audit = audit
        self._servers = servers
        self._cluster = cluster

    def routes(self) -> list[Route]:
        return [
            Route("/v1/tokens", self.list_people, methods=["GET"]),
            Route("/v1/tokens", self.create_person, methods=["POST"]),
            Route("/v1/tokens/{which}", self.revoke_person, methods=["DELETE"]),
            Route("/v1/cluster/tokens", self.list_joins, methods=["GET"]),
            Route("/v1/cluster/tokens", self.create_join, methods=["POST"]),
            Route("/v1/cluster/tokens/{id}", self.revoke_join, methods=["DELETE"]),
            Route("/v1/whoami", self.whoami, methods=["GET"]),
            Route("/v1/audit", self.audit, methods=["GET"]),
        ]

    @described(gives=TokenList)
    async def list_people(self, request: Request) -> Response:
        """The tokens of people and programs, without their secrets."""
        return respond(TokenList(tuple(_shown(record, TokenView) for record in await self._tokens.people())))

    @described(takes=NewToken, gives=CreatedToken, status=201)
    async def create_person(self, request: Request) -> Response:
        """Make a token for a person or a program."""
        asked = await decode(request, NewToken)
        record, token, revision = await self._tokens.create_person(
            asked.name, asked.role, ttl_s=asked.ttl_s, keys=asked.keys, by=caller_of(request).name
        )
        await self._known.saw_people(revision)
        note(request, f"{record.role} {record.name}, {record.id}")
        return respond(CreatedToken(token.text, _shown(record, TokenView)), 201)

    @described(status=204)
    async def revoke_person(self, request: Request) -> Response:
        """Revoke a token, by its name or id; it ends at once."""
        revision = await self._tokens.revoke_person(request.path_params["which"])
        await self._known.saw_people(revision)
        return Response(status_code=204)

    @described(gives=JoinTokenList)
    async def list_joins(self, request: Request) -> Response:
        """The tokens to join with, without their secrets."""
        records = await self._tokens.joins()
        return respond(JoinTokenList(tuple(_shown(record, JoinTokenView) for record in records)))

    @described(takes=NewJoinToken, gives=CreatedJoinToken, status=201)
    async def create_join(self, request: Request) -> Response:
        """Make a token with which machines join."""
        asked = await decode(request, NewJoinToken)
        record, token = await self._tokens.create_join(
            asked.role, ttl_s=asked.ttl_s, uses=asked.uses, by=caller_of(request).name
        )
        note(request, f"for {record.uses or 'any number of'} {record.role}, {record.id}")
        return respond(CreatedJoinToken(token.text, _shown(record, JoinTokenView), self._servers()), 201)

    @described(status=204)
    async def revoke_join(self, request: Request) -> Response:
        """Revoke a token to join with; machines that joined stay."""
        await self._tokens.revoke_join(request.path_params["id"])
        return Response(status_code=204)

    @described(gives=WhoAmI)
    async def whoami(self, request: Request) -> Response:
        """Who the caller is taken for."""
        caller = caller_of(request)
        role = caller.role or caller.node_role or ""
        return respond(WhoAmI(caller.kind, caller.name, str(role), caller.keys, self._cluster()))

    @described(
        gives=AuditPage,
        query={"series": "changes, or keys", "limit": "how many", "before": "the id of the last one seen"},
    )
    async def audit(self, request: Request) -> Response:
        """Who changed what, the newest first."""
        query = request.query_params
        series, limit = query.get("series", Series.CHANGES), query.get("limit", "100")
        if series not in set(Series):
            raise RequestError(400, "bad-request", f"series is one of {', '.join(Series)}")
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit) <= MOST_RECORDS:
            raise RequestError(400, "bad-request", f"limit is a number from 1 to {MOST_RECORDS}")
        found = await self._audit.newest(Series(series), limit=int(limit), before=query.get("before"))
        return respond(
            AuditPage(
                tuple(
                    AuditView(name, r.at, r.kind, r.who, r.address, r.what, r.outcome, r.detail)
                    for name, r in found
                )
            )
        )


def _shown(record: PersonToken | JoinToken, view: type[T]) -> T:
    """What of a token is shown: not the hash of its secret."""
    return msgspec.convert(record, view, from_attributes=True)
