"""Requests to an ASGI application without a server, and the API over a store in memory."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar
from urllib.parse import unquote

from fakes.access import access_routes
from fakes.clock import FakeClock, settle
from fakes.daemon import MACHINE, check, journal
from skerry.entry.rest.app import Cluster, create_app
from skerry.entry.rest.desired import Desired
from skerry.entry.rest.host import Host
from skerry.entry.rest.machine import Node
from skerry.fleet.schedule.explain import Explanation, Refusal, Standing
from skerry.fleet.state.node import Facts, Liveness, PresenceRecord, presence_key
from skerry.fleet.state.placement import PLACEMENTS_PREFIX, PlacementRecord, placement_key
from skerry.fleet.state.unit import DesiredState, UnitReport, report_key
from skerry.fleet.store.interface import Delete, Put
from skerry.fleet.store.memory import MemoryStore
from skerry.kit.http import Answer, encode_query

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping, MutableMapping

    from skerry.kit.http import Json, Query

T = TypeVar("T")
_FOLLOWING: set[asyncio.Task[None]] = set()


async def explain(unit: str) -> Explanation:
    """A scheduler that finds no machine."""
    refusals = (Refusal("Memory=64G", "2 machines have too little memory", 2),)
    return Explanation(unit, Standing.PENDING, "no machine can take it", None, 2, 0, refusals)


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        value: Json = json.loads(self.body)
        return value

    @property
    def error(self) -> str:
        """The message of an error."""
        return str(self.json["error"]["message"])  # type: ignore[index,call-overload]


class Api:
    """The whole application over a MemoryStore; `node` is this machine's id.

    `with_access` adds tokens and joining.
    """

    node = MACHINE

    def __init__(
        self, *, limit: int = 100, metadata: Mapping[str, str] | None = None, with_access: bool = False
    ) -> None:
        clock = FakeClock()
        self.store = MemoryStore(clock=clock)
        self.desired = Desired(self.store, Node(self.node, metadata or {}), check, clock)
        more, self._known = access_routes(self.store, clock) if with_access else ([], None)
        self.app = create_app(
            Host(self.node, root=Path("/nonexistent")),
            Cluster(self.desired, journal, more, limit=limit, explain=explain),
        )
        self._following: asyncio.Task[None] | None = None

    def follow(self) -> None:
        """Start the mirror; it ends with the test's event loop."""
        if self._following is None:
            self._following = asyncio.create_task(self._follow())
            # The event loop itself holds tasks weakly: one that only an unreachable Api knows would be
            # collected before the loop can end it.
            _FOLLOWING.add(self._following)
            self._following.add_done_callback(_FOLLOWING.discard)

    async def _follow(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.desired.mirror.run())
            if self._known is not None:
                group.create_task(self._known.run())

    async def ask(
        self,
        method: str,
        target: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        leave: bool = False,
    ) -> Reply:
        """One request. `body` is bytes as they are, or a value that is sent as JSON.

        With `leave` the client goes away soon after the answer has begun, as one does that has seen enough.
        """
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        fields = {"content-type": "application/json"} if body is not None else {}
        fields |= {name.lower(): text for name, text in (headers or {}).items()}
        self.follow()
        return await ask(self.app, method, target, raw, fields, leave=leave)

    async def report(
        self,
        name: str,
        current: DesiredState,
        *,
        node: str = MACHINE,
        active: str = "active",
        sub: str = "running",
        content: str = "h" * 40,
        problem: str | None = None,
    ) -> None:
        """What an agent would report of a unit."""
        report = UnitReport(name, node, content, current, name, "loaded", active, sub, problem=problem)
        await self.store.transact([], [Put(report_key(node, name), report.encode())])

    async def place(self, name: str, node: str = MACHINE, *, why: str = "it has room") -> None:
        """What the scheduler would decide of a unit."""
        before = [e.key for e in (await self.store.list(PLACEMENTS_PREFIX)).entries]
        gone = [
            Delete(key) for key in before if key.endswith(f"/{name}") and key != placement_key(node, name)
        ]
        record = PlacementRecord(name, node, why)
        await self.store.transact([], [*gone, Put(record.key, record.encode())])

    async def hear(self, node: str, liveness: Liveness = Liveness.READY, **facts: object) -> None:
        """What the leader would know of a machine."""
        record = PresenceRecord(Facts(**facts), liveness, 1_700_000_000.0)  # type: ignore[arg-type]
        await self.store.transact([], [Put(presence_key(node), record.encode())])


class Wire:
    """The client's transport to an Api, without sockets; streams are collected, so they have to end."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._loop = asyncio.Runner()

    def run(self, work: Coroutine[object, object, T]) -> T:
        """Do something to the API's store, in the same event loop."""
        return self._loop.run(work)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        target = path if query is None else f"{path}?{encode_query(query)}"
        fields = {"content-type": content_type} | dict(headers or {})
        reply = self._loop.run(self.api.ask(method, target, body, fields))
        return Answer(reply.status, reply.headers, reply.body)

    def lines(
        self, method: str, path: str, value: Json = None, *, query: Query | None = None
    ) -> Iterator[bytes]:
        body = None if value is None else json.dumps(value).encode()
        yield from self.request(method, path, query=query, body=body).checked().body.splitlines()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.close()


async def ask(
    app: object, method: str, target: str, body: bytes, headers: Mapping[str, str], *, leave: bool = False
) -> Reply:
    """Send one request and collect the answer."""
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), text.encode("latin-1")) for name, text in headers.items()],
        "client": None,
        "server": None,
    }
    sent = False
    begun = asyncio.Event()
    status = 0
    answered: dict[str, str] = {}
    parts: list[bytes] = []

    async def receive() -> dict[str, object]:
        nonlocal sent
        if sent and leave:
            await begun.wait()
            await settle()
            return {"type": "http.disconnect"}
        if sent:
            await asyncio.get_running_loop().create_future()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, object]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = int(str(message["status"]))
            begun.set()
            for name, text in message["headers"]:  # type: ignore[attr-defined]
                answered[name.decode()] = text.decode("latin-1")
        else:
            parts.append(bytes(message.get("body", b"")))  # type: ignore[call-overload]

    await app(scope, receive, send)  # type: ignore[operator]
    return Reply(status, answered, b"".join(parts))
