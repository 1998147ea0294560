"""Who a verified certificate is for; anything in another form is nobody."""

from __future__ import annotations

import pytest

from fakes.tls import AGENT
from skerry.fleet.trust.errors import CertificateError, TokenTextError
from skerry.fleet.trust.identity import Identity, Role, Shown, is_node_id, read_peer
from skerry.fleet.trust.token_text import TokenKind, new_token, parse_token

PIN = "0" * 64


def shown(
    organisation: str = "skerry:agent", name: str = AGENT.node, uris: tuple[str, ...] = (AGENT.uri,)
) -> Shown:
    return {
        "subject": ((("organizationName", organisation),), (("commonName", name),)),
        "subjectAltName": (*(("URI", uri) for uri in uris), ("DNS", "one.example")),
        "serialNumber": "0AFE",
        "notAfter": "Nov 21 08:00:00 2026 GMT",
    }


def test_a_peer_is_read() -> None:
    peer = read_peer(shown())
    assert (peer.identity, peer.serial, peer.expires) == (AGENT, "afe", 1795248000.0)


BAD = {
    "nothing": {},
    "etcd's own": shown("skerry:store"),
    "no machine id": shown(name="root"),
    "another node in the URI": shown(uris=("skerry://node/" + "b" * 32,)),
    "two URIs": shown(uris=(AGENT.uri, "skerry://node/" + "b" * 32)),
    "no URI": shown(uris=()),
    "two names": {**shown(), "subject": (*shown()["subject"], (("commonName", "x"),))},  # type: ignore[misc]
}


@pytest.mark.parametrize("certificate", BAD.values(), ids=BAD)
def test_what_is_not_a_nodes_is_refused(certificate: Shown) -> None:
    with pytest.raises(CertificateError):
        read_peer(certificate)


@pytest.mark.parametrize("text", ["", "0" * 32, "A" * 32, "a" * 31, "a" * 33, "a" * 31 + "\n", "٣" * 32])
def test_machine_ids_are_32_digits(text: str) -> None:
    assert not is_node_id(text)
    with pytest.raises(CertificateError):
        Identity(text, Role.AGENT)


@pytest.mark.parametrize("kind", TokenKind)
def test_a_token_is_read_as_it_was_written(kind: TokenKind) -> None:
    token = new_token(kind, PIN)
    assert parse_token(f" {token.text}\n", kind) == token


def test_a_token_is_neither_guessed_nor_shown() -> None:
    one, two = new_token(TokenKind.JOIN, PIN), new_token(TokenKind.JOIN, PIN)
    assert (one.id != two.id, one.secret != two.secret, len(one.secret)) == (True, True, 64)
    assert one.secret not in repr(one)
    assert one.secret not in one.sha256


@pytest.mark.parametrize("cut", [0, 10, 80, 147])
def test_a_cut_token_is_refused_without_repeating_it(cut: int) -> None:
    text = new_token(TokenKind.JOIN, PIN).text[:cut]
    with pytest.raises(TokenTextError) as caught:
        parse_token(text, TokenKind.JOIN)
    assert text[70:] not in str(caught.value) or cut <= 70


def test_a_token_of_the_other_kind_is_told() -> None:
    with pytest.raises(TokenTextError, match="speaks for a person; here one is needed that lets machines"):
        parse_token(new_token(TokenKind.PERSON, PIN).text, TokenKind.JOIN)
