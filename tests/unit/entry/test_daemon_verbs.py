"""A machine that leaves: also where it was removed before, or a kill left half of something."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from fakes.etcd_machines import EtcdUnit
from fakes.secured import Secured
from fakes.tls import AGENT, SERVER, credential, member
from skerry.entry.daemon.agent import Passing
from skerry.entry.daemon.build import init
from skerry.entry.daemon.machine import Doors, Machine, Paths
from skerry.entry.daemon.server import make_server, serve
from skerry.entry.daemon.settings import Settings
from skerry.entry.daemon.standing import Standing
from skerry.entry.daemon.tls import listen_tcp
from skerry.entry.daemon.verbs import AgentVerbs, ServerVerbs, SingleVerbs
from skerry.entry.rest.codec import RequestError, on_error
from skerry.entry.rest.here import HereOrder, HereView
from skerry.entry.rest.machine import Node
from skerry.fleet.cluster.membership import Membership, read_membership, write_membership
from skerry.fleet.state.node import Role
from skerry.fleet.store.gate import Gate
from skerry.fleet.store.memory import MemoryStore
from skerry.fleet.trust.contexts import client_context
from skerry.fleet.trust.founding import found
from skerry.host.units.errors import ServiceManagerError
from skerry.kit.clock import SystemClock
from skerry.kit.errors import SkerryError
from skerry.kit.wire import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from pathlib import Path

    from starlette.requests import Request

    from skerry.host.units.interface import ServiceManager


def machine_at(root: Path, node: str) -> tuple[Machine, EtcdUnit]:
    """A machine whose systemd knows its member of etcd, and nothing else."""
    paths = Paths.under(root)
    paths.state.mkdir(parents=True)
    unit = EtcdUnit(paths.state / "etcd/etcd.yaml")

    async def services() -> ServiceManager:
        return unit  # type: ignore[return-value]

    return Machine(paths, Settings(), Doors(services=services), Node(node)), unit


async def in_turn(machine: Machine, verb: Awaitable[HereView]) -> HereView:
    """Do a verb, and what the daemon's loop does for it."""

    async def loop() -> None:
        await machine.turns.wanted.wait()
        await machine.turns.between()
        machine.turns.begun()

    turning = asyncio.create_task(loop())
    try:
        async with asyncio.timeout(30):
            return await verb
    finally:
        turning.cancel()


async def _removed_agent(directory: Path) -> None:
    w = Secured(directory / "server")
    machine, _ = machine_at(directory / "agent", AGENT.node)
    member(machine.pki.directory, w.authority, credential(w.authority, AGENT, w.clock.now()))
    async with w.running():
        membership = Membership("c1", "home", AGENT.node, Role.AGENT, "10.0.0.7", (w.url,))
        write_membership(machine.paths.state, membership)
        await w.known.saw_revoked(await w.members.remove(AGENT.node, by="ann"))

        def context() -> ssl.SSLContext:
            return client_context(w.authority.pem, credential=machine.pki.node)

        verbs = AgentVerbs(machine, membership, lambda: Wire(w.url, context))
        assert await in_turn(machine, verbs.do("leave", HereOrder())) == HereView()
    assert (read_membership(machine.paths.state), machine.pki.is_member) == (None, False)


def test_an_agent_that_was_removed_on_a_server_leaves(tmp_path: Path) -> None:
    asyncio.run(_removed_agent(tmp_path))


@contextlib.asynccontextmanager
async def etcd_of_another(machine: Machine) -> AsyncIterator[str]:
    """The member of another server, which knows of nobody else, and takes no writes; the URL."""

    def here() -> str:
        return f"https://127.0.0.1:{listener.getsockname()[1]}"

    async def listed(_: Request) -> JSONResponse:
        urls = {"peerURLs": ["https://10.0.0.9:2380"], "clientURLs": [here()]}
        return JSONResponse({"members": [{"ID": "9", "name": "9" * 32} | urls]})

    async def refused(_: Request) -> JSONResponse:
        return JSONResponse({"code": 7, "message": "etcdserver: permission denied"}, 403)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(machine.pki.store_ca))
    context.load_cert_chain(machine.pki.store)
    context.verify_mode = ssl.CERT_REQUIRED
    listener = listen_tcp("127.0.0.1", 0)
    server = make_server(
        Starlette(
            routes=[
                Route("/v3/cluster/member/list", listed, methods=["POST"]),
                Route("/{path:path}", refused, methods=["POST"]),
            ]
        ),
        context,
    )
    serving = asyncio.create_task(serve(server, [listener]))
    try:
        yield here()
    finally:
        server.should_exit = True
        await serving


async def _removed_server(directory: Path) -> None:
    machine, unit = machine_at(directory, SERVER.node)
    found(machine.pki, "home", SERVER.node, now=SystemClock().now(), hosts=("127.0.0.1",))
    unit.settings.parent.mkdir()
    unit.settings.write_text("{}")
    async with etcd_of_another(machine) as other:
        store = ("https://127.0.0.1:1", other)
        membership = Membership(
            "c1", "home", SERVER.node, Role.SERVER, "127.0.0.1", ("https://x:7443",), store
        )
        write_membership(machine.paths.state, membership)
        for secret in ("snapshots/skerry-7.snapshot", "store.db.migrated", "store.db.migrated-wal"):
            (machine.paths.state / secret).parent.mkdir(exist_ok=True)
            (machine.paths.state / secret).touch()
        verbs = ServerVerbs(machine, lambda: membership, MemoryStore(clock=machine.clock))
        with pytest.raises(RequestError, match="permission denied") as refusal:
            await in_turn(machine, verbs.do("leave", HereOrder()))
        assert "--force" in (refusal.value.hint or "")
        assert (read_membership(machine.paths.state), unit.settings.exists()) == (membership, True)
        assert await in_turn(machine, verbs.do("leave", HereOrder(force=True))) == HereView()
    assert (read_membership(machine.paths.state), machine.pki.is_member) == (None, False)
    assert [path.name for path in machine.paths.state.rglob("*")] == ["etcd"]


def test_a_server_whose_member_was_removed_leaves(tmp_path: Path) -> None:
    asyncio.run(_removed_server(tmp_path))


async def _half_joined(directory: Path) -> None:
    machine, unit = machine_at(directory, SERVER.node)
    found(machine.pki, "home", SERVER.node, now=SystemClock().now(), hosts=("127.0.0.1",))
    unit.settings.parent.mkdir()
    unit.settings.write_text("{}")
    verbs = SingleVerbs(machine, Gate(MemoryStore(clock=machine.clock)))
    assert await verbs.do("leave", HereOrder()) == HereView()
    assert (machine.pki.is_member, unit.settings.exists()) == (False, False)


def test_half_a_server_leaves_with_its_member_of_etcd(tmp_path: Path) -> None:
    asyncio.run(_half_joined(tmp_path))


class Unwilling(EtcdUnit):
    """etcd does not start, as where its address is not this machine's."""

    async def start(self, name: str) -> None:
        raise ServiceManagerError(f"{name} does not start")


async def _init_fails(directory: Path) -> None:
    machine, _ = machine_at(directory, SERVER.node)
    unit = Unwilling(machine.paths.state / "etcd/etcd.yaml")

    async def services() -> ServiceManager:
        return unit  # type: ignore[return-value]

    machine = Machine(machine.paths, Settings(), Doors(services=services), Node(SERVER.node))
    with pytest.raises(ServiceManagerError):
        await init(machine, Gate(MemoryStore(clock=machine.clock)), "home", "10.0.0.11", etcd=True)
    assert (unit.settings.exists(), read_membership(machine.paths.state)) == (False, None)


def test_an_init_that_fails_leaves_no_etcd_that_is_tried_for_ever(tmp_path: Path) -> None:
    asyncio.run(_init_fails(tmp_path))


def test_what_a_member_learns_is_on_the_disk_before_anybody_can_make_it_leave(tmp_path: Path) -> None:
    membership = Membership("c1", "home", AGENT.node, Role.AGENT, "10.0.0.7", ("https://10.0.0.1:7443",))
    write_membership(tmp_path, membership)
    standing = Standing(tmp_path, membership)
    assert standing.learn(["https://10.0.0.2:7443"]) is True
    assert read_membership(tmp_path) == standing.now() != membership
    assert standing.learn(["https://10.0.0.2:7443"]) is False


@contextlib.asynccontextmanager
async def agent_of(directory: Path, status: str) -> AsyncIterator[tuple[httpx.AsyncClient, list[str], str]]:
    """A client of an agent's daemon, the lines of requests that its server got, and that server's URL."""
    lines: list[str] = []

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append((await reader.readuntil(b"\r\n\r\n")).decode().partition("\r\n")[0])
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}".encode())
        writer.close()

    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    membership = Membership("c1", "home", AGENT.node, Role.AGENT, "10.0.0.7", (url,))
    passing = Passing(Standing(directory, membership), lambda: url, client_context_of_nobody)
    app = Starlette(
        routes=[Route("/{path:path}", passing.answer)], exception_handlers={SkerryError: on_error}
    )
    async with (
        listening,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client,
    ):
        yield client, lines, url


async def _passed_on(directory: Path) -> None:
    async with agent_of(directory, "200 OK") as (client, lines, _):
        assert (await client.get("/v1/units/a%5Cx2d%20b.service?wait=1%20s")).status_code == 200
    assert lines == ["GET /v1/units/a%5Cx2d%20b.service?wait=1%20s HTTP/1.1"]


async def _told_where_to_ask(directory: Path) -> None:
    async with agent_of(directory, "403 Forbidden") as (client, _, url):
        answer = await client.get("/v1/units")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (421, "ask-a-server")
    assert "an agent of the cluster home" in error["message"]
    assert f"`skerry context add NAME {url}`" in error["hint"]


def test_who_asks_an_agent_for_units_is_told_how_to_ask_a_server(tmp_path: Path) -> None:
    asyncio.run(_told_where_to_ask(tmp_path))


def client_context_of_nobody() -> ssl.SSLContext:
    raise AssertionError("no certificate is asked for")


def test_an_agent_passes_a_path_on_as_it_was_sent(tmp_path: Path) -> None:
    asyncio.run(_passed_on(tmp_path))
