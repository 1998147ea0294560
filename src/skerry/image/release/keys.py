"""The keys that sign, as files on the machine of those who publish.

    KEYS/NAME.pem    private, ed25519, PKCS #8 encrypted with a passphrase, mode 0600
    KEYS/NAME.pub    public, SubjectPublicKeyInfo in PEM: this is what other machines may be given
    KEYS/root.json   the root that was made with them: what a repository must descend from to be signed on

A private key is never printed, never passed as an argument, and decrypted only when a role needs it. A
signer is found by its public key, so names are for people.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[import-untyped]

from skerry.image.release.errors import KeyFileError
from skerry.kit.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

NAME = re.compile(r"[a-z][a-z0-9._-]{0,63}", re.ASCII)
ROUNDS = 600_000
# Object identifiers, in DER.
_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_PBKDF2 = bytes.fromhex("06092a864886f70d01050c")
_HMAC_SHA256 = bytes.fromhex("06082a864886f70d0209")
_AES256_CBC = bytes.fromhex("060960864801650304012a")


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key of a keyring; `private` says whether its private half is here too."""

    name: str
    key: SSlibKey
    private: bool


class Keyring:
    """The keys in one directory. `passphrase` is asked once for each key that has to sign.

    `rounds` make new keys slow to open, and so to guess: half a second.
    """

    def __init__(self, directory: Path, passphrase: Callable[[str], str], *, rounds: int = ROUNDS) -> None:
        self.directory = directory
        self._passphrase = passphrase
        self._rounds = rounds
        self._opened: dict[str, CryptoSigner] = {}

    def list(self) -> tuple[KeyFile, ...]:
        """All keys, by name. Raises KeyFileError."""
        return tuple(
            KeyFile(path.stem, read_public(path), path.with_suffix(".pem").exists())
            for path in sorted(self.directory.glob("*.pub"))
        )

    def make(self, name: str) -> SSlibKey:
        """A new key pair; its public half. Raises KeyFileError where the name is taken."""
        if not NAME.fullmatch(name):
            raise KeyFileError(f"{name!r} cannot be the name of a key")
        private, public = self.directory / f"{name}.pem", self.directory / f"{name}.pub"
        if private.exists() or public.exists():
            raise KeyFileError(
                f"there is a key {name} in {self.directory} already", hint="choose another directory or name"
            )
        passphrase = self._passphrase(name)
        if not passphrase:
            raise KeyFileError(f"the passphrase of key {name} is empty")
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = Ed25519PrivateKey.generate()
        write_atomic(private, _encrypted(made, passphrase, self._rounds), mode=0o600)
        write_atomic(public, made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        signer = CryptoSigner(made)
        self._opened[signer.public_key.keyid] = signer
        return read_public(public)

    def signers(self, keyids: Collection[str]) -> tuple[CryptoSigner, ...]:
        """A signer for each of these keys whose private half is here; opens them with their passphrase."""
        return tuple(self._open(one) for one in self.list() if one.private and one.key.keyid in keyids)

    def has(self, keyids: Collection[str]) -> int:
        """How many of these keys could sign here, without opening any."""
        return sum(one.private and one.key.keyid in keyids for one in self.list())

    def _open(self, one: KeyFile) -> CryptoSigner:
        keyid = one.key.keyid
        if keyid not in self._opened:
            path = self.directory / f"{one.name}.pem"
            self._opened[keyid] = CryptoSigner(self._decrypted(path, one.name), one.key)
        return self._opened[keyid]

    def _decrypted(self, path: Path, name: str) -> Ed25519PrivateKey:
        try:
            pem = path.read_bytes()
        except OSError as error:
            raise KeyFileError(f"cannot read {path}: {error.strerror}") from error
        try:
            private = load_pem_private_key(pem, self._passphrase(name).encode())
        except TypeError as error:
            raise KeyFileError(
                f"{path} is not encrypted",
                hint=f"encrypt it: openssl pkcs8 -topk8 -in {path} -out NEW, and put NEW in its place",
            ) from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise KeyFileError(
                f"the passphrase does not open {path}, or the file is damaged",
                hint="SKERRY_PASSPHRASE, or --passphrase-file, where they are given, go before a question",
            ) from error
        if not isinstance(private, Ed25519PrivateKey):
            raise KeyFileError(f"{path} is not an ed25519 key")
        return private


def read_public(path: Path) -> SSlibKey:
    """A public key from its PEM file. Raises KeyFileError."""
    try:
        public = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path} is not a public key in PEM") from error
    if not isinstance(public, Ed25519PublicKey):
        raise KeyFileError(f"{path} is not an ed25519 key")
    return SSlibKey.from_crypto(public)


def _encrypted(private: Ed25519PrivateKey, passphrase: str, rounds: int) -> bytes:
    """PKCS #8 with PBES2 (RFC 8018, A.4): PBKDF2 with HMAC-SHA256, then AES-256-CBC.

    As the library would write it, but for the rounds: its 2,048 make a passphrase cheap to guess.
    """
    salt, vector = os.urandom(16), os.urandom(16)
    key = hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, rounds, 32)
    plain = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    padding = 16 - len(plain) % 16
    cipher = Cipher(algorithms.AES256(key), modes.CBC(vector)).encryptor()
    sealed = cipher.update(plain + bytes([padding]) * padding) + cipher.finalize()
    derivation = _sequence(
        _PBKDF2, _sequence(_der(4, salt), _integer(rounds), _sequence(_HMAC_SHA256, _der(5, b"")))
    )
    document = _sequence(
        _sequence(_PBES2, _sequence(derivation, _sequence(_AES256_CBC, _der(4, vector)))), _der(4, sealed)
    )
    text = base64.b64encode(document)
    body = b"".join(text[at : at + 64] + b"\n" for at in range(0, len(text), 64))
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n" + body + b"-----END ENCRYPTED PRIVATE KEY-----\n"


def _der(tag: int, content: bytes) -> bytes:
    """One element of DER (X.690, 8.1)."""
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def _sequence(*elements: bytes) -> bytes:
    return _der(0x30, b"".join(elements))


def _integer(number: int) -> bytes:
    return _der(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))
