"""A cluster's authority and nodes with certificates, under a directory; TLS between two ends in memory."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.fleet.trust.certificates import NODE_LIFETIME_S, Authority, Credential, make_request, new_key
from skerry.fleet.trust.certificates import read_request as read
from skerry.fleet.trust.files import Pki
from skerry.fleet.trust.identity import Identity, Role, Shown

if TYPE_CHECKING:
    from pathlib import Path

AGENT = Identity("a" * 32, Role.AGENT)
SERVER = Identity("5" * 32, Role.SERVER)


def credential(
    authority: Authority,
    identity: Identity,
    now: float,
    *,
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost"),
    lifetime_s: float = NODE_LIFETIME_S,
) -> Credential:
    """A node's key and certificate."""
    key = new_key()
    request = read(make_request(key, identity))
    return Credential(key, authority.issue(request, identity, now, hosts=hosts, lifetime_s=lifetime_s))


def member(directory: Path, authority: Authority, held: Credential) -> Pki:
    """The files of a node that has joined."""
    pki = Pki(directory)
    pki.write_ca(authority.pem)
    pki.write_node(held)
    return pki


@dataclass(frozen=True)
class Handshake:
    """What each side knows of the other; a failure is the reason, and who found it."""

    client_saw: Shown | None = None
    server_saw: Shown | None = None
    refused_by: str = ""
    why: str = ""


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> Handshake:
    """A TLS handshake without sockets, and one byte each way: with 1.3, a client learns later."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    there = server.wrap_bio(to_server, to_client, server_side=True)
    here = client.wrap_bio(to_client, to_server, server_side=False)
    left = {"client": here, "server": there}
    for _ in range(10):
        for side in list(left):
            try:
                left[side].do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                return Handshake(refused_by=side, why=str(error))
            del left[side]
    assert not left, "the handshake does not end"
    return Handshake(here.getpeercert(), there.getpeercert())
