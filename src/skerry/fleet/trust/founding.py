"""The first server of a cluster: both authorities, and certificates that it signs for itself.

    ca.key, ca.crt, store-ca.key, store-ca.crt ─→ store.pem ─→ node.pem

What is whole already is kept, so that `cluster init` may be killed at any moment and be called again; called
with another address it makes the certificates anew, for what others check is the address in them. So it does
where pki/ is the copy of another server's: with that a cluster begins anew when all servers are lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.fleet.trust.certificates import (
    NODE_LIFETIME_S,
    Authority,
    Credential,
    Facts,
    covers,
    load_key,
    make_request,
    new_key,
    public_sha256,
    read_certificate,
    read_request,
)
from skerry.fleet.trust.errors import PkiError
from skerry.fleet.trust.identity import Identity, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from skerry.fleet.trust.files import Pki

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def found(
    pki: Pki, name: str, node: str, *, now: float, hosts: Sequence[str], lifetime_s: float = NODE_LIFETIME_S
) -> tuple[Facts, str]:
    """Make this machine the first server; the facts of its certificate and the hash of its key.

    `name` is the cluster's, for people; `hosts` are the addresses and names of this machine. Raises PkiError
    for one that is a member of a cluster, but not a server of it, or is joining one.
    """
    if pki.is_joining:
        raise PkiError(
            "this machine has begun to join a cluster, and not ended it",
            hint="`skerry cluster join` once more, or `skerry cluster leave` first",
        )
    identity = Identity(node, Role.SERVER)
    named = tuple(dict.fromkeys((*hosts, *LOOPBACK)))
    if pki.is_member:
        pki.authority()
        held, store_held = pki.read_node(), pki.read_store()
        facts = read_certificate(held.certificate_pem)
        own = facts.identity == identity
        if own and all(covers(each.certificate_pem, named) for each in (held, store_held)):
            return facts, public_sha256(load_key(held.key_pem))
    authority = _kept(pki.authority) or Authority.create(f"Skerry cluster {name}", now)
    store = _kept(pki.store_authority) or Authority.create(f"Skerry store of {name}", now)
    pki.write_authority(authority)
    pki.write_store_authority(store)
    key = new_key()
    request = read_request(make_request(key, identity))
    kept = store.issue_store(request, identity, now, hosts=named, lifetime_s=lifetime_s)
    pki.write_store(Credential(key, kept))
    certificate = authority.issue(request, identity, now, hosts=named, lifetime_s=lifetime_s)
    pki.write_node(Credential(key, certificate))
    return read_certificate(certificate), request.key_sha256


def _kept(read: Callable[[], Authority]) -> Authority | None:
    try:
        return read()
    except PkiError:
        return None
