"""TLS between the machines of a cluster, and to it from people's: 1.3 only, both sides by certificate.

Names are not checked as a browser does it, for a node is known by its certificate, wherever it is reached:
an address changes, a name can be taken over in DNS. Checked instead, by OpenSSL and before a byte is sent:
the chain to the cluster's own authority and to no other, the dates, and the purpose, which only servers'
certificates have (serverAuth); then that the subject is a server's, and a certain node's where one is named.

A client's certificate is optional, since people come with tokens; a wrong or expired one ends the connection.
No session is resumed: each connection is verified anew. Reload a context after a renewal.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from skerry.fleet.trust.errors import CertificateError
from skerry.fleet.trust.identity import Role, read_peer

if TYPE_CHECKING:
    from pathlib import Path

    from skerry.fleet.trust.files import Pki


class ServersOnly(ssl.SSLContext):
    """A client's context: what is wrapped by it is connected to a server of the cluster, or fails."""

    node: str | None = None

    def check(self, shown: object) -> None:
        """Raises SSLCertVerificationError where the peer is not who it must be."""
        if not isinstance(shown, dict):
            raise ssl.SSLCertVerificationError("the server has no certificate")
        try:
            peer = read_peer(shown)
        except CertificateError as error:
            raise ssl.SSLCertVerificationError(error.message) from error
        if peer.identity.role is not Role.SERVER:
            raise ssl.SSLCertVerificationError(f"node {peer.identity.node} is not a server")
        if self.node is not None and peer.identity.node != self.node:
            raise ssl.SSLCertVerificationError(f"this is node {peer.identity.node}, not {self.node}")


class _Socket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        if isinstance(self.context, ServersOnly):
            self.context.check(self.getpeercert())


class _Object(ssl.SSLObject):
    def do_handshake(self) -> None:
        super().do_handshake()
        if isinstance(self.context, ServersOnly):
            self.context.check(self.getpeercert())


ServersOnly.sslsocket_class = _Socket
ServersOnly.sslobject_class = _Object


def server_context(pki: Pki) -> ssl.SSLContext:
    """For a server's listener. Raises PkiError."""
    context = _strict(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pki.read_ca())
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0
    reload(context, pki)
    return context


def client_context(ca_pem: str, *, credential: Path | None = None, node: str | None = None) -> ServersOnly:
    """For connections to servers; `credential` is a file with key and certificate, `node` the one wanted.

    Raises CertificateError.
    """
    context = ServersOnly(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.node = node
    _strict(context, ca_pem)
    if credential is not None:
        _load(context, credential)
    return context


def unverified_context() -> ssl.SSLContext:
    """To fetch a public document whose hash is known, the authority, and nothing else; send no secret."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


class NodeTls:
    """A node's contexts, made when they are first needed, and the same ones from then on.

    `client` is what kit.wire.Wire takes. Call `reload` after a renewal: it holds for new connections.
    """

    def __init__(self, pki: Pki) -> None:
        self._pki = pki
        self._client: ServersOnly | None = None
        self._server: ssl.SSLContext | None = None

    def client(self) -> ssl.SSLContext:
        """For connections to servers. Raises PkiError, CertificateError."""
        if self._client is None:
            self._client = client_context(self._pki.read_ca(), credential=self._pki.node)
        return self._client

    def server(self) -> ssl.SSLContext:
        """For the listener of a server. Raises PkiError, CertificateError."""
        if self._server is None:
            self._server = server_context(self._pki)
        return self._server

    def reload(self) -> None:
        for context in (self._client, self._server):
            if context is not None:
                reload(context, self._pki)


def reload(context: ssl.SSLContext, pki: Pki) -> None:
    """Take the node's renewed certificate; connections that are open go on as they are."""
    pki.read_node()
    _load(context, pki.node)


def _strict(context: ssl.SSLContext, ca_pem: str) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        context.load_verify_locations(cadata=ca_pem)
    except (ssl.SSLError, ValueError) as error:
        raise CertificateError("the authority's certificate cannot be read") from error
    return context


def _load(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_cert_chain(path)
    except OSError as error:  # ssl.SSLError is one
        raise CertificateError(f"{path} cannot be used: {error.strerror or error}") from error
