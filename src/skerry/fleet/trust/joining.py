"""Joining a cluster: what is said, and the joining machine's side of it.

    GET  /v1/cluster/authority   the CA's certificate, believed where its hash is that in the token
    POST /v1/cluster/token       TokenRequest → TokenInfo   ┐ over TLS, to a server that
    POST /v1/cluster/join        JoinRequest → Joined       ┘ this CA vouches for
    POST /v1/cluster/renew       RenewRequest → Renewed     later, with the certificate

The key never leaves the machine, and is kept from the first try on, so that a second one is known as the
same machine's. node.pem is written last: a machine that was killed on the way has not joined, and asks again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from skerry.fleet.trust.certificates import (
    Authority,
    Credential,
    check_pin,
    load_certificate,
    make_request,
    public_sha256,
    read_certificate,
    verify,
)
from skerry.fleet.trust.contexts import client_context, unverified_context
from skerry.fleet.trust.errors import JoinError, NoServerError
from skerry.fleet.trust.identity import Identity, Role
from skerry.fleet.trust.token_text import TokenKind, parse_token
from skerry.kit.http import ApiError, Client, HttpError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skerry.fleet.trust.files import Pki
    from skerry.fleet.trust.token_text import Token

AUTHORITY_PATH = "/v1/cluster/authority"
TOKEN_PATH = "/v1/cluster/token"  # noqa: S105  a path
JOIN_PATH = "/v1/cluster/join"
RENEW_PATH = "/v1/cluster/renew"
TIMEOUT_S = 30.0
T = TypeVar("T")


class TokenRequest(msgspec.Struct, frozen=True):
    token: str


class TokenInfo(msgspec.Struct, frozen=True):
    """What a token to join with is for."""

    role: Role
    cluster: str
    name: str


class JoinRequest(msgspec.Struct, frozen=True):
    """`address` is where the others reach this machine; `csr` is PEM; `names` more names of a server."""

    token: str
    csr: str
    role: Role
    address: str = ""
    names: tuple[str, ...] = ()


class StoreShare(msgspec.Struct, frozen=True):
    """What only servers get. `etcd` is whatever the store's own code wants to tell a new member."""

    ca: str
    ca_key: str
    certificate: str
    authority_key: str
    etcd: dict[str, str] = {}


class Joined(msgspec.Struct, frozen=True):
    """`servers` are the URLs of all servers, `cluster` its id."""

    ca: str
    certificate: str
    servers: tuple[str, ...]
    cluster: str
    name: str
    node: str
    role: Role
    store: StoreShare | None = None


class RenewRequest(msgspec.Struct, frozen=True):
    """`store_csr` is a server's request, PEM, for its certificate of the store's authority."""

    csr: str
    store_csr: str = ""


class Renewed(msgspec.Struct, frozen=True):
    certificate: str
    servers: tuple[str, ...]
    store_certificate: str = ""


def join(
    pki: Pki,
    token_text: str,
    servers: Sequence[str],
    node: str,
    *,
    now: float,
    address: str = "",
    names: Sequence[str] = (),
    role: Role | None = None,
) -> Joined:
    """Join through the first of `servers` ("https://10.0.0.1:7443") that answers, and write pki/.

    `role` None takes the token's. A machine that joined this cluster already gets the answer again, also
    when the token has expired since: callers look at cluster.json first, which is written after this. It
    tries each server once. Raises NoServerError, JoinError, TokenTextError, CertificateError, PkiError.
    """
    token = parse_token(token_text, TokenKind.JOIN)
    if pki.is_member and public_sha256(load_certificate(pki.read_ca())) != token.pin:
        raise JoinError(
            "this machine is a member of another cluster already", hint="`skerry cluster leave` first"
        )
    if not servers:
        raise JoinError("no server is named to join through")
    troubles: list[str] = []
    for url in servers:
        try:
            ca = fetch_authority(url, token.pin)
        except HttpError as error:
            troubles.append(error.message)
            continue
        client = Client(url, timeout_s=TIMEOUT_S, context=client_context(ca))
        try:
            asked = role or _role_of(token, client, pki)
            identity = Identity(node, asked)
            key = pki.read_node().key_pem if pki.is_member else pki.joining_key()
            request = JoinRequest(token.text, make_request(key, identity), asked, address, tuple(names))
            joined = _post(client, JOIN_PATH, request, Joined)
        except ApiError as error:
            if error.status >= 500:
                troubles.append(error.message)
                continue
            raise JoinError(f"the cluster refused this machine: {error.message}", hint=error.hint) from error
        except HttpError as error:
            troubles.append(error.message)
            continue
        _keep(pki, joined, ca, key, identity, now)
        return joined
    raise NoServerError(
        "no server answered: " + "; ".join(troubles), hint="is its port 7443 open to this machine?"
    )


def fetch_authority(url: str, pin: str) -> str:
    """The authority's certificate, PEM, from a server that is not trusted, checked against its hash.

    Raises HttpError, CertificateError.
    """
    pem = Client(url, timeout_s=TIMEOUT_S, context=unverified_context()).request("GET", AUTHORITY_PATH)
    ca = pem.checked().text
    check_pin(ca, pin)
    return ca


def _keep(pki: Pki, joined: Joined, ca: str, key: str, identity: Identity, now: float) -> None:
    verify(joined.certificate, ca, identity, now)
    credential = Credential.parse(key + joined.certificate)
    share = joined.store
    if (share is None) is (identity.role is Role.SERVER):
        raise JoinError("the server's answer does not fit the role of this machine")
    if share is not None:
        pki.write_store_authority(Authority.parse(share.ca, share.ca_key))
        verify(share.certificate, share.ca, identity, now)
        pki.write_store(Credential.parse(key + share.certificate))
        pki.write_authority(Authority.parse(ca, share.authority_key))
    else:
        pki.write_ca(ca)
    pki.write_node(credential)


def _role_of(token: Token, client: Client, pki: Pki) -> Role:
    """What a token is for; of one that has expired since, what this machine joined as with it."""
    try:
        return _post(client, TOKEN_PATH, TokenRequest(token.text), TokenInfo).role
    except ApiError:
        if not pki.is_member:
            raise
        return read_certificate(pki.read_node().certificate_pem).identity.role


def _post(client: Client, path: str, value: msgspec.Struct, kind: type[T]) -> T:
    answer = client.request("POST", path, body=msgspec.json.encode(value)).checked()
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except msgspec.DecodeError as error:
        raise HttpError("the server's answer cannot be read; is it of another version?") from error
