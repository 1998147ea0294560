"""The HTTP API as one ASGI application, put together from what it is given; it wires nothing itself.

    /fleet/v1, /v1-alpha   fleet's own API              /v1/host     this machine
    /v1/units, /v1/verify  units                        /v1/events   changes as they come
    /v1/nodes              machines                     /v1/cluster  how all of it is
    /v1/openapi.json       this API, described          /metrics     numbers for Prometheus

Without a store (it is damaged, say) everything but /v1/host answers 503 with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route

from skerry.entry.rest.cluster import ClusterStatus, Surroundings
from skerry.entry.rest.codec import RequestError, on_error
from skerry.entry.rest.events import Events
from skerry.entry.rest.fleet import Fleet
from skerry.entry.rest.metrics import Metrics
from skerry.entry.rest.nodes import Nodes, Removal, nothing_more
from skerry.entry.rest.openapi import OpenApi
from skerry.entry.rest.pages import DEFAULT_LIMIT
from skerry.entry.rest.units import Units
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from skerry.entry.rest.desired import Desired
    from skerry.entry.rest.host import Host
    from skerry.entry.rest.units import Explain, Journal

ALONE = Surroundings()
ALL_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the API needs of a machine whose store is open; `more` are routes of other parts.

    `explain` says why a unit is where it is, where somebody can.
    """

    desired: Desired
    journal: Journal
    more: Sequence[BaseRoute] = ()
    around: Surroundings = ALONE
    removal: Removal = nothing_more
    explain: Explain | None = None
    limit: int = DEFAULT_LIMIT


def create_app(host: Host, cluster: Cluster | None, always: Sequence[BaseRoute] = ()) -> Starlette:
    """The application; `cluster` is None where the store cannot be used, and `host` tells why.

    `always` are routes that need no store.
    """
    routes: list[BaseRoute] = [*host.routes(), *always]
    if cluster is None:
        routes.append(Route("/{path:path}", _unavailable(host), methods=list(ALL_METHODS)))
    else:
        routes += Units(cluster.desired, cluster.journal, cluster.explain).routes()
        routes += Nodes(cluster.desired, cluster.removal).routes()
        routes += ClusterStatus(cluster.desired, cluster.around).routes()
        routes += Events(cluster.desired).routes()
        routes += Metrics(cluster.desired, host).routes()
        routes += Fleet(cluster.desired, limit=cluster.limit).routes()
        routes += cluster.more
    routes += OpenApi(routes).routes()
    handlers = {SkerryError: on_error, HTTPException: on_error, Exception: on_error}
    return Starlette(routes=routes, exception_handlers=handlers)


def _unavailable(host: Host) -> Callable[[Request], Awaitable[Response]]:
    """The answer to everything that needs the store."""

    async def answer(request: Request) -> Response:
        raise RequestError(
            503,
            "degraded",
            host.degraded() or "skerryd is not ready yet",
            hint="`skerry host status` and the journal of skerryd.service tell more",
        )

    return answer
