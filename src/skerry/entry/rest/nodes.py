"""/v1/nodes: the machines of the cluster, and what people want of each.

GET    /v1/nodes                 NodeList, in pages; ?label=key=value
GET    /v1/nodes/{id}            NodeView
PATCH  /v1/nodes/{id}            a NodeChange: labels, cordoned
POST   /v1/nodes/{id}/cordon     no new units are placed there      POST …/uncordon   they are again
POST   /v1/nodes/{id}/drain      its units go elsewhere; the answer, or a stream until it is empty
DELETE /v1/nodes/{id}            takes the machine out of the cluster; ?force=true though it holds units

{id} is a machine id, the beginning of one (4 characters at least), a host name or an address, as long as it
means one machine.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Protocol

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from skerry.entry.rest.auth import caller_of, note
from skerry.entry.rest.codec import NDJSON, RequestError, decode, respond
from skerry.entry.rest.machine import change_node
from skerry.entry.rest.openapi import described
from skerry.entry.rest.pages import page_after
from skerry.entry.rest.streaming import Stream
from skerry.entry.rest.views import DrainOrder, DrainProgress, NodeChange, NodeList, NodeView
from skerry.fleet.state.node import Liveness, node_key, presence_key
from skerry.fleet.state.unit import REPORTS_PREFIX, DesiredState
from skerry.fleet.store.interface import Delete, DeletePrefix

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request

    from skerry.entry.rest.desired import Desired
    from skerry.entry.rest.shown import Shown
    from skerry.fleet.access.known import Known
    from skerry.fleet.access.members import Members

SHORTEST_PREFIX = 4
STILL_S = 15.0  # so long without a move, then a drain says what it waits for
_KEY = re.compile(r"[A-Za-z0-9_.-]{1,256}")
_LIST_QUERY = {
    "label": "only machines with this label, key=value; more than one: with all of them",
    "limit": "at most so many, 1000 where it is absent",
    "token": "the `next` of the page before",
}
_FORCE = {"force": "true to remove a machine that lives and holds units"}


class Removal(Protocol):
    """What taking a machine out of a cluster needs beyond forgetting it: its certificate is revoked."""

    async def __call__(self, node: NodeView, request: Request) -> None: ...


def revoking(members: Members, known: Known | None = None) -> Removal:
    """For a cluster: a machine that was removed is refused from then on, whatever it shows.

    With `known`, this server refuses it, and has cut its streams, before the answer is given.
    """

    async def revoke(node: NodeView, request: Request) -> None:
        caller = caller_of(request)
        revision = await members.remove(node.id, by=caller.name or caller.kind.value)
        if known is not None:
            await known.saw_revoked(revision)
        note(request, f"removed {node.hostname or node.id}")

    return revoke


async def nothing_more(node: NodeView, request: Request) -> None:
    """For a single machine: there is nothing to revoke."""


class Nodes:
    """The handlers."""

    def __init__(self, desired: Desired, removal: Removal = nothing_more) -> None:
        self._desired = desired
        self._removal = removal

    def routes(self) -> list[Route]:
        return [
            Route("/v1/nodes", self.list_nodes, methods=["GET"]),
            Route("/v1/nodes/{id}", self.get, methods=["GET"]),
            Route("/v1/nodes/{id}", self.change, methods=["PATCH"]),
            Route("/v1/nodes/{id}", self.remove, methods=["DELETE"]),
            Route("/v1/nodes/{id}/cordon", self.cordon, methods=["POST"]),
            Route("/v1/nodes/{id}/uncordon", self.uncordon, methods=["POST"]),
            Route("/v1/nodes/{id}/drain", self.drain, methods=["POST"]),
        ]

    @described(gives=NodeList, query=_LIST_QUERY)
    async def list_nodes(self, request: Request) -> Response:
        """Every machine that the cluster knows."""
        shown = await self._desired.fresh()
        labels = [label.partition("=") for label in request.query_params.getlist("label")]
        ids = [
            node
            for node in shown.node_ids()
            if all(shown.metadata(node).get(key) == value for key, _, value in labels)
        ]
        try:
            some, token = page_after(ids, request.query_params)
        except ValueError as error:
            raise RequestError(400, "bad-request", str(error)) from error
        views = tuple(shown.node(node) for node in some)
        return respond(NodeList(views, self._desired.mirror.revision, token))

    @described(gives=NodeView)
    async def get(self, request: Request) -> Response:
        """One machine with everything that is known of it."""
        return respond(await self._node(request))

    @described(takes=NodeChange, gives=NodeView)
    async def change(self, request: Request) -> Response:
        """Set and take away labels; cordon, uncordon."""
        change = await decode(request, NodeChange)
        bad = [key for key in change.metadata if not _KEY.fullmatch(key)]
        if bad:
            message = f"the label {bad[0]!r} cannot be: a key has letters, digits and _ . - only"
            raise RequestError(400, "bad-request", message)
        node = await self._node(request)
        labels = {key: text or "" for key, text in change.metadata.items()}
        note(request, " ".join(f"{key}={text}" if text else f"{key}-" for key, text in labels.items()))
        return respond(await self._changed(node, labels, cordoned=change.cordoned))

    @described(gives=NodeView)
    async def cordon(self, request: Request) -> Response:
        """Place no new units on a machine; those that it has stay."""
        return respond(await self._changed(await self._node(request), cordoned=True))

    @described(gives=NodeView)
    async def uncordon(self, request: Request) -> Response:
        """Place units on a machine again; ends a drain, too."""
        return respond(await self._changed(await self._node(request), cordoned=False, draining=False))

    @described(takes=DrainOrder, gives=DrainProgress, lines=DrainProgress)
    async def drain(self, request: Request) -> Response:
        """Move a machine's units elsewhere, and place no new ones there until it is uncordoned."""
        order = await decode(request, DrainOrder)
        node = await self._node(request)
        await self._changed(node, cordoned=True, draining=True)
        if order.wait:
            return Stream(self._progress(node.id), media_type=NDJSON)
        return respond(_left(await self._desired.fresh(), node.id, frozenset()))

    @described(status=204, query=_FORCE)
    async def remove(self, request: Request) -> Response:
        """Take a machine out of the cluster: its certificate holds no longer, its units go elsewhere."""
        node = await self._node(request)
        force = request.query_params.get("force", "") in {"1", "true", "yes"}
        if node.id == self._desired.node.id:
            raise RequestError(
                409,
                "refused",
                f"{node.hostname or node.id} is the machine that you are speaking to",
                hint="ask another server, or `skerry cluster leave` on this one",
            )
        if node.liveness is Liveness.READY and node.units and not force:
            count = f"{node.units} unit{'s' if node.units != 1 else ''}"
            raise RequestError(
                409,
                "refused",
                f"{node.hostname or node.id} lives and holds {count}",
                hint=f"`skerry node drain {node.id[:8]}` first, or --force",
            )
        await self._removal(node, request)
        said = DeletePrefix(f"{REPORTS_PREFIX}{node.id}/")
        await self._desired.store.transact(
            [], [Delete(node_key(node.id)), Delete(presence_key(node.id)), said]
        )
        return Response(status_code=204)

    async def _node(self, request: Request) -> NodeView:
        shown = await self._desired.fresh()
        return shown.node(find_node(shown, request.path_params["id"]))

    async def _changed(
        self,
        node: NodeView,
        metadata: dict[str, str] | None = None,
        *,
        cordoned: bool | None = None,
        draining: bool | None = None,
    ) -> NodeView:
        """Write what people want of a machine; the machine as it is then."""
        revision = await change_node(
            self._desired.store,
            node.id,
            metadata=metadata,
            cordoned=cordoned,
            draining=draining,
            configured=self._desired.shown().facts(node.id).metadata,
        )
        await self._desired.mirror.reached(revision)
        return self._desired.shown().node(node.id)

    async def _progress(self, node: str) -> AsyncGenerator[bytes, None]:
        """A line whenever something moves, until nothing is left on the machine."""
        at_first = frozenset(_units_on(await self._desired.fresh(), node))
        told = None
        with self._desired.mirror.interest([node]) as moved:
            while True:
                moved.clear()
                shown = self._desired.shown()
                now = _left(shown, node, at_first)
                if now != told:
                    yield msgspec.json.encode(now) + b"\n"
                    told = now
                if now.done:
                    return
                if not shown.node(node).draining:
                    stopped = DrainProgress(node, done=False, left=now.left, said="the drain was called off")
                    yield msgspec.json.encode(stopped) + b"\n"
                    return
                try:
                    await asyncio.wait_for(moved.wait(), STILL_S)
                except TimeoutError:
                    said = f"still waiting for {', '.join(now.left[:5])}"
                    yield msgspec.json.encode(msgspec.structs.replace(now, said=said)) + b"\n"


def find_node(shown: Shown, word: str) -> str:
    """The id of the one machine that a word means. Raises RequestError (404, 409)."""
    if shown.has_node(word):
        return word
    found = [
        node
        for node in shown.node_ids()
        if (len(word) >= SHORTEST_PREFIX and node.startswith(word.lower()))
        or word in {shown.facts(node).hostname, *shown.facts(node).addresses}
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise RequestError(
            409, "ambiguous", f"{word!r} means {len(found)} machines: {', '.join(n[:12] for n in found[:5])}"
        )
    raise RequestError(
        404, "node-not-found", f"no machine is called {word!r}", hint="`skerry node list` shows all"
    )


def _units_on(shown: Shown, node: str) -> list[str]:
    """The units that are placed on a machine, and those that still run there as far as is known."""
    units = set(shown.now.placed.get(node, ()))
    if shown.is_ready(node):
        for name in shown.now.reported.get(node, ()):
            if shown.now.reports[name][node].report.current is not DesiredState.INACTIVE:
                units.add(name)
    return sorted(units)


def _left(shown: Shown, node: str, at_first: frozenset[str]) -> DrainProgress:
    """How far a drain is; `at_first` are the units that were there when it began."""
    left = tuple(_units_on(shown, node))
    if left:
        count = f"{len(left)} unit{'s' if len(left) != 1 else ''}"
        return DrainProgress(node, done=False, left=left, said=f"{count} still there")
    homeless = [
        name
        for name in sorted(at_first)
        if (known := shown.now.units.get(name)) is not None
        and not known.is_global
        and known.desired is not DesiredState.INACTIVE
        and not shown.machine_of(known)
    ]
    said = "it is empty"
    if homeless:
        said += f"; {', '.join(homeless[:5])}{' …' if len(homeless) > 5 else ''} found no other machine yet"
    return DrainProgress(node, done=True, left=(), said=said)
