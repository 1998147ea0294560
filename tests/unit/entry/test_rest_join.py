"""Machines join over real TLS, with nothing but a token; and are refused, with the reason."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import msgspec
import pytest

from fakes.secured import Secured
from fakes.tls import AGENT, SERVER
from skerry.fleet.trust.certificates import DAY_S, Authority, make_request, new_key, read_certificate
from skerry.fleet.trust.contexts import NodeTls, server_context
from skerry.fleet.trust.errors import CertificateError, JoinError, TokenTextError
from skerry.fleet.trust.files import Pki
from skerry.fleet.trust.identity import Identity, Role
from skerry.fleet.trust.joining import Joined, Renewed, join
from skerry.fleet.trust.renewal import Renewal, ask_servers
from skerry.fleet.trust.token_text import Token, TokenKind, new_token
from skerry.kit.http import ApiError

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

HOUR_S = 3600.0


async def token_of(w: Secured, role: Role = Role.AGENT, *, uses: int = 1) -> Token:
    return (await w.tokens.create_join(role, ttl_s=HOUR_S, uses=uses))[1]


async def joining(
    w: Secured, directory: Path, token: str, node: str = AGENT.node, *, role: Role | None = None
) -> Joined:
    """Join as a machine would, in a thread, for the client waits."""
    pki = Pki(directory / f"pki-{node[:4]}")
    return await asyncio.to_thread(
        join, pki, token, [w.url], node, now=w.clock.now(), address="10.0.0.7", role=role
    )


def run(work: Coroutine[object, object, None]) -> None:
    asyncio.run(work)


async def _agent(directory: Path) -> None:
    w = Secured(directory)
    async with w.running():
        token = await token_of(w)
        joined = await joining(w, directory, token.text)
        pki = Pki(directory / "pki-aaaa")
        assert (joined.role, joined.cluster, joined.store) == (Role.AGENT, "c1", None)
        assert sorted(p.name for p in pki.directory.iterdir()) == ["ca.crt", "joining.key", "node.pem"]
        who = await w.ask("GET", "/v1/whoami", context=w.connecting(pki.node))
        assert (who.json["kind"], who.json["name"]) == ("node", AGENT.node)  # type: ignore[index,call-overload]
        (_, record), *_ = await w.audit.newest()
        assert (record.who, record.what) == (AGENT.node, "POST /v1/cluster/join")
        assert token.secret not in record.detail
        strange = new_token(TokenKind.JOIN, "0" * 64)
        with pytest.raises(JoinError, match="member of another cluster"):
            await joining(w, directory, strange.text)


def test_an_agent_joins_and_is_known(tmp_path: Path) -> None:
    run(_agent(tmp_path))


async def _server(directory: Path) -> None:
    w = Secured(directory)
    async with w.running():
        token = await token_of(w, Role.SERVER)
        joined = await joining(w, directory, token.text, "7" * 32)
        assert joined.store is not None
        assert (joined.store.etcd, w.enlisted) == ({"initial_cluster": "five"}, [("7" * 32, "10.0.0.7")])
        pki = Pki(directory / "pki-7777")
        assert pki.authority().pin == w.authority.pin
        assert pki.store_authority().pin == w.pki.store_authority().pin
        assert "https://10.0.0.7:7443" in joined.servers
        assert pki.read_store().certificate_pem == joined.store.certificate
        server_context(pki)
        modes = {p.name: p.stat().st_mode & 0o777 for p in pki.directory.iterdir()}
        assert {name for name, mode in modes.items() if mode != 0o600} == {"ca.crt", "store-ca.crt"}


def test_a_server_gets_both_authorities(tmp_path: Path) -> None:
    run(_server(tmp_path))


async def _refused(directory: Path) -> None:
    w = Secured(directory)
    async with w.running():
        used, expired = await token_of(w), await token_of(w)
        await joining(w, directory, used.text, "1" * 32)
        with pytest.raises(JoinError, match="used up"):
            await joining(w, directory, used.text, "2" * 32)
        with pytest.raises(JoinError, match="as agent, not as server"):
            await joining(w, directory, expired.text, "2" * 32, role=Role.SERVER)
        made_anew = Pki(directory / "pki-1111")
        made_anew.joined()
        made_anew.node.unlink()
        with pytest.raises(JoinError, match="member already"):
            await joining(w, directory, expired.text, "1" * 32)
        await w.clock.advance(HOUR_S)
        with pytest.raises(JoinError, match="expired"):
            await joining(w, directory, expired.text, "2" * 32)
        with pytest.raises(JoinError, match="revoked, or is of another cluster"):
            await joining(w, directory, new_token(TokenKind.JOIN, w.authority.pin).text, "2" * 32)
        with pytest.raises(TokenTextError):
            await joining(w, directory, new_token(TokenKind.PERSON, w.authority.pin).text, "2" * 32)
        assert not (directory / "pki-2222" / "node.pem").exists()


def test_used_expired_and_strange_tokens_are_refused_with_the_reason(tmp_path: Path) -> None:
    run(_refused(tmp_path))


async def _elsewhere(directory: Path) -> None:
    w = Secured(directory)
    async with w.running():
        first, second = await token_of(w, Role.SERVER), await token_of(w, Role.SERVER)
        await joining(w, directory, first.text, "1" * 32)
        with pytest.raises(JoinError, match=r"the server 1+ is at 10\.0\.0\.7"):
            await joining(w, directory, second.text, "2" * 32)
        request = make_request(new_key(), Identity("3" * 32, Role.SERVER))
        asked = {"token": second.text, "csr": request, "role": "server", "address": "*.example"}
        refused = await w.ask("POST", "/v1/cluster/join", asked, context=w.connecting())
        assert (refused.status, "no address" in refused.body.decode()) == (400, True)
        assert [record.used for record in await w.tokens.joins()].count(0) == 1
        assert w.enlisted == [("1" * 32, "10.0.0.7")]


def test_a_server_joins_with_an_address_of_its_own_only(tmp_path: Path) -> None:
    run(_elsewhere(tmp_path))


async def _pinned(directory: Path) -> None:
    w = Secured(directory)
    async with w.running():
        token = await token_of(w)
        other = Authority.create("theirs", w.clock.now())
        with pytest.raises(CertificateError, match="another authority"):
            await joining(w, directory, token.text.replace(w.authority.pin, other.pin))
        assert (await w.tokens.joins())[0].used == 0


def test_a_machine_joins_only_the_cluster_that_its_token_names(tmp_path: Path) -> None:
    run(_pinned(tmp_path))


async def _replaced(directory: Path) -> None:
    """Somebody in between shows the true authority and a certificate of their own."""
    w = Secured(directory)
    strangers = Secured(directory / "strangers")
    strangers.pki.write_ca(w.authority.pem)
    async with w.running(), strangers.running():
        token = await token_of(w)
        strangers.clock = w.clock
        with pytest.raises(JoinError, match="not trusted"):
            await joining(strangers, directory, token.text)


def test_the_token_goes_to_nobody_in_between(tmp_path: Path) -> None:
    run(_replaced(tmp_path))


async def _again(directory: Path) -> None:
    w = Secured(directory)
    async with w.running():
        token = await token_of(w)
        await joining(w, directory, token.text)
        pki = Pki(directory / "pki-aaaa")
        key = pki.read_node().key_pem
        await joining(w, directory, token.text)  # it was killed before it wrote down that it had joined
        pki.node.unlink()  # … or before it wrote down its certificate
        pki.joining.write_text(key)
        await joining(w, directory, token.text)
        assert (pki.is_member, pki.read_node().key_pem) == (True, key)
        assert (await w.tokens.joins())[0].used == 1
        later = await token_of(w)
        await joining(w, directory, later.text)
        assert (await w.tokens.joins())[0].used == 1


def test_a_machine_killed_on_the_way_joins_with_the_same_token(tmp_path: Path) -> None:
    run(_again(tmp_path))


async def _hostile(directory: Path) -> None:
    w = Secured(directory)
    async with w.running():
        token = await token_of(w, uses=0)
        bare = w.connecting()
        key = new_key()
        csr = make_request(key, AGENT)
        good = {"token": token.text, "csr": csr, "role": "agent"}
        bad = [
            good | {"csr": "x"},
            good | {"csr": make_request(key, Identity(AGENT.node, Role.SERVER))},
            good | {"role": "root"},
            good | {"address": "not an address or name\n"},
            good | {"token": ""},
            {},
            [],
        ]
        statuses = [(await w.ask("POST", "/v1/cluster/join", body, context=bare)).status for body in bad]
        assert statuses == [400] * 7
        server = good | {"csr": make_request(key, SERVER), "role": "server", "address": "a b"}
        refused = await w.ask("POST", "/v1/cluster/join", server, context=bare)
        assert (refused.status, token.secret in refused.body.decode()) == (403, False)


def test_requests_made_by_hand_get_no_further(tmp_path: Path) -> None:
    run(_hostile(tmp_path))


async def _renewed(directory: Path) -> None:
    w = Secured(directory)
    async with w.running():
        await joining(w, directory, (await token_of(w)).text)
        pki = Pki(directory / "pki-aaaa")
        held = w.connecting(pki.node)
        key = new_key()
        body = {"csr": make_request(key, AGENT)}
        reply = await w.ask("POST", "/v1/cluster/renew", body, context=held)
        renewed = msgspec.json.decode(reply.body, type=Renewed)
        fresh, old = read_certificate(renewed.certificate), read_certificate(pki.read_node().certificate_pem)
        assert (fresh.identity, fresh.serial != old.serial) == (AGENT, True)
        assert fresh.expires - w.clock.now() > 29 * DAY_S
        for other in (Identity("b" * 32, Role.AGENT), Identity(AGENT.node, Role.SERVER)):
            body = {"csr": make_request(key, other)}
            assert (await w.ask("POST", "/v1/cluster/renew", body, context=held)).status == 400
        body = {"csr": make_request(key, AGENT), "store_csr": make_request(key, AGENT)}
        assert (await w.ask("POST", "/v1/cluster/renew", body, context=held)).status == 400


def test_a_node_renews_its_own_certificate_and_no_other(tmp_path: Path) -> None:
    run(_renewed(tmp_path))


async def _by_itself(directory: Path) -> None:
    w = Secured(directory, lifetime_s=3600)  # OpenSSL has the real clock: not far from it
    async with w.running():
        await joining(w, directory, (await token_of(w)).text)
        pki = Pki(directory / "pki-aaaa")
        tls = NodeTls(pki)
        ask = ask_servers(lambda: ["https://127.0.0.1:1", w.url], tls.client)
        first = read_certificate(pki.read_node().certificate_pem)
        await w.clock.advance(2460)
        await Renewal(pki, w.clock, ask, tls.reload).turn()
        second = read_certificate(pki.read_node().certificate_pem)
        assert (second.serial != first.serial, second.issued - first.issued) == (True, 2460)
        assert [m.serial for m in await w.members.members()] == [second.serial]
        audited = [(r.who, r.what, r.outcome) for _, r in await w.audit.newest()]
        assert audited[0] == (AGENT.node, "POST /v1/cluster/renew", 200)
        await w.known.saw_revoked(await w.members.remove(AGENT.node, by="ann"))
        await w.clock.advance(2460)
        with pytest.raises(ApiError, match="was removed"):
            await Renewal(pki, w.clock, ask).turn()
        assert read_certificate(pki.read_node().certificate_pem) == second


def test_a_node_renews_by_itself_until_it_is_removed(tmp_path: Path) -> None:
    run(_by_itself(tmp_path))


async def _signs_for_itself(directory: Path) -> None:
    """The only server of a cluster, which was off for longer than its certificate is good."""
    w = Secured(directory)
    await w.clock.advance(100 * DAY_S)
    await Renewal(w.pki, w.clock, w.joining.renew_here).turn()
    facts = read_certificate(w.pki.read_node().certificate_pem)
    assert (facts.identity, facts.issued) == (SERVER, float(int(w.clock.now())))


def test_a_server_that_was_off_for_long_signs_for_itself(tmp_path: Path) -> None:
    run(_signs_for_itself(tmp_path))


async def _plain(directory: Path) -> None:
    w = Secured(directory)
    async with w.running():
        old = w.connecting()
        old.minimum_version = ssl.TLSVersion.TLSv1_2
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(OSError):  # noqa: PT011  OpenSSL says it in many ways
            await w.ask("GET", "/v1/cluster/authority", context=old)


def test_older_tls_is_not_spoken(tmp_path: Path) -> None:
    run(_plain(tmp_path))


async def _no_secrets(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    w = Secured(directory)
    async with w.running():
        token = await token_of(w, Role.SERVER, uses=2)
        await joining(w, directory, token.text, "7" * 32)
        with pytest.raises(JoinError):
            await joining(w, directory, token.text[:-4] + "0000", "8" * 32)
        with pytest.raises(JoinError):
            await joining(w, directory, token.text, "9" * 32, role=Role.AGENT)
        pki = Pki(directory / "pki-7777")
        stored = b"".join(e.value for e in (await w.store.list("")).entries).decode()
        keys = [pki.ca_key.read_text(), pki.store_ca_key.read_text(), pki.read_node().key_pem]
        for hidden in (token.secret, *(key.splitlines()[1] for key in keys)):
            assert hidden not in caplog.text
            assert hidden not in stored


def test_no_secret_of_a_join_is_logged_or_stored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    run(_no_secrets(tmp_path, caplog))
