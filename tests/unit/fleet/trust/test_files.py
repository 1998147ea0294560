"""The files under pki/: for root alone, whole at every moment, renewed in time."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from fakes.clock import FakeClock
from fakes.tls import AGENT, SERVER, credential, member
from skerry.fleet.trust.certificates import (
    DAY_S,
    Authority,
    make_request,
    new_key,
    read_certificate,
    read_request,
    verify,
)
from skerry.fleet.trust.errors import PkiError, TrustError
from skerry.fleet.trust.files import Pki
from skerry.fleet.trust.founding import found
from skerry.fleet.trust.joining import Renewed, RenewRequest
from skerry.fleet.trust.renewal import Renewal, due_at

if TYPE_CHECKING:
    from pathlib import Path

NOW = FakeClock().now()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("test", NOW)


def test_only_their_owner_reads_keys(tmp_path: Path, authority: Authority) -> None:
    pki = Pki(tmp_path / "pki")
    before = os.umask(0)
    try:
        pki.write_authority(authority)
        pki.write_store_authority(Authority.create("store", NOW))
        pki.write_node(credential(authority, SERVER, NOW))
        pki.write_store(credential(authority, SERVER, NOW))
        pki.joining_key()
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in pki.directory.iterdir()}
    assert pki.directory.stat().st_mode & 0o777 == 0o700
    assert {name for name, mode in modes.items() if mode != 0o600} == {"ca.crt", "store-ca.crt"}
    assert not any("PRIVATE" in (pki.directory / name).read_text() for name in ("ca.crt", "store-ca.crt"))


def test_what_is_written_is_read(tmp_path: Path, authority: Authority) -> None:
    pki = Pki(tmp_path)
    held = credential(authority, SERVER, NOW)
    assert not pki.is_member
    pki.write_authority(authority)
    pki.write_node(held)
    pki.write_store(held)
    assert pki.is_member
    assert (pki.read_node(), pki.read_store(), pki.read_ca()) == (held, held, authority.pem)
    assert pki.authority().pin == authority.pin


def test_a_join_is_tried_again_with_the_same_key(tmp_path: Path, authority: Authority) -> None:
    pki = Pki(tmp_path)
    key = pki.joining_key()
    assert Pki(tmp_path).joining_key() == key
    pki.write_node(credential(authority, AGENT, NOW))
    assert (pki.is_joining, pki.joining_key()) == (False, key)
    pki.write_ca(authority.pem)
    assert pki.is_joining
    pki.joined()
    assert (pki.is_joining, pki.joining.exists()) == (False, False)


def test_an_agent_keeps_nothing_of_a_server(tmp_path: Path, authority: Authority) -> None:
    pki = Pki(tmp_path)
    pki.write_store_authority(authority)
    pki.write_authority(authority)
    pki.write_ca(authority.pem)
    assert [path.name for path in tmp_path.iterdir()] == ["ca.crt"]


@pytest.mark.parametrize("name", ["ca.crt", "node.pem", "ca.key"])
def test_a_damaged_file_is_named(tmp_path: Path, authority: Authority, name: str) -> None:
    pki = Pki(tmp_path)
    pki.write_authority(authority)
    pki.write_node(credential(authority, AGENT, NOW))
    (tmp_path / name).write_bytes(b"\xff half of it")
    with pytest.raises(PkiError, match=name):
        pki.authority(), pki.read_node(), pki.read_ca()


class Signer:
    """A server that signs, fails, or signs for somebody else."""

    def __init__(self, authority: Authority, clock: FakeClock) -> None:
        self.authority = authority
        self.clock = clock
        self.asked = 0
        self.failing = False
        self.answer = ""
        self.store = Authority.create("store", clock.now())

    async def __call__(self, request: RenewRequest) -> Renewed:
        self.asked += 1
        if self.failing:
            raise TrustError("no server answers")
        read = read_request(request.csr)
        pem = self.answer or self.authority.issue(read, read.identity, self.clock.now())
        store = ""
        if request.store_csr:
            asked = read_request(request.store_csr)
            store = self.store.issue_store(asked, asked.identity, self.clock.now(), hosts=[])
        return Renewed(pem, (), store)


async def _renewing(tmp_path: Path, authority: Authority) -> None:
    clock = FakeClock()
    signer = Signer(authority, clock)
    pki = member(tmp_path, authority, credential(authority, AGENT, clock.now()))
    first = pki.read_node()
    renewed: list[float] = []
    running = asyncio.create_task(Renewal(pki, clock, signer, lambda: renewed.append(clock.now())).run())
    await clock.advance(20 * DAY_S - 3600)
    assert signer.asked == 0
    signer.failing = True
    await clock.advance(3 * 3600)
    assert pki.read_node() == first
    assert 3 <= signer.asked <= 12
    signer.failing = False
    await clock.advance(3600)
    second = pki.read_node()
    assert (second.key_pem != first.key_pem, len(renewed)) == (True, 1)
    asked = signer.asked
    await clock.advance(19 * DAY_S)
    assert signer.asked == asked
    await clock.advance(2 * DAY_S)
    assert (pki.read_node() != second, len(renewed)) == (True, 2)
    running.cancel()


def test_a_certificate_is_renewed_at_two_thirds(tmp_path: Path, authority: Authority) -> None:
    asyncio.run(_renewing(tmp_path, authority))


def test_due_at_two_thirds(authority: Authority) -> None:
    facts = read_certificate(credential(authority, AGENT, NOW, lifetime_s=3 * DAY_S).certificate_pem)
    assert due_at(facts) == NOW + 2 * DAY_S


@pytest.mark.parametrize("wrong", ["authority", "node", "key"])
def test_a_wrong_answer_is_not_kept(tmp_path: Path, authority: Authority, wrong: str) -> None:
    clock = FakeClock(now=NOW + 25 * DAY_S)
    signer = Signer(Authority.create("other", NOW) if wrong == "authority" else authority, clock)
    if wrong == "node":
        signer.answer = credential(authority, SERVER, clock.now()).certificate_pem
    if wrong == "key":
        signer.answer = authority.issue(read_request(make_request(new_key(), AGENT)), AGENT, clock.now())
    pki = member(tmp_path, authority, credential(authority, AGENT, NOW))
    first = pki.read_node()
    with pytest.raises(TrustError):
        asyncio.run(Renewal(pki, clock, signer).turn())
    assert pki.read_node() == first


async def _server_renewal(tmp_path: Path) -> None:
    clock = FakeClock()
    pki = Pki(tmp_path)
    found(pki, "home", SERVER.node, now=clock.now(), hosts=["10.0.0.1"])
    signer = Signer(pki.authority(), clock)
    signer.store = pki.store_authority()
    node, store = pki.read_node(), pki.read_store()
    await clock.advance(21 * DAY_S)
    renewal = Renewal(pki, clock, signer)
    await renewal.turn()
    assert (pki.read_node() != node, pki.read_store() != store) == (True, True)
    pki.write_store(store)  # killed between the two files
    await renewal.turn()
    assert (pki.read_store() != store, signer.asked) == (True, 2)
    await renewal.turn()
    assert signer.asked == 2
    signer.store = Authority.create("strange", clock.now())
    await clock.advance(21 * DAY_S)
    node = pki.read_node()
    with pytest.raises(TrustError):
        await renewal.turn()
    assert pki.read_node() == node


def test_a_server_renews_both_of_its_certificates(tmp_path: Path) -> None:
    asyncio.run(_server_renewal(tmp_path))


class Cut(Pki):
    """Is killed before the file of this number is written."""

    def __init__(self, directory: Path, at: int) -> None:
        super().__init__(directory)
        self.left = at

    def _write(self, path: Path, text: str, *, mode: int = 0o600) -> None:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        super()._write(path, text, mode=mode)


@pytest.mark.parametrize("at", range(6))
def test_a_cluster_is_founded_however_often_it_is_cut_short(tmp_path: Path, at: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        found(Cut(tmp_path, at), "home", SERVER.node, now=NOW, hosts=["10.0.0.1"])
    pki = Pki(tmp_path)
    assert not pki.is_member
    facts, key = found(pki, "home", SERVER.node, now=NOW, hosts=["10.0.0.1"])
    assert (facts.identity, found(pki, "home", SERVER.node, now=NOW, hosts=[])) == (SERVER, (facts, key))
    verify(pki.read_node().certificate_pem, pki.read_ca(), SERVER, NOW)
    verify(pki.read_store().certificate_pem, pki.read_store_ca(), SERVER, NOW)


def test_an_agent_founds_nothing(tmp_path: Path, authority: Authority) -> None:
    pki = member(tmp_path, authority, credential(authority, AGENT, NOW))
    with pytest.raises(PkiError, match=r"ca\.key"):
        found(pki, "home", AGENT.node, now=NOW, hosts=[])
