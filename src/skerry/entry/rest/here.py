"""/v1/host/cluster: this machine's own part in a cluster: begin one, join one, leave it, mend its store.

POST /v1/host/cluster/init        a machine alone becomes the first server of a cluster
POST /v1/host/cluster/join        a machine alone becomes a member
POST /v1/host/cluster/leave       a member becomes a machine alone
POST /v1/host/cluster/migrate     a server that keeps the store in a file moves it to etcd
POST /v1/host/cluster/snapshot    the store into a file of this machine
POST /v1/host/cluster/restore     begin anew from such a file, with this server alone
POST /v1/host/cluster/rescue      the same from what this server still holds
POST /v1/host/cluster/member      take the vote of a server that is lost

For root on the machine itself. The answer comes when it is done; what runs on the machine runs on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec
from starlette.routing import Route

from skerry.entry.rest.auth import note
from skerry.entry.rest.codec import RequestError, decode, respond
from skerry.entry.rest.openapi import described
from skerry.fleet.state.node import Role

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

PREFIX = "/v1/host/cluster/"
VERBS = ("init", "join", "leave", "member", "migrate", "rescue", "restore", "snapshot")


class HereOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a verb needs; the rest is absent. `force`: though units are here that go with it, or servers run.

    `address` is where other machines reach this one, `file` a path on this machine, `node` a server's id.
    `etcd` false leaves the first server's store in its file: the cluster can have agents, no more servers.
    """

    name: str = ""
    address: str = ""
    token: str = ""
    servers: tuple[str, ...] = ()
    role: Role | None = None
    force: bool = False
    etcd: bool = True
    file: str = ""
    node: str = ""


class HereView(msgspec.Struct, frozen=True):
    """What the machine is now. `cluster` is "" for one alone; `file` what was written."""

    cluster: str = ""
    name: str = ""
    node: str = ""
    role: str = ""
    address: str = ""
    servers: tuple[str, ...] = ()
    file: str = ""


class HereVerbs(Protocol):
    """Does it, in whatever role the machine is. Raises RequestError for what this role cannot."""

    async def do(self, verb: str, asked: HereOrder) -> HereView: ...


class Here:
    """The handlers."""

    def __init__(self, verbs: HereVerbs) -> None:
        self._verbs = verbs

    def routes(self) -> list[Route]:
        return [Route(PREFIX + "{verb}", self.do, methods=["POST"])]

    @described(takes=HereOrder, gives=HereView)
    async def do(self, request: Request) -> Response:
        """Begin, join or leave a cluster, or mend its store, on this machine."""
        verb = request.path_params["verb"]
        if verb not in VERBS:
            raise RequestError(404, "not-found", f"{verb!r} is none of {', '.join(VERBS)}")
        asked = await decode(request, HereOrder)
        note(request, asked.name or asked.node or asked.file)
        return respond(await self._verbs.do(verb, asked))


def not_here(verb: str, what: str, *, hint: str | None = None) -> RequestError:
    """The refusal of a verb that does not fit what the machine is."""
    return RequestError(409, "refused", f"`skerry cluster {verb}`: this machine is {what}", hint=hint)
