"""Keys, requests and certificates: ECDSA on P-256 and SHA-256; values, without files or a clock of its own.

    cluster CA    path length 0, URIs constrained to the host "node", 10 years; signs nodes, and nothing else
    store CA      the same for etcd's members; agents have no certificate of it, so they cannot reach etcd
    node          clientAuth; servers serverAuth too: OpenSSL itself refuses an agent that plays a server

Certificates count from an hour before they are made: clocks of machines differ. Names of servers are
addresses and DNS names that people choose, so the CA is not constrained in those.
Forms: https://www.rfc-editor.org/rfc/rfc5280 (4.2.1), RFC 2986.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from skerry.fleet.trust.errors import CertificateError
from skerry.fleet.trust.identity import URI_HOST, Identity, Role, role_of

if TYPE_CHECKING:
    from collections.abc import Iterable

DAY_S = 86400.0
BACKDATED_S = 3600.0
CA_LIFETIME_S = 3653 * DAY_S
NODE_LIFETIME_S = 30 * DAY_S
STORE_ORGANISATION = "skerry:store"
LARGEST_REQUEST = 8192


@dataclass(frozen=True, slots=True)
class Credential:
    """A private key and its certificate, both PEM; together they are node.pem."""

    key_pem: str = field(repr=False)
    certificate_pem: str

    @property
    def pem(self) -> str:
        return self.key_pem + self.certificate_pem

    @classmethod
    def parse(cls, pem: str) -> Self:
        """From one text that holds both. Raises CertificateError."""
        key, certificate = _block(pem, "PRIVATE KEY"), _block(pem, "CERTIFICATE")
        credential = cls(key, certificate)
        if public_sha256(load_key(key)) != public_sha256(load_certificate(certificate)):
            raise CertificateError("the certificate is not that of the key beside it")
        return credential


@dataclass(frozen=True, slots=True)
class Facts:
    """What is asked of a certificate most; `issued` is when it was made, `expires` its end, since 1970."""

    identity: Identity
    serial: str
    issued: float
    expires: float


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """A request that was checked: who for, and the key."""

    identity: Identity
    public_key: ec.EllipticCurvePublicKey

    @property
    def key_sha256(self) -> str:
        return _spki_sha256(self.public_key)


class Authority:
    """A CA with its key. `pin` is what tokens name it by."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        if public_sha256(certificate) != _spki_sha256(key.public_key()):
            raise CertificateError("the key of the authority is not that of its certificate")
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, name: str, now: float, lifetime_s: float = CA_LIFETIME_S) -> Self:
        """A new authority, self-signed; `name` is shown to people only."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "skerry"),
                x509.NameAttribute(NameOID.COMMON_NAME, name[:64]),
            ]
        )
        constraints = x509.NameConstraints([x509.UniformResourceIdentifier(URI_HOST)], None)
        certificate = (
            _builder(subject, subject, key.public_key(), now, lifetime_s)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(constraints, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def parse(cls, certificate_pem: str, key_pem: str) -> Self:
        """Raises CertificateError."""
        return cls(load_certificate(certificate_pem), load_key(key_pem))

    @property
    def pem(self) -> str:
        return _pem(self._certificate)

    @property
    def key_pem(self) -> str:
        return _key_pem(self._key)

    @property
    def pin(self) -> str:
        return public_sha256(self._certificate)

    @property
    def expires(self) -> float:
        return self._certificate.not_valid_after_utc.timestamp()

    def issue(
        self,
        request: SigningRequest,
        identity: Identity,
        now: float,
        *,
        hosts: Iterable[str] = (),
        lifetime_s: float = NODE_LIFETIME_S,
    ) -> str:
        """A node's certificate. `hosts` are a server's addresses and names.

        Raises CertificateError where the request is for somebody else than it may be: `identity` is who
        asks, as the token or the certificate of the caller says.
        """
        _must_be(request.identity, identity)
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if identity.role is Role.SERVER:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        named = hosts if identity.role is Role.SERVER else ()
        return self._sign(request.public_key, identity, identity.organisation, usages, named, now, lifetime_s)

    def issue_store(
        self,
        request: SigningRequest,
        identity: Identity,
        now: float,
        *,
        hosts: Iterable[str],
        lifetime_s: float = NODE_LIFETIME_S,
    ) -> str:
        """A certificate of the store CA, for etcd as server, as peer and as its client; servers only."""
        _must_be(request.identity, identity)
        if identity.role is not Role.SERVER:
            raise CertificateError(f"node {identity.node} is no server: it has no part in the store")
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        return self._sign(request.public_key, identity, STORE_ORGANISATION, usages, hosts, now, lifetime_s)

    def _sign(
        self,
        key: ec.EllipticCurvePublicKey,
        identity: Identity,
        organisation: str,
        usages: list[x509.ObjectIdentifier],
        hosts: Iterable[str],
        now: float,
        lifetime_s: float,
    ) -> str:
        lasting_s = min(lifetime_s, self.expires - now)
        if lasting_s <= 0:
            raise CertificateError("the authority of this cluster has expired: it can sign nothing")
        names = [x509.UniformResourceIdentifier(identity.uri), *(_general_name(host) for host in hosts)]
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            _builder(_subject(identity, organisation), self._certificate.subject, key, now, lasting_s)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(issuer, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return _pem(certificate)


def new_key() -> str:
    """A private key, PEM (PKCS #8)."""
    return _key_pem(ec.generate_private_key(ec.SECP256R1()))


def make_request(key_pem: str, identity: Identity) -> str:
    """A request for a certificate, PEM."""
    builder = x509.CertificateSigningRequestBuilder(_subject(identity, identity.organisation))
    request = builder.sign(load_key(key_pem), hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def read_request(pem: str) -> SigningRequest:
    """A request, checked: signed by its own key, on P-256, for a node, and asking for nothing else.

    Raises CertificateError.
    """
    if len(pem) > LARGEST_REQUEST:
        raise CertificateError("the request for a certificate is too large")
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        valid = request.is_signature_valid
        asked = list(request.extensions)
    except (ValueError, TypeError, UnicodeEncodeError) as error:
        raise CertificateError("the request for a certificate cannot be read") from error
    key = request.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CertificateError("the request for a certificate has a key that is not on P-256")
    if not valid:
        raise CertificateError("the request for a certificate is not signed by its own key")
    if asked:
        raise CertificateError("the request for a certificate asks for extensions; the cluster decides those")
    return SigningRequest(_identity(request.subject), key)


def read_certificate(pem: str) -> Facts:
    """The facts of a node's certificate. Raises CertificateError; verifies nothing."""
    certificate = load_certificate(pem)
    return Facts(
        _identity(certificate.subject),
        f"{certificate.serial_number:x}",
        certificate.not_valid_before_utc.timestamp() + BACKDATED_S,
        certificate.not_valid_after_utc.timestamp(),
    )


def covers(pem: str, hosts: Iterable[str]) -> bool:
    """Whether a certificate is for all of these addresses and names. Raises CertificateError."""
    try:
        extension = load_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return False
    return {_general_name(host) for host in hosts} <= set(extension.value)


def verify(pem: str, ca_pem: str, identity: Identity, now: float) -> Facts:
    """That a certificate is of this authority, for this node in this role, and good now.

    For what was just received; connections are verified by OpenSSL. Raises CertificateError.
    """
    certificate, ca = load_certificate(pem), load_certificate(ca_pem)
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise CertificateError("the certificate is not signed by the authority of this cluster") from error
    facts = read_certificate(pem)
    _must_be(facts.identity, identity)
    begins = certificate.not_valid_before_utc.timestamp()
    if now < begins:
        raise CertificateError(
            f"the certificate is good from {_moment(begins)} on, and it is {_moment(now)} here",
            hint="is this machine's clock right? `timedatectl` tells",
        )
    if now >= facts.expires:
        raise CertificateError(f"the certificate expired at {_moment(facts.expires)}")
    return facts


def check_pin(ca_pem: str, pin: str) -> None:
    """That a CA certificate is the one a token names. Raises CertificateError."""
    if public_sha256(load_certificate(ca_pem)) != pin:
        raise CertificateError(
            "the server shows another authority than the token names",
            hint="somebody may be in between, or the token is of another cluster; no secret was sent",
        )


def public_sha256(held: x509.Certificate | ec.EllipticCurvePrivateKey) -> str:
    """SHA-256 of the SubjectPublicKeyInfo, hex: the pin of RFC 7469, written out."""
    key = held.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise CertificateError("the key is not on an elliptic curve")
    return _spki_sha256(key)


def load_certificate(pem: str) -> x509.Certificate:
    """Raises CertificateError."""
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except (ValueError, UnicodeEncodeError) as error:
        raise CertificateError("the certificate cannot be read") from error


def load_key(pem: str) -> ec.EllipticCurvePrivateKey:
    """Raises CertificateError, which does not repeat the key."""
    try:
        key = serialization.load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnicodeEncodeError) as error:
        raise CertificateError("the private key cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError("the private key is not on an elliptic curve")
    return key


def _must_be(asked: Identity, allowed: Identity) -> None:
    if asked != allowed:
        raise CertificateError(
            f"the certificate is for node {asked.node} as {asked.role}, "
            f"and may only be for node {allowed.node} as {allowed.role}"
        )


def _identity(subject: x509.Name) -> Identity:
    said = {attribute.oid: str(attribute.value) for attribute in subject}
    if len(subject.rdns) != 2 or set(said) != {NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME}:
        raise CertificateError("the subject must be a node's: O and CN")
    organisation = said[NameOID.ORGANIZATION_NAME]
    role = Role.SERVER if organisation == STORE_ORGANISATION else role_of(organisation)
    return Identity(said[NameOID.COMMON_NAME], role)


def _subject(identity: Identity, organisation: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, identity.node),
        ]
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: float, lifetime_s: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_time(now - BACKDATED_S))
        .not_valid_after(_time(now + lifetime_s))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise CertificateError(f"{host!r} is neither an address nor a name") from error


def _block(pem: str, kind: str) -> str:
    begin, end = f"-----BEGIN {kind}-----", f"-----END {kind}-----"
    start, stop = pem.find(begin), pem.find(end)
    if start < 0 or stop < start:
        raise CertificateError(f"the file holds no {kind.lower()}")
    return pem[start : stop + len(end)] + "\n"


def _spki_sha256(key: ec.EllipticCurvePublicKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _time(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)


def _moment(seconds: float) -> str:
    return _time(seconds).strftime("%Y-%m-%d %H:%M:%S UTC")
