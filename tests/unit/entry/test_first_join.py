"""A machine whose cloud-config names a cluster joins it by itself, once, and forgets the token."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING

import pytest

from fakes.secured import Secured
from fakes.tls import AGENT
from skerry.entry.daemon.first_join import JoinFileError, first_join, read_join_file
from skerry.fleet.cluster.errors import EtcdError
from skerry.fleet.cluster.membership import Membership, read_membership
from skerry.fleet.trust.errors import JoinError, TrustError
from skerry.fleet.trust.files import Pki
from skerry.fleet.trust.identity import Role

if TYPE_CHECKING:
    from pathlib import Path

    from skerry.entry.daemon.first_join import Enlisted
    from skerry.fleet.trust.joining import Joined


class Machine:
    """The directories of a machine that is to join."""

    def __init__(self, directory: Path, w: Secured) -> None:
        self.settings, self.state = directory / "etc", directory / "state"
        self.settings.mkdir()
        self.state.mkdir()
        self.file = self.settings / "join.toml"
        self.pki = Pki(self.state / "pki")
        self.w = w

    def write(self, text: str, mode: int = 0o600) -> None:
        self.file.touch(mode)
        self.file.chmod(mode)
        self.file.write_text(text)

    def names(self, token: str, servers: list[str], more: str = "") -> None:
        self.write(f"token = {json.dumps(token)}\nservers = {json.dumps(servers)}\n{more}")

    async def start(self, enlisted: Enlisted | None = None, address: str = "10.0.0.9") -> Membership | None:
        def own_address(asked: str) -> str:
            return asked or address

        return await first_join(
            self.settings,
            self.state,
            self.pki,
            AGENT.node,
            self.w.clock,
            enlisted,
            own_address=own_address,
            names=("one",),
        )


async def _enlisted(joined: Joined, address: str) -> Membership:
    return Membership(joined.cluster, joined.name, joined.node, joined.role, address, joined.servers)


async def _joins(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    w = Secured(directory / "server")
    machine = Machine(directory, w)
    assert await machine.start() is None
    async with w.running():
        _, token = await w.tokens.create_join(Role.AGENT, ttl_s=3600)
        machine.names(token.text, ["https://127.0.0.1:1", w.url], 'address = "10.0.0.7"\n')
        membership = await machine.start()
        assert membership is not None
        assert (membership.role, membership.address, membership.name) == (Role.AGENT, "10.0.0.7", "home")
        assert (read_membership(machine.state), machine.file.exists()) == (membership, False)
        machine.names(token.text, [w.url])
        assert await machine.start() == membership
        assert not machine.file.exists()
        assert token.secret not in caplog.text
        left = [p for p in machine.state.rglob("*") if p.is_file() and token.secret in p.read_text()]
        assert left == []


def test_a_machine_joins_at_its_first_start_and_forgets_the_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="skerry")
    asyncio.run(_joins(tmp_path, caplog))


async def _waits(directory: Path) -> None:
    w = Secured(directory / "server")
    machine = Machine(directory, w)
    machine.names((await w.tokens.create_join(Role.AGENT, ttl_s=3600))[1].text, ["https://127.0.0.1:1"])
    joining = asyncio.create_task(machine.start())
    async with asyncio.timeout(20):
        while not w.clock.sleeping:  # noqa: ASYNC110  a thread asks the network
            await asyncio.sleep(0.01)
    async with w.running():
        machine.file.read_text()
        assert not joining.done()
        joining.cancel()


def test_it_waits_for_a_server_that_answers(tmp_path: Path) -> None:
    asyncio.run(_waits(tmp_path))


async def _killed(directory: Path) -> None:
    w = Secured(directory / "server")
    machine = Machine(directory, w)
    async with w.running():
        _, token = await w.tokens.create_join(Role.AGENT, ttl_s=3600)
        machine.names(token.text, [w.url])
        first = await machine.start()
        (machine.state / "cluster.json").unlink()  # killed just before it was written
        machine.names(token.text, [w.url])
        assert await machine.start() == first
        assert (await w.tokens.joins())[0].used == 1


def test_a_machine_killed_before_it_wrote_it_down_joins_again(tmp_path: Path) -> None:
    asyncio.run(_killed(tmp_path))


async def _refused(directory: Path) -> None:
    w = Secured(directory / "server")
    machine = Machine(directory, w)
    async with w.running():
        _, token = await w.tokens.create_join(Role.SERVER, ttl_s=3600)
        machine.names(token.text, [w.url], 'role = "agent"\n')
        with pytest.raises(JoinError, match="as server, not as agent"):
            await machine.start()
        assert machine.file.exists()
        machine.names(token.text, [w.url])
        with pytest.raises(TrustError, match="no store"):
            await machine.start()

        became = await machine.start(_enlisted)
        assert became is not None
        assert (became.role, machine.file.exists()) == (Role.SERVER, False)


def test_a_refusal_is_for_a_person_and_a_server_needs_a_store(tmp_path: Path) -> None:
    asyncio.run(_refused(tmp_path))


async def _slow(directory: Path) -> None:
    w = Secured(directory / "server")
    machine = Machine(directory, w)
    tried: list[Joined] = []

    async def enlisted(joined: Joined, address: str) -> Membership:
        if not tried:
            await w.clock.advance(7200)
            tried.append(joined)
            raise EtcdError("etcd does not come up")
        tried.append(joined)
        return await _enlisted(joined, address)

    async with w.running():
        _, token = await w.tokens.create_join(Role.SERVER, ttl_s=3600)
        machine.names(token.text, [w.url])
        joining = asyncio.create_task(machine.start(enlisted))
        async with asyncio.timeout(60):
            while not tried:  # noqa: ASYNC110  a thread asks the server
                await asyncio.sleep(0.01)
            await w.clock.advance(3)
            became = await joining
        assert became is not None
        assert (became.role, became.address, machine.file.exists()) == (Role.SERVER, "10.0.0.9", False)
        assert [m.address for m in await w.members.members() if m.node == AGENT.node] == ["10.0.0.9"]
        assert (len(tried), (await w.tokens.joins())[0].used) == (2, 1)


def test_a_server_whose_token_expires_while_etcd_does_not_come_up_is_let_in(tmp_path: Path) -> None:
    asyncio.run(_slow(tmp_path))


BAD = {
    "no TOML": ("token = 'tooth", 0o600),
    "no token": ("servers = ['a']", 0o600),
    "no servers": ("token = 'tooth'", 0o600),
    "not a list": ("token = 'tooth'\nservers = 'a'", 0o600),
    "another key": ("token = 'tooth'\nservers = ['a']\nsecret = 'tooth'", 0o600),
    "a wrong role": ("token = 'tooth'\nservers = ['a']\nrole = 'king'", 0o600),
    "others can read it": ("token = 'tooth'\nservers = ['a']", 0o644),
}


@pytest.mark.parametrize(("text", "mode"), BAD.values(), ids=BAD)
def test_a_bad_file_is_told_without_its_token(tmp_path: Path, text: str, mode: int) -> None:
    path = tmp_path / "join.toml"
    path.touch(mode)
    path.chmod(mode)
    path.write_text(text)
    with pytest.raises(JoinFileError) as caught:
        read_join_file(path)
    assert "tooth" not in f"{caught.value} {caught.value.hint}"
