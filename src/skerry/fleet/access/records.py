"""What the store holds of access, each a JSON document with a `version`.

    /skerry/v1/tokens/people/<id>   PersonToken      /skerry/v1/members/<node id>   MemberRecord
    /skerry/v1/tokens/join/<id>     JoinToken        /skerry/v1/revoked/<node id>   RevokedRecord
    /skerry/v1/audit/<series>/<microseconds since 1970, 16 hex digits>-<4 more>     AuditRecord

Of a secret only its SHA-256 is kept. Times are seconds since 1970; `expires` 0 is never.
"""

from __future__ import annotations

from skerry.fleet.access.caller import KeyRight, PersonRole
from skerry.fleet.state.document import Document
from skerry.fleet.trust.identity import Role

PEOPLE_PREFIX = "/skerry/v1/tokens/people/"
JOIN_PREFIX = "/skerry/v1/tokens/join/"
MEMBERS_PREFIX = "/skerry/v1/members/"
REVOKED_PREFIX = "/skerry/v1/revoked/"
AUDIT_PREFIX = "/skerry/v1/audit/"


class PersonToken(Document, frozen=True):
    """A token that speaks for a person or a program; `keys` narrows what it may do under /v2/keys."""

    id: str
    name: str
    role: PersonRole
    sha256: str
    created: float
    expires: float = 0.0
    keys: tuple[KeyRight, ...] = ()
    created_by: str = ""


class JoinToken(Document, frozen=True):
    """A token that lets machines of one role join; `used` of `uses` times (0: as often as you like)."""

    id: str
    role: Role
    sha256: str
    created: float
    expires: float
    uses: int = 1
    used: int = 0
    created_by: str = ""


class MemberRecord(Document, frozen=True):
    """A machine that has joined. `key_sha256` is that of its public key when it did, so that a join whose
    answer was lost can be asked for again; `expires` is the end of its newest certificate;
    `address` and `names` are where a server is reached."""

    node: str
    role: Role
    serial: str
    key_sha256: str
    joined: float
    expires: float
    address: str = ""
    token: str = ""
    names: tuple[str, ...] = ()


class RevokedRecord(Document, frozen=True):
    """A machine that was removed: its certificates are refused, but for the serials in `again`, which it got
    when it was let in once more."""

    node: str
    at: float
    by: str = ""
    again: tuple[str, ...] = ()


class AuditRecord(Document, frozen=True):
    """One thing that was asked for: who (`kind` and name), from where, what, and what became of it.

    `outcome` is the HTTP status. Never a body, never a query: they may hold secrets.
    """

    at: float
    kind: str
    who: str
    address: str
    what: str
    outcome: int
    detail: str = ""


def person_key(token: str) -> str:
    return PEOPLE_PREFIX + token


def join_key(token: str) -> str:
    return JOIN_PREFIX + token


def member_key(node: str) -> str:
    return MEMBERS_PREFIX + node


def revoked_key(node: str) -> str:
    return REVOKED_PREFIX + node
