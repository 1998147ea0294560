"""Who a certificate is for, as it stands in the certificate; read from what `ssl` shows of a peer.

    subject   O = "skerry:agent" | "skerry:server" | "skerry:store", CN = machine id
    SAN       URI skerry://node/<machine id>, and for servers their addresses and names

Small on purpose: every request of an agent is asked for its identity, and the answer needs no parser of
certificates, for OpenSSL has verified and parsed this one already.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass

from skerry.fleet.trust.errors import CertificateError

URI_HOST = "node"
_NODE = re.compile(r"[0-9a-f]{32}", re.ASCII)

Shown = Mapping[str, object]
"""What ssl.SSLSocket.getpeercert() gives."""


class Role(enum.StrEnum):
    """What a machine does: run units, or also hold the state and decide."""

    AGENT = "agent"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class Identity:
    """A machine, by systemd's machine id, in a role."""

    node: str
    role: Role

    def __post_init__(self) -> None:
        if not is_node_id(self.node):
            raise CertificateError(f"{self.node!r} is no machine id of 32 hexadecimal digits")

    @property
    def organisation(self) -> str:
        return f"skerry:{self.role}"

    @property
    def uri(self) -> str:
        return f"skerry://{URI_HOST}/{self.node}"


@dataclass(frozen=True, slots=True)
class Peer:
    """The verified certificate of a connection; `serial` in lower hexadecimal, `expires` since 1970."""

    identity: Identity
    serial: str
    expires: float


def is_node_id(text: str) -> bool:
    """Whether a text is a machine id; zeros are none, a machine without an id has them."""
    return _NODE.fullmatch(text) is not None and text.strip("0") != ""


def role_of(organisation: str) -> Role:
    """The role that a subject's O names. Raises CertificateError."""
    for role in Role:
        if organisation == f"skerry:{role}":
            return role
    raise CertificateError(f"{organisation!r} is not the role of a node")


def read_peer(shown: Shown) -> Peer:
    """Who the peer is. Raises CertificateError for one that is not of the form above, exactly."""
    import ssl

    subject = _pairs(shown.get("subject"))
    names = shown.get("subjectAltName")
    uris = [text for kind, text in names if kind == "URI"] if isinstance(names, tuple) else []
    if sorted(kind for kind, _ in subject) != ["commonName", "organizationName"]:
        raise CertificateError("the subject of the certificate is not a node's")
    said = dict(subject)
    identity = Identity(said["commonName"], role_of(said["organizationName"]))
    if uris != [identity.uri]:
        raise CertificateError("the certificate names a node in its subject and another, or none, as its URI")
    serial, until = shown.get("serialNumber"), shown.get("notAfter")
    if not isinstance(serial, str) or not isinstance(until, str):
        raise CertificateError("the certificate has no serial number or no end")
    return Peer(identity, serial.lower().lstrip("0"), float(ssl.cert_time_to_seconds(until)))


def _pairs(subject: object) -> list[tuple[str, str]]:
    """((("commonName", "x"),), …) → [("commonName", "x"), …]."""
    if not isinstance(subject, tuple):
        return []
    return [(str(kind), str(text)) for relative in subject for kind, text in relative]
