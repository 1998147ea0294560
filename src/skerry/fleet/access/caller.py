"""Who asks: root over the Unix socket, a node by its certificate, a person by a token, or nobody known.

The middleware of the API puts a Caller into every request's state; handlers read it there.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry.fleet.trust.identity import Role


class PersonRole(enum.StrEnum):
    """What a person may do; each but KEYS includes those after it.

    KEYS has no rights of its own: a program's token, good for the prefixes of /v2/keys it names only.
    """

    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"
    KEYS = "keys"

    def includes(self, other: PersonRole) -> bool:
        """Whether whoever has this role may do what `other` may."""
        order = list(PersonRole)
        return order.index(self) <= order.index(other)


class CallerKind(enum.StrEnum):
    ROOT = "root"
    NODE = "node"
    PERSON = "person"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class KeyRight:
    """A right on the keys of /v2/keys under `prefix` ("/app" covers /app and /app/x, not /apple)."""

    prefix: str
    write: bool = False

    def covers(self, key: str) -> bool:
        base = self.prefix.rstrip("/")
        return key == base or key.startswith(base + "/")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `name` is a person's name or a machine id; `address` where from, "" for the Unix socket.

    `role` is a person's (root has ADMIN), `node_role` a node's. `principal` is what rights are revoked by.
    `keys` narrows /v2/keys to some prefixes; empty: as the role has it. `expires` is when what was shown
    ends, in seconds since 1970; 0 for never, or where `principal` says it.
    """

    kind: CallerKind
    name: str = ""
    role: PersonRole | None = None
    node_role: Role | None = None
    address: str = ""
    principal: str = ""
    keys: tuple[KeyRight, ...] = ()
    expires: float = 0.0

    def may(self, role: PersonRole) -> bool:
        """Whether this caller is a person, or root, of at least this role."""
        return self.role is not None and self.role.includes(role)


def root() -> Caller:
    """Whoever may open the Unix socket."""
    return Caller(CallerKind.ROOT, "root", PersonRole.ADMIN)


NOBODY = Caller(CallerKind.NOBODY)
