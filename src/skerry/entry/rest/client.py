"""A typed client of /v1: what people's programs, the console and the command line speak to skerryd with.

    from skerry.entry.rest.client import Skerry
    skerry = Skerry.local()
    skerry.start("web.service", offers=[Offer("web.service", text)])
    for progress in skerry.drain("node-3"): print(progress.said)

Every method is one request, but for lists, which follow their pages. Errors are kit.http's: ApiError with
the server's own message, hint and code, HttpError where it cannot be reached. Fields that this version does
not know are passed over, so that a newer server can be asked. What streams ends when it is closed.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

import msgspec

from skerry.entry.rest.views import (
    Accepted,
    ClusterView,
    DrainProgress,
    NodeEvent,
    NodeList,
    NodeView,
    Offer,
    Outcome,
    Progress,
    UnitDetail,
    UnitEvent,
    UnitList,
    UnitView,
    Verb,
    Verified,
)
from skerry.fleet.schedule.explain import Explanation
from skerry.host.units.journal import Line
from skerry.kit.http import DEFAULT_SOCKET, Client, HttpError, quote

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping

    from skerry.kit.http import Answer, Json, Query

T = TypeVar("T")


class UnitsFailedError(HttpError):
    """Units did not get where they were to be; `outcomes` are theirs, each with its reason."""

    def __init__(self, outcomes: Iterable[Outcome]) -> None:
        self.outcomes = tuple(outcomes)
        super().__init__("\n".join(f"unit {o.name}: {o.said}" for o in self.outcomes))


class Transport(Protocol):
    """How requests are carried: kit.http.Client, or a context's way to a cluster."""

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Answer: ...

    def lines(
        self, method: str, path: str, value: Json = None, *, query: Query | None = None
    ) -> Iterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class Event:
    """What `watch` gives: a unit's or a machine's change, or a reset: everything comes anew from here."""

    revision: int
    change: UnitEvent | NodeEvent | None

    @property
    def is_reset(self) -> bool:
        return self.change is None


class Skerry:
    """See the module. The transport waits as long as it was told to; streams want one that waits for ever."""

    def __init__(self, transport: Transport, *, streams: Transport | None = None) -> None:
        self._transport = transport
        self._streams = streams or transport

    @classmethod
    def local(cls, target: str = DEFAULT_SOCKET) -> Self:
        """The daemon of this machine, through its socket."""
        return cls(Client(target), streams=Client(target, timeout_s=None))

    # Units

    def units(self, *, name: str = "", node: str = "") -> Iterator[UnitView]:
        """Every stored unit, or those of a name or a glob, or of one machine (its whole id)."""
        query = {key: value for key, value in (("name", name), ("node", node)) if value}
        for page in self._pages("/v1/units", query, UnitList):
            yield from page.units

    def unit_page(self, *, token: str = "", limit: int = 0, name: str = "", node: str = "") -> UnitList:
        """One page of the list, with its revision: from there a watch misses nothing."""
        query = {"token": token, "limit": str(limit) if limit else "", "name": name, "node": node}
        return self._get("/v1/units", UnitList, {key: value for key, value in query.items() if value})

    def unit(self, name: str) -> UnitDetail:
        """One unit with its texts."""
        return self._get(f"/v1/units/{quote(name)}", UnitDetail)

    def text(self, name: str) -> str:
        """A unit's file as its author submitted it."""
        return self._transport.request("GET", f"/v1/units/{quote(name)}/file").checked().text

    def explain(self, name: str) -> Explanation:
        """Why a unit is where it is, or nowhere."""
        return self._get(f"/v1/units/{quote(name)}/explain", Explanation)

    def journal(self, name: str, *, lines: int = 10, follow: bool = False) -> Generator[Line, None, None]:
        """The last lines of a unit, and with `follow` every new one."""
        query = {"lines": str(lines), "follow": "true" if follow else "false"}
        yield from self._lines("GET", f"/v1/units/{quote(name)}/journal", None, query, Line)

    def order(self, verb: Verb, *names: str, offers: Iterable[Offer] = (), replace: bool = False) -> Accepted:
        """Send an order, all or none of it; it is durable on return, and not yet carried out."""
        order = _order(verb, names, offers, replace=replace, wait=False)
        return self._send("POST", "/v1/units", order, Accepted)

    def follow(
        self, verb: Verb, *names: str, offers: Iterable[Offer] = (), replace: bool = False
    ) -> Generator[Progress, None, None]:
        """Send an order and tell how it goes, until each unit is where it was to be or will not get there."""
        order = _order(verb, names, offers, replace=replace, wait=True)
        yield from self._lines("POST", "/v1/units", order, None, Progress)

    def submit(self, *names: str, offers: Iterable[Offer] = (), replace: bool = False) -> Accepted:
        """Store units."""
        return self.order(Verb.SUBMIT, *names, offers=offers, replace=replace)

    def load(self, *names: str, offers: Iterable[Offer] = (), replace: bool = False) -> tuple[Outcome, ...]:
        """Store units if need be, place them, and wait until they are there. Raises UnitsFailedError."""
        return self._done(Verb.LOAD, names, offers, replace=replace)

    def start(self, *names: str, offers: Iterable[Offer] = (), replace: bool = False) -> tuple[Outcome, ...]:
        """Store and place units if need be, and wait until they run. Raises UnitsFailedError."""
        return self._done(Verb.START, names, offers, replace=replace)

    def stop(self, *names: str) -> tuple[Outcome, ...]:
        """Stop units and wait for it; they stay loaded. Raises UnitsFailedError."""
        return self._done(Verb.STOP, names, (), replace=False)

    def unload(self, *names: str) -> tuple[Outcome, ...]:
        """Stop units and take them off their machines; they stay stored. Raises UnitsFailedError."""
        return self._done(Verb.UNLOAD, names, (), replace=False)

    def destroy(self, *names: str) -> tuple[Outcome, ...]:
        """Stop units and forget them. Raises UnitsFailedError."""
        return self._done(Verb.DESTROY, names, (), replace=False)

    def verify(self, *offers: Offer) -> Verified:
        """Every problem of units that are not stored."""
        return self._send("POST", "/v1/verify", {"offers": _plain(offers)}, Verified)

    # Machines

    def nodes(self, *labels: str) -> Iterator[NodeView]:
        """Every machine, or those with all of these labels, each `key=value`."""
        for page in self._pages("/v1/nodes", {"label": labels} if labels else {}, NodeList):
            yield from page.nodes

    def node(self, word: str) -> NodeView:
        """One machine by its id, the beginning of it, its host name or its address."""
        return self._get(f"/v1/nodes/{quote(word)}", NodeView)

    def label(self, node: str, labels: Mapping[str, str | None]) -> NodeView:
        """Set labels of a machine; None takes one away."""
        return self._send("PATCH", f"/v1/nodes/{quote(node)}", {"metadata": dict(labels)}, NodeView)

    def cordon(self, node: str) -> NodeView:
        """Place no new units on a machine."""
        return self._send("POST", f"/v1/nodes/{quote(node)}/cordon", None, NodeView)

    def uncordon(self, node: str) -> NodeView:
        """Place units on a machine again; ends a drain."""
        return self._send("POST", f"/v1/nodes/{quote(node)}/uncordon", None, NodeView)

    def drain(self, node: str, *, wait: bool = True) -> Generator[DrainProgress, None, None]:
        """Move a machine's units elsewhere and tell how it goes, until it is empty or called off."""
        path = f"/v1/nodes/{quote(node)}/drain"
        if wait:
            yield from self._lines("POST", path, {"wait": True}, None, DrainProgress)
        else:
            yield self._send("POST", path, {"wait": False}, DrainProgress)

    def remove(self, node: str, *, force: bool = False) -> None:
        """Take a machine out of the cluster; with `force` though it lives and holds units."""
        query = {"force": "true"} if force else {}
        self._transport.request("DELETE", f"/v1/nodes/{quote(node)}", query=query).checked()

    # The cluster

    def cluster(self) -> ClusterView:
        """How the cluster is."""
        return self._get("/v1/cluster", ClusterView)

    def watch(
        self, after: int | None = None, *, kinds: str = "", name: str = "", node: str = ""
    ) -> Generator[Event, None, None]:
        """Every change since a revision, then as they come; without one, first everything as it is.

        A connection that breaks raises HttpError: go on from the revision of the last event.
        """
        query = {"after": "" if after is None else str(after), "kinds": kinds, "name": name, "node": node}
        asked = {key: value for key, value in query.items() if value}
        kind, revision = "", 0
        with closing(_generator(self._streams.lines("GET", "/v1/events", query=asked))) as lines:
            for line in lines:
                field, _, text = line.decode().partition(": ")
                if field == "event":
                    kind = text
                elif field == "id":
                    revision = int(text)
                elif field == "data":
                    yield Event(revision, _change(kind, text))

    def _done(
        self, verb: Verb, names: tuple[str, ...], offers: Iterable[Offer], *, replace: bool
    ) -> tuple[Outcome, ...]:
        last: dict[str, Outcome] = {}
        for progress in self.follow(verb, *names, offers=offers, replace=replace):
            if progress.outcome is not None:
                last[progress.outcome.name] = progress.outcome
        failed = [outcome for outcome in last.values() if outcome.done is not True]
        if failed:
            raise UnitsFailedError(failed)
        return tuple(last.values())

    def _pages(self, path: str, query: Query, kind: type[T]) -> Iterator[T]:
        token: str | None = None
        while True:
            page = self._get(path, kind, query if token is None else {**query, "token": token})
            yield page
            token = getattr(page, "next", None)
            if token is None:
                return

    def _get(self, path: str, kind: type[T], query: Query | None = None) -> T:
        return _read(self._transport.request("GET", path, query=query).checked().body, kind)

    def _send(self, method: str, path: str, value: Json, kind: type[T]) -> T:
        body = None if value is None else json.dumps(value, ensure_ascii=False).encode()
        return _read(self._transport.request(method, path, body=body).checked().body, kind)

    def _lines(
        self, method: str, path: str, value: Json, query: Query | None, kind: type[T]
    ) -> Generator[T, None, None]:
        """The values of a stream; an error in the middle of it is the server's last line."""
        with closing(_generator(self._streams.lines(method, path, value, query=query))) as lines:
            for line in lines:
                if line.startswith(b'{"error":'):
                    error = json.loads(line)["error"]
                    raise HttpError(str(error["message"]), hint=error.get("hint"))
                yield _read(line, kind)


def _order(
    verb: Verb, names: Iterable[str], offers: Iterable[Offer], *, replace: bool, wait: bool
) -> dict[str, Json]:
    return {
        "verb": verb.value,
        "names": list(names),
        "offers": _plain(offers),
        "replace": replace,
        "wait": wait,
    }


def _plain(offers: Iterable[Offer]) -> Json:
    plain: Json = msgspec.to_builtins(list(offers))
    return plain


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise HttpError(
            f"the server gave an answer that this version does not understand: {error}"
        ) from error


def _change(kind: str, text: str) -> UnitEvent | NodeEvent | None:
    if kind == "unit":
        return _read(text.encode(), UnitEvent)
    return _read(text.encode(), NodeEvent) if kind == "node" else None


def _generator(lines: Iterator[bytes]) -> Generator[bytes, None, None]:
    """`lines` as something that can be closed, which closes the connection."""
    yield from lines
