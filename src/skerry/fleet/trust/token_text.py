"""The text of a token, as it is shown once and sent.

    skerry1.<pin>.<id>.<secret>      lets machines join; pin = SHA-256 of the cluster CA's SPKI, hex
    skerryp1.<pin>.<id>.<secret>     speaks for a person
    └ kind   └ 64    └ 16  └ 64 hexadecimal digits

The pin makes the text enough to know the right server by; the id finds the record, and may be shown; the
secret is 256 bits of chance, so that a plain SHA-256 of it may be stored.
"""

from __future__ import annotations

import enum
import hashlib
import re
import secrets
from dataclasses import dataclass, field

from skerry.fleet.trust.errors import TokenTextError

_FORM = re.compile(r"(skerryp?1)\.([0-9a-f]{64})\.([0-9a-f]{16})\.([0-9a-f]{64})", re.ASCII)
_SECRET = re.compile(r"(skerryp?1\.[0-9a-f]{64}\.[0-9a-f]{16}\.)[0-9a-f]+", re.ASCII)
LONGEST = 256


class TokenKind(enum.StrEnum):
    JOIN = "skerry1"
    PERSON = "skerryp1"


@dataclass(frozen=True, slots=True)
class Token:
    """A token with its secret, which is not shown by repr: it must not come into a log by accident."""

    kind: TokenKind
    pin: str
    id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        return f"{self.kind}.{self.pin}.{self.id}.{self.secret}"

    @property
    def sha256(self) -> str:
        """What the store keeps of the secret."""
        return hashlib.sha256(self.secret.encode()).hexdigest()


def new_token(kind: TokenKind, pin: str) -> Token:
    """A token of the system's chance."""
    return Token(kind, pin, secrets.token_hex(8), secrets.token_hex(32))


def without_secrets(text: str) -> str:
    """A text for a log, in which somebody may have put a token where its id or name belongs."""
    return _SECRET.sub(r"\1…", text)


def parse_token(text: str, kind: TokenKind) -> Token:
    """A token from what a person pasted. Raises TokenTextError, which does not repeat the text."""
    found = _FORM.fullmatch(text.strip()) if len(text) <= LONGEST else None
    if found is None:
        raise TokenTextError(
            "this is not a whole token",
            hint=f"a token is one line of four parts that begins with {kind}.",
        )
    token = Token(TokenKind(found[1]), found[2], found[3], found[4])
    if token.kind is not kind:
        made = {TokenKind.JOIN: "lets machines join", TokenKind.PERSON: "speaks for a person"}
        raise TokenTextError(f"this token {made[token.kind]}; here one is needed that {made[kind]}")
    return token
