"""/v1/nodes and /v1/cluster: what is shown of machines, and what people make of them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fakes.asgi import Api, Reply
from fakes.clock import FakeClock
from fakes.daemon import MACHINE, journal
from skerry.entry.rest.app import Cluster, create_app
from skerry.entry.rest.cluster import Surroundings, etcd_view, file_view
from skerry.entry.rest.host import Host
from skerry.entry.rest.nodes import revoking
from skerry.entry.rest.views import StoreView
from skerry.fleet.access.members import Members
from skerry.fleet.access.records import revoked_key
from skerry.fleet.cluster.etcd_admin import MemberHealth, StoreHealth
from skerry.fleet.presence.leader import LEADER_KEY, LeaderRecord
from skerry.fleet.state.node import Liveness, NodeRecord, Role, node_key
from skerry.fleet.state.unit import DesiredState
from skerry.fleet.store.errors import StoreError
from skerry.fleet.store.interface import Delete, Put

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from skerry.kit.http import Json

ONE, TWO = "1" * 32, "12" * 16
TEXT = "[Service]\nExecStart=/bin/sleep 1\n"


async def three() -> Api:
    api = Api(metadata={"room": "1"})
    await api.hear(ONE, hostname="one", addresses=("10.0.0.1",), cpus=4, metadata={"disk": "ssd", "a": "b"})
    await api.hear(TWO, Liveness.LOST, hostname="two", addresses=("10.0.0.2",), role=Role.SERVER)
    return api


def told(*steps: tuple[object, ...], prepare: Callable[[Api], Awaitable[None]] | None = None) -> Reply:
    """The answer to the last of several requests."""

    async def go() -> Reply:
        api = await three()
        if prepare:
            await prepare(api)
        replies = [await api.ask(*step) for step in steps]  # type: ignore[arg-type]
        return replies[-1]

    return asyncio.run(go())


def at(value: Json, *path: str | int) -> Json:
    for step in path:
        value = value[step]  # type: ignore[index,call-overload]
    return value


def ids(page: Json) -> list[Json]:
    return [at(node, "id") for node in at(page, "nodes")]  # type: ignore[union-attr]


def test_every_machine_is_listed_this_one_too() -> None:
    page = told(("GET", "/v1/nodes")).json
    assert ids(page) == sorted([MACHINE, ONE, TWO])
    one = at(page, "nodes", 1)
    assert [at(one, key) for key in ("hostname", "liveness", "address", "cpus")] == [
        "one",
        "ready",
        "10.0.0.1",
        4,
    ]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("label=disk=ssd", [ONE]),
        ("label=disk=ssd&label=a=c", []),
        ("limit=1", [MACHINE]),
        ("label=room=1", [MACHINE]),
    ],
)
def test_lists_can_be_narrowed(query: str, found: list[str]) -> None:
    assert ids(told(("GET", f"/v1/nodes?{query}")).json) == found


@pytest.mark.parametrize("word", [ONE, ONE[:8], "one", "10.0.0.1"])
def test_a_machine_goes_by_several_names(word: str) -> None:
    assert at(told(("GET", f"/v1/nodes/{word}")).json, "id") == ONE


def test_a_name_of_two_machines_or_none_is_refused() -> None:
    async def twins(api: Api) -> None:
        await api.hear("3" * 32, hostname="one")

    assert told(("GET", "/v1/nodes/one"), prepare=twins).status == 409
    reply = told(("GET", "/v1/nodes/nowhere"))
    assert (reply.status, at(reply.json, "error", "code")) == (404, "node-not-found")


def test_labels_and_cordon_are_changed_together() -> None:
    change = {"metadata": {"disk": "hdd", "a": None, "new": "x"}, "cordoned": True}
    node = told(("PATCH", "/v1/nodes/one", change)).json
    assert (at(node, "metadata"), at(node, "cordoned")) == ({"disk": "hdd", "new": "x"}, True)


@pytest.mark.parametrize(
    "change", [{"metadata": {"a b": "x"}}, {"metadata": {"": "x"}}, {"colour": 1}, {"cordoned": "x"}]
)
def test_a_change_that_cannot_be_changes_nothing(change: dict[str, object]) -> None:
    async def go() -> tuple[int, bool]:
        api = await three()
        status = (await api.ask("PATCH", "/v1/nodes/one", change)).status
        return status, await api.store.get(node_key(ONE)) is None

    assert asyncio.run(go()) == (400, True)


def test_uncordon_ends_a_drain() -> None:
    node = told(("POST", "/v1/nodes/one/drain", {}), ("POST", "/v1/nodes/one/uncordon")).json
    assert (at(node, "cordoned"), at(node, "draining")) == (False, False)


async def drained(api: Api, *moves: Callable[[], Awaitable[None]]) -> list[Json]:
    """The lines of a drain's stream, while one move is made after each."""
    from starlette.requests import Request

    from skerry.entry.rest.nodes import Nodes

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b'{"wait": true}'}

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "path_params": {"id": ONE}}
    response = await Nodes(api.desired).drain(Request(scope, receive))
    lines: list[Json] = []
    todo = list(moves)
    async for part in response.body_iterator:  # type: ignore[attr-defined]
        lines.append(json.loads(part))
        if todo:
            await todo.pop(0)()
    return lines


async def holding(api: Api) -> None:
    offers = [{"name": name, "text": TEXT} for name in ("a.service", "b.service")]
    names = [offer["name"] for offer in offers]
    await api.ask("POST", "/v1/units", {"verb": "start", "names": names, "offers": offers})
    for name in names:
        await api.place(name, ONE)
        await api.report(name, DesiredState.LAUNCHED, node=ONE)


def test_a_drain_tells_what_is_left_until_the_machine_is_empty() -> None:
    async def go() -> list[Json]:
        api = await three()
        await holding(api)

        async def move_a() -> None:
            await api.place("a.service", MACHINE)
            await api.report("a.service", DesiredState.INACTIVE, node=ONE)

        async def drop_b() -> None:
            from skerry.fleet.state.placement import placement_key
            from skerry.fleet.state.unit import report_key

            keys = (placement_key(ONE, "b.service"), report_key(ONE, "b.service"))
            await api.store.transact([], [Delete(key) for key in keys])

        return await drained(api, move_a, drop_b)

    lines = asyncio.run(go())
    assert at(lines[0], "left") == ["a.service", "b.service"]
    assert (at(lines[-1], "done"), at(lines[-1], "said")) == (
        True,
        "it is empty; b.service found no other machine yet",
    )


def test_a_drain_that_is_called_off_ends() -> None:
    async def go() -> Json:
        api = await three()
        await holding(api)

        async def uncordon() -> None:
            await api.ask("POST", "/v1/nodes/one/uncordon")

        return (await drained(api, uncordon))[-1]

    last = asyncio.run(go())
    assert (at(last, "done"), at(last, "said")) == (False, "the drain was called off")


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v1/nodes/two", 204),
        (f"/v1/nodes/{MACHINE}", 409),
        ("/v1/nodes/one", 409),
        ("/v1/nodes/one?force=true", 204),
        ("/v1/nodes/nowhere", 404),
    ],
)
def test_a_machine_is_removed_when_nothing_is_lost_by_it(target: str, status: int) -> None:
    reply = told(("DELETE", target), prepare=holding)
    assert reply.status == status


def test_a_removed_machine_is_no_longer_listed() -> None:
    assert TWO not in ids(told(("DELETE", "/v1/nodes/two"), ("GET", "/v1/nodes")).json)


def test_a_removed_machines_certificates_are_refused() -> None:
    async def go() -> tuple[int, bool]:
        api = await three()
        members = Members(api.store, FakeClock())
        cluster = Cluster(api.desired, journal, removal=revoking(members))
        api.app = create_app(Host(MACHINE, root=Path("/nonexistent")), cluster)
        status = (await api.ask("DELETE", "/v1/nodes/two")).status
        return status, await api.store.get(revoked_key(TWO)) is not None

    assert asyncio.run(go()) == (204, True)


def test_words_of_a_newer_version_are_not_overwritten() -> None:
    async def newer(api: Api) -> None:
        await api.store.transact([], [Put(node_key(ONE), b'{"version": 99}')])

    reply = told(("POST", "/v1/nodes/one/cordon"), prepare=newer)
    assert (reply.status, at(reply.json, "error", "code")) == (409, "newer")


def test_why_a_unit_waits_can_be_asked() -> None:
    reply = told(("GET", "/v1/units/a.service/explain"), prepare=holding)
    assert at(reply.json, "refusals", 0) == {
        "constraint": "Memory=64G",
        "reason": "2 machines have too little memory",
        "nodes": 2,
    }
    assert told(("GET", "/v1/units/z.service/explain")).status == 404


def test_the_cluster_is_shown_with_what_is_wrong() -> None:
    async def led(api: Api) -> None:
        await api.store.transact([], [Put(LEADER_KEY, LeaderRecord(TWO).encode())])

    view = told(("GET", "/v1/cluster"), prepare=led).json
    assert at(view, "nodes") == {"ready": 2, "lost": 1, "left": 0}
    servers = [(at(s, "hostname"), at(s, "leads")) for s in at(view, "servers")]  # type: ignore[union-attr]
    assert ("two", True) in servers
    assert (at(view, "healthy"), at(view, "problems")) == (False, ["not heard of: two"])


def test_the_stores_own_troubles_are_problems_of_the_cluster(tmp_path: Path) -> None:
    sick = MemberHealth("s2", "10.0.0.2", healthy=False, problem="it does not answer")
    health = StoreHealth(
        (MemberHealth("s1", "10.0.0.1", healthy=True, leader=True), sick), False, 5, 9, ("full",)
    )

    async def etcd() -> StoreView:
        return etcd_view(health)

    async def away() -> StoreView:
        raise StoreError("it is away")

    async def asked(around: Surroundings) -> Json:
        api = Api()
        cluster = Cluster(api.desired, journal, around=around)
        api.app = create_app(Host(MACHINE, root=tmp_path), cluster)
        return (await api.ask("GET", "/v1/cluster")).json

    view = asyncio.run(asked(Surroundings(store=etcd, skews=lambda: {MACHINE: -600.0})))
    assert at(view, "problems") == [
        "no server leads: units are not placed, and nobody is declared lost",
        "etcd has no quorum",
        "full",
        "the store's member s2: it does not answer",
        f"the clock of {at(view, 'servers', 0, 'hostname')} is 600 s behind the leader's",
    ]
    assert "how the store is cannot be told: it is away" in at(
        asyncio.run(asked(Surroundings(store=away))), "problems"
    )  # type: ignore[operator]


def test_a_single_machines_store_has_the_size_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"x" * 7)
    (tmp_path / "store.db-wal").write_bytes(b"x" * 5)
    assert file_view(tmp_path / "store.db") == StoreView("sqlite", 12)


def test_the_cluster_is_shown_without_a_quorum_too() -> None:
    async def gone(api: Api) -> None:
        await api.ask("GET", "/v1/nodes")
        await api.store.close()

    reply = told(("GET", "/v1/cluster"), prepare=gone)
    assert (reply.status, at(reply.json, "quorum"), at(reply.json, "nodes", "ready")) == (200, False, 2)


def test_what_people_said_of_a_machine_shows_it_before_it_speaks() -> None:
    async def said(api: Api) -> None:
        await api.store.transact([], [Put(node_key("9" * 32), NodeRecord(cordoned=True).encode())])

    assert "9" * 32 in ids(told(("GET", "/v1/nodes"), prepare=said).json)
