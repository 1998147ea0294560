"""Who may connect to whom, asked of OpenSSL itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from fakes.tls import AGENT, SERVER, Handshake, credential, handshake, member
from skerry.fleet.trust.certificates import DAY_S, Authority, Credential
from skerry.fleet.trust.contexts import NodeTls, client_context, server_context
from skerry.fleet.trust.errors import CertificateError, PkiError
from skerry.fleet.trust.files import Pki
from skerry.fleet.trust.identity import read_peer

if TYPE_CHECKING:
    from pathlib import Path

NOW = time.time()  # OpenSSL has its own clock
OURS = Authority.create("ours", NOW)
THEIRS = Authority.create("theirs", NOW)


def meet(
    tmp_path: Path, client: Credential | None, server: Credential | None = None, *, node: str | None = None
) -> Handshake:
    """What comes of a connection; the server is a good one unless told otherwise."""
    served = member(tmp_path / "server", OURS, server or credential(OURS, SERVER, NOW))
    path = None
    if client is not None:
        path = tmp_path / "client.pem"
        path.write_text(client.pem)
    return handshake(server_context(served), client_context(OURS.pem, credential=path, node=node))


def test_both_sides_know_each_other(tmp_path: Path) -> None:
    met = meet(tmp_path, credential(OURS, AGENT, NOW))
    assert met.client_saw is not None
    assert met.server_saw is not None
    assert (read_peer(met.client_saw).identity, read_peer(met.server_saw).identity) == (SERVER, AGENT)


def test_a_person_comes_without_a_certificate(tmp_path: Path) -> None:
    met = meet(tmp_path, None)
    assert (met.refused_by, met.server_saw) == ("", None)


BAD_CLIENTS = {
    "expired": credential(OURS, AGENT, NOW - 40 * DAY_S),
    "not yet valid": credential(OURS, AGENT, NOW + 2 * DAY_S),
    "of another authority": credential(THEIRS, AGENT, NOW),
}


@pytest.mark.parametrize("client", BAD_CLIENTS.values(), ids=BAD_CLIENTS)
def test_a_bad_client_is_refused_by_the_server(tmp_path: Path, client: Credential) -> None:
    assert meet(tmp_path, client).refused_by == "server"


BAD_SERVERS = {
    "expired": credential(OURS, SERVER, NOW - 40 * DAY_S),
    "not yet valid": credential(OURS, SERVER, NOW + 2 * DAY_S),
    "of another authority": credential(THEIRS, SERVER, NOW),
    "an agent": credential(OURS, AGENT, NOW),
}


@pytest.mark.parametrize("server", BAD_SERVERS.values(), ids=BAD_SERVERS)
def test_a_bad_server_is_refused_by_the_client(tmp_path: Path, server: Credential) -> None:
    assert meet(tmp_path, None, server).refused_by == "client"


def test_another_server_than_the_one_wanted_is_refused(tmp_path: Path) -> None:
    assert meet(tmp_path, None, node=SERVER.node).refused_by == ""
    met = meet(tmp_path, None, node="6" * 32)
    assert (met.refused_by, "not 666" in met.why) == ("client", True)


def test_a_renewed_certificate_is_taken_into_use(tmp_path: Path) -> None:
    pki = member(tmp_path / "server", OURS, credential(OURS, SERVER, NOW))
    tls = NodeTls(pki)
    before = handshake(tls.server(), tls.client())
    pki.write_node(credential(OURS, SERVER, NOW))
    tls.reload()
    after = handshake(tls.server(), tls.client())
    seen = [before.client_saw, before.server_saw, after.client_saw, after.server_saw]
    serials = [read_peer(one or {}).serial for one in seen]
    assert (serials[0] == serials[1], serials[2] == serials[3], serials[0] != serials[2]) == (True,) * 3


def test_damaged_files_are_told(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    with pytest.raises(PkiError, match="missing"):
        server_context(pki)
    with pytest.raises(CertificateError):
        client_context("hello")
    pki.write_ca(OURS.pem)
    pki.node.write_text("half")
    with pytest.raises(PkiError, match="damaged"):
        server_context(pki)
