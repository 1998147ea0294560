"""The verbs of a cluster on this machine: which role takes which, what is refused, and one at a time."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec
import pytest

from fakes.clock import FakeClock, settle
from fakes.daemon import check, journal
from fakes.service_manager import FakeServices
from skerry.entry.daemon.machine import Doors, Machine, Paths
from skerry.entry.daemon.settings import Settings
from skerry.entry.daemon.verbs import AgentVerbs, ServerVerbs, SingleVerbs
from skerry.entry.rest.codec import RequestError
from skerry.entry.rest.here import HereOrder
from skerry.entry.rest.machine import Node
from skerry.fleet.cluster.membership import Membership, read_membership, write_membership
from skerry.fleet.cluster.snapshot import read_snapshot
from skerry.fleet.state.node import Role
from skerry.fleet.state.unit import UNITS_PREFIX
from skerry.fleet.store.gate import Gate
from skerry.fleet.store.interface import Put
from skerry.fleet.store.memory import MemoryStore
from skerry.kit.wire import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from pathlib import Path

    from skerry.entry.rest.here import HereView

NODE = "5" * 32
SERVER = Membership("c1", "home", NODE, Role.SERVER, "10.0.0.1", ("https://10.0.0.1:7443",))
IN_ETCD = Membership("c1", "home", NODE, Role.SERVER, "10.0.0.1", SERVER.servers, ("https://10.0.0.1:2379",))
AGENT = Membership("c1", "home", NODE, Role.AGENT, "10.0.0.2", SERVER.servers)


def machine_at(root: Path) -> Machine:
    services = FakeServices(root)

    async def connect() -> FakeServices:
        return services

    paths = Paths.under(root)
    paths.state.mkdir(parents=True)
    doors = Doors(services=connect, check=check, journal=journal, clock=FakeClock())
    return Machine(paths, Settings(), doors, Node(NODE))


@contextlib.asynccontextmanager
async def store_of(machine: Machine) -> AsyncIterator[Gate]:
    gate = Gate(MemoryStore(clock=machine.clock))
    try:
        yield gate
    finally:
        await gate.close()


async def refused(work: Awaitable[HereView]) -> str:
    """Why, with the hint; the status and code are those of a refusal."""
    with pytest.raises(RequestError) as caught:
        await work
    error = caught.value
    return f"{error.status} {error.code}: {error.message} ({error.hint})"


async def turning(machine: Machine) -> None:
    """What the daemon's loop does for one change of role."""
    await machine.turns.wanted.wait()
    await machine.turns.between()
    machine.turns.begun()


def test_each_role_says_what_does_not_fit_it(tmp_path: Path) -> None:
    async def story() -> None:
        machine = machine_at(tmp_path)
        async with store_of(machine) as store:
            single = SingleVerbs(machine, store)
            for verb in ("leave", "migrate", "restore", "rescue", "member"):
                said = await refused(single.do(verb, HereOrder()))
                assert f"cluster {verb}`: this machine is a member of no cluster" in said
                assert "`skerry cluster init`" in said
            server = ServerVerbs(machine, lambda: SERVER, store)
            for verb in ("init", "join"):
                assert "a server of home already" in await refused(server.do(verb, HereOrder()))
            assert "the only server" in await refused(server.do("leave", HereOrder()))
            assert "its store in a file" in await refused(server.do("rescue", HereOrder()))
            in_etcd = ServerVerbs(machine, lambda: IN_ETCD, store._store)
            assert "in etcd already" in await refused(in_etcd.do("migrate", HereOrder()))
            itself = HereOrder(node=NODE)
            assert "member remove`: this machine is that member" in await refused(
                in_etcd.do("member", itself)
            )
            agent = AgentVerbs(machine, AGENT, lambda: Wire("http://127.0.0.1:1"))
            for verb in ("init", "join", "migrate", "snapshot", "member"):
                said = await refused(agent.do(verb, HereOrder()))
                assert ("an agent of home" in said, "10.0.0.1:7443" in said) == (True, True)

    asyncio.run(story())


def test_a_server_without_its_store_says_how_to_begin_anew(tmp_path: Path) -> None:
    async def story() -> None:
        server = ServerVerbs(machine_at(tmp_path), lambda: IN_ETCD, None)
        for verb in ("migrate", "snapshot"):
            said = await refused(server.do(verb, HereOrder()))
            assert said.startswith("503 degraded: the store of the cluster does not answer")
            assert "`skerry cluster restore`" in said

    asyncio.run(story())


def test_a_file_that_is_no_snapshot_is_refused_before_the_role_ends(tmp_path: Path) -> None:
    async def story() -> None:
        machine = machine_at(tmp_path)
        server = ServerVerbs(machine, lambda: IN_ETCD, None)
        there = tmp_path / "text"
        there.write_text("this is none")
        assert "is no snapshot" in await refused(server.do("restore", HereOrder(file=str(there))))
        assert "cannot be read" in await refused(server.do("restore", HereOrder()))
        assert not machine.turns.wanted.is_set()

    asyncio.run(story())


def test_nothing_begins_anew_while_another_server_runs_unless_forced(tmp_path: Path) -> None:
    async def story() -> None:
        machine = machine_at(tmp_path)
        async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.2", 0) as other:
            url = f"https://127.0.0.2:{other.sockets[0].getsockname()[1]}"
            verbs = ServerVerbs(machine, lambda: msgspec.structs.replace(IN_ETCD, servers=(url,)), None)
            said = await refused(verbs.do("rescue", HereOrder()))
            assert "other servers run: 127.0.0.2 (on each, `systemctl stop" in said
            assert not machine.turns.wanted.is_set()
            begun = asyncio.create_task(verbs.do("rescue", HereOrder(force=True)))
            async with asyncio.timeout(10):
                await machine.turns.wanted.wait()
            begun.cancel()
            await asyncio.gather(begun, return_exceptions=True)

    asyncio.run(story())


def test_a_snapshot_holds_what_the_store_holds_and_is_not_written_twice(tmp_path: Path) -> None:
    async def story() -> None:
        machine = machine_at(tmp_path)
        async with store_of(machine) as store:
            await store.transact([], [Put("a", b"1")])
            verbs = ServerVerbs(machine, lambda: SERVER, store)
            first = (await verbs.do("snapshot", HereOrder())).file
            assert (await verbs.do("snapshot", HereOrder())).file == first
            held = read_snapshot(machine.paths.snapshots / first.rpartition("/")[2])
            assert (held.cluster, [e.key for e in held.picture.entries]) == ("c1", ["a"])
            alone = await SingleVerbs(machine, store).do("snapshot", HereOrder())
            assert (alone.cluster, alone.file) == ("", first)

    asyncio.run(story())


def test_a_machine_with_units_joins_only_by_force_and_with_a_token(tmp_path: Path) -> None:
    async def story() -> None:
        machine = machine_at(tmp_path)
        async with store_of(machine) as store:
            verbs = SingleVerbs(machine, store)
            await store.transact([], [Put(UNITS_PREFIX + "web.service", b"")])
            said = await refused(verbs.do("join", HereOrder(token="t", servers=("https://s:7443",))))
            assert "has 1 unit that the cluster knows nothing of: web.service" in said
            assert "takes a token" in await refused(verbs.do("join", HereOrder(force=True)))
            assert read_membership(machine.paths.state) is None

    asyncio.run(story())


def test_init_with_the_store_in_its_file_writes_who_is_a_member_and_keeps_the_file(tmp_path: Path) -> None:
    async def story() -> None:
        machine = machine_at(tmp_path)
        machine.paths.store.touch()
        async with store_of(machine) as store:
            turn = asyncio.create_task(turning(machine))
            order = HereOrder(name="home", address="10.0.0.1", etcd=False)
            seen = await SingleVerbs(machine, store).do("init", order)
            await turn
            written = read_membership(machine.paths.state)
            assert written is not None
            assert (seen.cluster, seen.name, seen.role) == (written.cluster, "home", "server")
            assert (written.servers, written.store) == (("https://10.0.0.1:7443",), ())
            assert (machine.paths.store.exists(), machine.pki.is_member) == (True, True)

    asyncio.run(story())


def test_of_two_verbs_at_once_the_second_is_refused_before_it_does_anything(tmp_path: Path) -> None:
    """Two that found a store would each end the etcd of the other."""

    async def story() -> None:
        machine = machine_at(tmp_path)
        async with store_of(machine) as store:
            order = HereOrder(name="one", address="10.0.0.1", etcd=False)
            first = asyncio.create_task(SingleVerbs(machine, store).do("init", order))
            await asyncio.sleep(0)
            other = HereOrder(name="two", address="10.0.0.9", etcd=False)
            said = await refused(SingleVerbs(machine, store).do("init", other))
            assert said == "409 refused: another `skerry cluster` is under way here (wait until it has ended)"
            await turning(machine)
            assert (await first).name == "one"
            await settle()
            written = read_membership(machine.paths.state)
            assert written is not None
            assert written.name == "one"

    asyncio.run(story())


def test_an_agent_leaves_without_its_servers_only_by_force(tmp_path: Path) -> None:
    async def story() -> None:
        machine = machine_at(tmp_path)
        write_membership(machine.paths.state, AGENT)
        machine.pki.directory.mkdir()
        verbs = AgentVerbs(machine, AGENT, lambda: Wire("http://127.0.0.1:1"))
        said = await refused(verbs.do("leave", HereOrder()))
        assert "the servers do not let this machine go" in said
        assert "--force" in said
        assert read_membership(machine.paths.state) == AGENT
        turn = asyncio.create_task(turning(machine))
        assert (await verbs.do("leave", HereOrder(force=True))).cluster == ""
        await turn
        assert read_membership(machine.paths.state) is None
        assert not machine.pki.directory.exists()

    asyncio.run(story())
