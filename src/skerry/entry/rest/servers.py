"""/v1/cluster/servers: where the servers are; agents ask it now and then, for servers come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from starlette.routing import Route

from skerry.entry.rest.codec import respond
from skerry.entry.rest.openapi import described

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

SERVERS_PATH = "/v1/cluster/servers"


class ServerList(msgspec.Struct, frozen=True):
    """The URLs of all servers."""

    servers: tuple[str, ...]


class Servers:
    """The handler; `known` gives their URLs."""

    def __init__(self, known: Callable[[], tuple[str, ...]]) -> None:
        self._known = known

    def routes(self) -> list[Route]:
        return [Route(SERVERS_PATH, self.get, methods=["GET"])]

    @described(gives=ServerList)
    async def get(self, request: Request) -> Response:
        """Where the servers of the cluster are."""
        return respond(ServerList(self._known()))
