"""Keys as files: encrypted, private, found by their public halves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from skerry.image.release.errors import KeyFileError
from skerry.image.release.keys import Keyring, read_public
from skerry.kit.run import run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "keys", lambda _: "secret")


def test_a_private_key_is_encrypted_and_its_owners_alone(ring: Keyring) -> None:
    ring.make("root-1")
    file = ring.directory / "root-1.pem"
    assert file.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert file.stat().st_mode & 0o777 == 0o600
    assert ring.directory.stat().st_mode & 0o777 == 0o700


def test_guessing_a_passphrase_is_made_slow(ring: Keyring) -> None:
    ring.make("root-1")
    said = run(["openssl", "asn1parse", "-in", str(ring.directory / "root-1.pem")]).text
    assert ":PBKDF2" in said
    assert ":aes-256-cbc" in said
    rounds = re.search(r"INTEGER +:([0-9A-F]+)", said)
    assert rounds is not None
    assert int(rounds[1], 16) >= 600_000


def test_openssl_opens_it_too(ring: Keyring) -> None:
    ring.make("root-1")
    file = str(ring.directory / "root-1.pem")
    shown = run(["openssl", "pkey", "-in", file, "-passin", "pass:secret", "-pubout"]).stdout
    assert shown == (ring.directory / "root-1.pub").read_bytes()


def test_a_key_signs_when_its_passphrase_is_right(ring: Keyring) -> None:
    key = ring.make("one")
    again = Keyring(ring.directory, lambda _: "secret")
    (signer,) = again.signers([key.keyid])
    key.verify_signature(signer.sign(b"payload"), b"payload")


def test_a_wrong_passphrase_is_said(ring: Keyring) -> None:
    key = ring.make("one")
    with pytest.raises(KeyFileError, match="passphrase does not open"):
        Keyring(ring.directory, lambda _: "wrong").signers([key.keyid])


def test_an_empty_passphrase_makes_no_key(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="empty"):
        Keyring(tmp_path, lambda _: "").make("one")
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_never_overwritten(ring: Keyring) -> None:
    ring.make("one")
    before = (ring.directory / "one.pem").read_bytes()
    with pytest.raises(KeyFileError, match="already"):
        ring.make("one")
    assert (ring.directory / "one.pem").read_bytes() == before


@pytest.mark.parametrize("name", ["../one", "", "One", "a/b", ".hidden"])
def test_names_that_lead_elsewhere(ring: Keyring, name: str) -> None:
    with pytest.raises(KeyFileError):
        ring.make(name)


def test_only_what_is_here_signs(ring: Keyring) -> None:
    one, two = ring.make("one"), ring.make("two")
    (ring.directory / "two.pem").unlink()
    assert ring.has([one.keyid, two.keyid]) == 1
    assert [signer.public_key.keyid for signer in ring.signers([one.keyid, two.keyid])] == [one.keyid]
    assert [(key.name, key.private) for key in ring.list()] == [("one", True), ("two", False)]


def test_a_key_without_encryption_is_refused(ring: Keyring) -> None:
    key = ring.make("one")
    file = ring.directory / "one.pem"
    plain = run(["openssl", "pkey", "-in", str(file), "-passin", "pass:secret"]).stdout
    file.write_bytes(plain)
    with pytest.raises(KeyFileError, match="is not encrypted"):
        Keyring(ring.directory, lambda _: "secret").signers([key.keyid])


@pytest.mark.parametrize("content", [b"", b"rubbish"])
def test_what_is_no_public_key(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.pub"
    file.write_bytes(content)
    with pytest.raises(KeyFileError):
        read_public(file)


def test_a_public_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.pub"
    private = run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout"]).stdout
    file.write_bytes(run(["openssl", "pkey", "-pubout"], stdin=private).stdout)
    with pytest.raises(KeyFileError, match="not an ed25519 key"):
        read_public(file)
