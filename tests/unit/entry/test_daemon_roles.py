"""The roles of the daemon, whole: a server whose store is a file, an agent of it, a machine that is to join.

Everything is real but systemd and the machine: TLS on loopback, the store on disk, the API on a Unix socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import TYPE_CHECKING

import msgspec

from fakes.asgi import Reply
from fakes.clock import settle
from fakes.daemon import check, journal
from fakes.service_manager import FakeServices
from fakes.tls import AGENT, SERVER
from skerry.entry.daemon import agent, serving, single
from skerry.entry.daemon.build import join_cluster
from skerry.entry.daemon.machine import Doors, Machine, Paths
from skerry.entry.daemon.server import listen, make_server, serve
from skerry.entry.daemon.settings import Settings
from skerry.entry.daemon.tls import listen_tcp
from skerry.entry.rest.machine import Node
from skerry.fleet.cluster.membership import Membership, write_membership
from skerry.fleet.state.node import Role
from skerry.fleet.trust.founding import found
from skerry.kit.clock import SystemClock
from skerry.kit.http import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from skerry.host.units.interface import ServiceManager

    Play = Callable[[Machine, Membership | None], Coroutine[object, object, None]]

IN_TIME_S = 60
SLEEPER = "[Service]\nExecStart=/bin/sleep 100\n"


class Played:
    """A machine under a directory, and what its systemd was asked."""

    def __init__(self, root: Path, node: str) -> None:
        self.services = FakeServices(root)
        self.listener = listen_tcp("127.0.0.1", 0)
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        doors = Doors(self._services, check, journal, SystemClock(), self._listen)
        self.machine = Machine(Paths.under(root), Settings(), doors, Node(node))
        self.machine.paths.state.mkdir(parents=True)
        self.machine.paths.settings.mkdir(parents=True)

    async def _services(self) -> ServiceManager:
        return self.services

    def _listen(self, _: str) -> socket.socket:
        return self.listener

    @contextlib.asynccontextmanager
    async def playing(self, play: Play, membership: Membership | None) -> AsyncIterator[asyncio.Task[None]]:
        """In a role, and answering on its Unix socket."""
        server = make_server(self.machine.front)
        answering = asyncio.create_task(serve(server, [listen(self.machine.paths.socket)]))
        role = asyncio.create_task(play(self.machine, membership))
        try:
            async with asyncio.timeout(IN_TIME_S):
                await self.machine.front.there()
            yield role
        finally:
            role.cancel()
            await asyncio.gather(role, return_exceptions=True)
            server.should_exit = True
            await answering
            self.listener.close()

    async def ask(self, method: str, path: str, body: object = None) -> Reply:
        """Of root, on the machine itself."""
        client = Client(str(self.machine.paths.socket), timeout_s=IN_TIME_S)
        raw = None if body is None else json.dumps(body).encode()
        answer = await asyncio.to_thread(client.request, method, path, body=raw)
        return Reply(answer.status, answer.headers, answer.body)

    async def start(self, name: str, text: str) -> None:
        order = {"verb": "start", "names": [name], "offers": [{"name": name, "text": text}]}
        answer = await self.ask("POST", "/v1/units", order)
        assert answer.status in (200, 202), answer.body

    async def until_active(self, name: str) -> None:
        async with asyncio.timeout(IN_TIME_S):
            while self.services.look(name).active != "active":
                await settle()


def first_server(directory: Path) -> tuple[Played, Membership]:
    """What `cluster init --file` leaves behind."""
    made = Played(directory / "server", SERVER.node)
    pki, now = made.machine.pki, made.machine.clock.now()
    found(pki, "home", SERVER.node, now=now, hosts=("127.0.0.1",))
    membership = Membership("c1", "home", SERVER.node, Role.SERVER, "127.0.0.1", (made.url,))
    write_membership(made.machine.paths.state, membership)
    return made, membership


async def ready(server: Played) -> None:
    """Return when the store has answered."""
    async with asyncio.timeout(IN_TIME_S):
        while (await server.ask("GET", "/v1/units")).status != 200:
            await settle()


async def _server(directory: Path) -> None:
    server, membership = first_server(directory)
    async with server.playing(serving.play, membership) as role:
        await ready(server)
        await server.start("web.service", SLEEPER)
        await server.until_active("web.service")
        seen = (await server.ask("GET", "/v1/cluster")).json
        assert (seen["name"], seen["leader"] is not None) == ("home", True)  # type: ignore[index,call-overload]
        from_outside = Client(server.url, context=server.machine.tls().client(), timeout_s=IN_TIME_S)
        who = await asyncio.to_thread(from_outside.request, "GET", "/v1/whoami")
        assert json.loads(who.body)["name"] == SERVER.node
        assert not role.done()
    assert server.services.look("web.service").active == "active"  # it is systemd's
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(server.url.rpartition(":")[2]))) != 0


def test_a_server_serves_its_machine_and_others(tmp_path: Path) -> None:
    asyncio.run(_server(tmp_path))


async def _agent(directory: Path) -> None:
    server, first = first_server(directory)
    worker = Played(directory / "agent", AGENT.node)
    async with contextlib.AsyncExitStack() as there:
        await there.enter_async_context(server.playing(serving.play, first))
        await ready(server)
        created = (await server.ask("POST", "/v1/cluster/tokens", {"role": "agent", "ttl_s": 600})).json
        token = str(created["token"])  # type: ignore[index,call-overload]
        membership = await join_cluster(worker.machine, token, [server.url], None, "10.0.0.7")
        membership = Membership(membership.cluster, "home", AGENT.node, Role.AGENT, "10.0.0.7", (server.url,))
        async with worker.playing(agent.play, membership) as role:
            await server.start("far.service", SLEEPER + f"[X-Fleet]\nMachineID={AGENT.node}\n")
            await worker.until_active("far.service")
            assert server.services.look("far.service").active != "active"
            assert (await worker.ask("GET", "/v1/host")).status == 200
            passed = await worker.ask("GET", "/v1/whoami")
            assert passed.json["name"] == AGENT.node  # type: ignore[index,call-overload]
            refused = await worker.ask("GET", "/v1/units")
            assert (refused.status, server.url in refused.body.decode()) == (421, True)
            assert b"far.service" in await first_of_stream(worker)
            await there.aclose()  # the server goes
            alone = await worker.ask("GET", "/v1/whoami")
            assert (alone.status, "skerry context add" in alone.body.decode()) == (503, True)
            assert worker.services.look("far.service").active == "active"
            assert not role.done()


async def first_of_stream(worker: Played) -> bytes:
    """The first piece of a stream that is asked for through the agent, and does not end."""
    hello = msgspec.json.encode(worker.machine.hello(Role.AGENT, "10.0.0.7"))
    path = f"/v1/agents/{AGENT.node}/stream"
    fields = ["host: x", "content-type: application/json", f"content-length: {len(hello)}"]
    reader, writer = await asyncio.open_unix_connection(str(worker.machine.paths.socket))
    writer.write("\r\n".join([f"POST {path} HTTP/1.1", *fields, "", ""]).encode() + hello)
    try:
        async with asyncio.timeout(15):  # less than what a whole answer may take
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            return await reader.readexactly(int(await reader.readline(), 16))
    finally:
        writer.close()


def test_an_agent_runs_what_its_server_says_and_passes_the_rest_on(tmp_path: Path) -> None:
    asyncio.run(_agent(tmp_path))


async def _joining(directory: Path) -> None:
    machine = Played(directory, AGENT.node)
    asked, answered = asyncio.Event(), asyncio.Event()

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await answered.wait()
        writer.close()

    async with await asyncio.start_server(never, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        token = ".".join(("skerry1", "0" * 64, "0" * 16, "0" * 64))
        file = machine.machine.paths.join_file
        file.touch(0o600)
        file.write_text(f'token = "{token}"\nservers = ["https://127.0.0.1:{port}"]\n')
        async with machine.playing(single.play, None):
            try:
                async with asyncio.timeout(IN_TIME_S):
                    await asked.wait()
                busy = await machine.ask("POST", "/v1/host/cluster/init", {"etcd": False})
            finally:
                answered.set()
            assert (busy.status, "under way" in busy.body.decode()) == (409, True)
            assert not machine.machine.pki.is_member


def test_a_join_at_first_boot_and_a_person_do_not_run_into_each_other(tmp_path: Path) -> None:
    asyncio.run(_joining(tmp_path))
