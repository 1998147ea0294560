"""Requests become certificates only for whom they may; what was received is checked before it is kept."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fakes.tls import AGENT, SERVER, credential
from skerry.fleet.trust.certificates import (
    BACKDATED_S,
    DAY_S,
    Authority,
    Credential,
    check_pin,
    make_request,
    new_key,
    read_certificate,
    read_request,
    verify,
)
from skerry.fleet.trust.errors import CertificateError
from skerry.fleet.trust.identity import Identity, Role

NOW = 1_700_000_000.0
OTHER = Identity("b" * 32, Role.AGENT)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("test", NOW)


def test_an_authority_signs_nodes_and_no_further_authorities(authority: Authority) -> None:
    extensions = x509.load_pem_x509_certificate(authority.pem.encode()).extensions
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    names = extensions.get_extension_for_class(x509.NameConstraints)
    assert (basic.critical, basic.value) == (True, x509.BasicConstraints(ca=True, path_length=0))
    assert names.value.permitted_subtrees == [x509.UniformResourceIdentifier("node")]


def test_a_certificate_says_who_it_is_for(authority: Authority) -> None:
    facts = read_certificate(credential(authority, AGENT, NOW).certificate_pem)
    assert (facts.identity, facts.issued, facts.expires) == (AGENT, NOW, NOW + 30 * DAY_S)


@pytest.mark.parametrize(
    ("identity", "serves", "hosts"), [(AGENT, False, 0), (SERVER, True, 2)], ids=["agent", "server"]
)
def test_only_servers_may_serve(authority: Authority, identity: Identity, serves: bool, hosts: int) -> None:
    pem = credential(authority, identity, NOW, hosts=("10.0.0.1", "one.example")).certificate_pem
    extensions = x509.load_pem_x509_certificate(pem.encode()).extensions
    usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert (ExtendedKeyUsageOID.SERVER_AUTH in usages) is serves
    assert len(list(names)) == 1 + hosts


def test_a_store_certificate_is_for_servers(authority: Authority) -> None:
    request = read_request(make_request(new_key(), SERVER))
    pem = authority.issue_store(request, SERVER, NOW, hosts=["127.0.0.1"])
    assert "skerry:store" in x509.load_pem_x509_certificate(pem.encode()).subject.rfc4514_string()
    agents = read_request(make_request(new_key(), AGENT))
    with pytest.raises(CertificateError, match="no part in the store"):
        authority.issue_store(agents, AGENT, NOW, hosts=[])


@pytest.mark.parametrize(
    "allowed", [OTHER, Identity(AGENT.node, Role.SERVER)], ids=["another id", "another role"]
)
def test_a_node_asks_for_itself_only(authority: Authority, allowed: Identity) -> None:
    request = read_request(make_request(new_key(), AGENT))
    with pytest.raises(CertificateError, match="may only be for"):
        authority.issue(request, allowed, NOW)


def test_no_certificate_outlives_its_authority() -> None:
    short = Authority.create("short", NOW, lifetime_s=DAY_S)
    assert read_certificate(credential(short, AGENT, NOW).certificate_pem).expires == NOW + DAY_S
    with pytest.raises(CertificateError, match="has expired"):
        credential(short, AGENT, NOW + 2 * DAY_S)


def _signed(builder: x509.CertificateSigningRequestBuilder, key: object) -> str:
    request = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]
    return request.public_bytes(serialization.Encoding.PEM).decode()


def _subject(*pairs: tuple[x509.ObjectIdentifier, str]) -> x509.CertificateSigningRequestBuilder:
    return x509.CertificateSigningRequestBuilder(
        x509.Name([x509.NameAttribute(oid, text) for oid, text in pairs])
    )


GOOD = ((NameOID.ORGANIZATION_NAME, "skerry:agent"), (NameOID.COMMON_NAME, AGENT.node))
P256 = ec.generate_private_key(ec.SECP256R1())
BAD_REQUESTS = {
    "no request": "hello",
    "too large": "x" * 9000,
    "not ASCII": "-----BEGIN CERTIFICATE REQUEST-----\n\udcff",
    "RSA": _signed(_subject(*GOOD), rsa.generate_private_key(65537, 2048)),
    "P-384": _signed(_subject(*GOOD), ec.generate_private_key(ec.SECP384R1())),
    "extensions": _signed(
        _subject(*GOOD).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True), P256
    ),
    "another subject": _signed(_subject((NameOID.COMMON_NAME, AGENT.node)), P256),
    "two names": _signed(_subject(*GOOD, (NameOID.COMMON_NAME, OTHER.node)), P256),
    "no role": _signed(_subject((NameOID.ORGANIZATION_NAME, "skerry:root"), GOOD[1]), P256),
    "no machine id": _signed(_subject(GOOD[0], (NameOID.COMMON_NAME, "../../x")), P256),
    "zeros": _signed(_subject(GOOD[0], (NameOID.COMMON_NAME, "0" * 32)), P256),
}


@pytest.mark.parametrize("pem", BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_request_that_asks_for_more_is_refused(pem: str) -> None:
    with pytest.raises(CertificateError):
        read_request(pem)


def test_a_request_signed_by_another_key_is_refused() -> None:
    good = x509.load_pem_x509_csr(make_request(new_key(), AGENT).encode())
    other = x509.load_pem_x509_csr(make_request(new_key(), AGENT).encode())
    der = good.public_bytes(serialization.Encoding.DER).replace(
        good.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        other.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
    )
    forged = x509.load_der_x509_csr(der).public_bytes(serialization.Encoding.PEM).decode()
    with pytest.raises(CertificateError, match="not signed by its own key"):
        read_request(forged)


@pytest.mark.parametrize(
    ("after_s", "said"),
    [
        (-BACKDATED_S - 1, "good from"),
        (30 * DAY_S, "expired"),
        (-600, None),
        (30 * DAY_S - 1, None),
    ],
    ids=["clock far behind", "expired", "clock ten minutes behind", "last second"],
)
def test_dates_are_checked(authority: Authority, after_s: float, said: str | None) -> None:
    pem = credential(authority, AGENT, NOW).certificate_pem
    if said is None:
        assert verify(pem, authority.pem, AGENT, NOW + after_s).identity == AGENT
        return
    with pytest.raises(CertificateError, match=said):
        verify(pem, authority.pem, AGENT, NOW + after_s)


def test_another_authority_of_the_same_name_is_another(authority: Authority) -> None:
    other = Authority.create("test", NOW)
    with pytest.raises(CertificateError, match="not signed by"):
        verify(credential(other, AGENT, NOW).certificate_pem, authority.pem, AGENT, NOW)
    check_pin(authority.pem, authority.pin)
    with pytest.raises(CertificateError, match="another authority"):
        check_pin(other.pem, authority.pin)


def test_a_key_and_a_certificate_belong_together(authority: Authority) -> None:
    one, two = credential(authority, AGENT, NOW), credential(authority, AGENT, NOW)
    assert Credential.parse(one.pem) == one
    with pytest.raises(CertificateError, match="not that of the key"):
        Credential.parse(one.key_pem + two.certificate_pem)
    with pytest.raises(CertificateError, match="not that of its certificate"):
        Authority.parse(authority.pem, Authority.create("x", NOW).key_pem)


def test_no_key_is_shown(authority: Authority) -> None:
    held = credential(authority, AGENT, NOW)
    assert "PRIVATE" not in repr(held)
    with pytest.raises(CertificateError) as caught:
        Credential.parse(held.key_pem.replace("\n", "") + held.certificate_pem)
    assert held.key_pem[40:80] not in str(caught.value)
