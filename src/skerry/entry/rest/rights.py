"""One table: who may ask what. A route that is not in it is refused to everybody, and a test fails.

    people   viewer reads; operator changes units, keys and how nodes are used; admin the rest
    nodes    only what is named here: an agent its own /v1/agents/{id}/…, servers what other servers passed on
    public   the cluster's authority, and joining with a token: whoever asks has nothing else to show yet
    root     over the Unix socket: an admin, and all of this

Routes are named by the path they are declared with; HEAD counts as GET. What changes something is put in the
audit log, but for what nodes do all the time.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.fleet.access.audit import Series
from skerry.fleet.access.caller import Caller, CallerKind, PersonRole
from skerry.fleet.access.errors import ForbiddenError, UnauthenticatedError
from skerry.fleet.keys.nodes import cleaned
from skerry.fleet.trust.identity import Role

if TYPE_CHECKING:
    from collections.abc import Mapping


class Nodes(enum.Enum):
    """Which nodes may."""

    NONE = enum.auto()
    ITSELF = enum.auto()  # the node that the path's {id} names
    SERVERS = enum.auto()
    ALL = enum.auto()


@dataclass(frozen=True, slots=True)
class Right:
    """People from a role on, some nodes, or (`public`) everybody; `keys` heeds a token's prefixes.

    `local` is for root on the machine itself, over its Unix socket.
    """

    people: PersonRole | None = None
    nodes: Nodes = Nodes.NONE
    public: bool = False
    keys: bool = False
    series: Series | None = None
    local: bool = False


READ = Right(PersonRole.VIEWER)
CHANGE = Right(PersonRole.OPERATOR, series=Series.CHANGES)
ADMIN_READ = Right(PersonRole.ADMIN)
ADMIN = Right(PersonRole.ADMIN, series=Series.CHANGES)
ANYBODY_KNOWN = Right(PersonRole.KEYS, Nodes.ALL)
ITSELF = Right(nodes=Nodes.ITSELF)
SERVERS = Right(nodes=Nodes.SERVERS)
READ_OR_NODE = Right(PersonRole.VIEWER, Nodes.ALL)
ADMIN_OR_ITSELF = Right(PersonRole.ADMIN, Nodes.ITSELF, series=Series.CHANGES)
HERE = Right(local=True, series=Series.CHANGES)
MEMBER = Right(nodes=Nodes.ALL, series=Series.CHANGES)
PUBLIC = Right(public=True)
READ_KEYS = Right(PersonRole.VIEWER, keys=True)
CHANGE_KEYS = Right(PersonRole.OPERATOR, keys=True, series=Series.KEYS)

_KEYS = {"GET": READ_KEYS, "PUT": CHANGE_KEYS, "POST": CHANGE_KEYS, "DELETE": CHANGE_KEYS}
_EVERY = ("GET", "POST", "PUT", "PATCH", "DELETE")
_FLEET: dict[str, dict[str, Right]] = {
    "/units": {"GET": READ},
    "/units/{name}": {"GET": READ, "PUT": CHANGE, "DELETE": CHANGE},
    "/state": {"GET": READ},
    "/state/{name}": {"GET": READ},
    "/machines": {"GET": READ, "PATCH": CHANGE},
    "/discovery": {"GET": READ},
    "/{rest:path}": {"GET": READ},
}

RIGHTS: dict[str, dict[str, Right]] = {
    "/metrics": {"GET": READ},
    "/v1/agents/{id}/goodbye": {"POST": ITSELF},
    "/v1/agents/{id}/heartbeat": {"POST": ITSELF},
    "/v1/agents/{id}/reports": {"POST": ITSELF},
    "/v1/agents/{id}/stream": {"POST": ITSELF},
    "/v1/audit": {"GET": ADMIN_READ},
    "/v1/cluster": {"GET": READ_OR_NODE},
    "/v1/cluster/authority": {"GET": PUBLIC},
    "/v1/cluster/join": {"POST": PUBLIC},
    "/v1/cluster/renew": {"POST": MEMBER},
    "/v1/cluster/servers": {"GET": READ_OR_NODE},
    "/v1/cluster/token": {"POST": PUBLIC},
    "/v1/cluster/tokens": {"GET": ADMIN_READ, "POST": ADMIN},
    "/v1/cluster/tokens/{id}": {"DELETE": ADMIN},
    "/v1/events": {"GET": READ},
    "/v1/host": {"GET": READ},
    "/v1/host/cluster/{verb}": {"POST": HERE},
    "/v1/nodes": {"GET": READ},
    "/v1/nodes/{id}": {"GET": READ, "PATCH": CHANGE, "DELETE": ADMIN_OR_ITSELF},
    "/v1/nodes/{id}/cordon": {"POST": CHANGE},
    "/v1/nodes/{id}/drain": {"POST": CHANGE},
    "/v1/nodes/{id}/uncordon": {"POST": CHANGE},
    "/v1/openapi.json": {"GET": READ},
    "/v1/presence/heard": {"POST": SERVERS},
    "/v1/tokens": {"GET": ADMIN_READ, "POST": ADMIN},
    "/v1/tokens/{which}": {"DELETE": ADMIN},
    "/v1/units": {"GET": READ, "POST": CHANGE},
    "/v1/units/{name}": {"GET": READ, "DELETE": CHANGE},
    "/v1/units/{name}/explain": {"GET": READ},
    "/v1/units/{name}/file": {"GET": READ},
    "/v1/units/{name}/journal": {"GET": READ},
    "/v1/verify": {"POST": READ},
    "/v1/whoami": {"GET": ANYBODY_KNOWN},
    "/v2/keys": _KEYS,
    "/v2/keys/{path:path}": _KEYS,
    "/version": {"GET": ANYBODY_KNOWN},
    **{prefix + path: rights for prefix in ("/fleet/v1", "/v1-alpha") for path, rights in _FLEET.items()},
    # Where there is no store everything is answered with the reason, to those who may see anything.
    "/{path:path}": dict.fromkeys(_EVERY, READ),
}


def right_of(route: str, method: str) -> Right | None:
    """The right of a declared path and a method; None where the table has none."""
    return RIGHTS.get(route, {}).get("GET" if method == "HEAD" else method)


def check(right: Right, caller: Caller, method: str, params: Mapping[str, object]) -> None:
    """That the caller has the right. Raises UnauthenticatedError, ForbiddenError."""
    if right.public or caller.kind is CallerKind.ROOT:
        return
    if caller.kind is CallerKind.NOBODY:
        raise UnauthenticatedError(
            "this needs a token or a node's certificate",
            hint="`skerry context add` keeps a token; an admin gets one from `skerry token create`",
        )
    if right.local:
        raise ForbiddenError("this is done on the machine itself, by root")
    if caller.kind is CallerKind.NODE:
        _check_node(right, caller, params)
    else:
        _check_person(right, caller, method, params)


def _check_node(right: Right, caller: Caller, params: Mapping[str, object]) -> None:
    allowed = {
        Nodes.NONE: False,
        Nodes.ITSELF: params.get("id") == caller.name,
        Nodes.SERVERS: caller.node_role is Role.SERVER,
        Nodes.ALL: True,
    }
    if not allowed[right.nodes]:
        raise ForbiddenError(f"node {caller.name} may not do this", hint="a node speaks for itself only")


def _check_person(right: Right, caller: Caller, method: str, params: Mapping[str, object]) -> None:
    if right.people is None:
        raise ForbiddenError("this is for nodes, not for people")
    if right.keys and caller.keys:
        key = cleaned("/" + str(params.get("path", "")))
        reads = method in ("GET", "HEAD")
        if not any(held.covers(key) and (held.write or reads) for held in caller.keys):
            what = "read" if reads else "change"
            raise ForbiddenError(f"the token {caller.name} may not {what} {key}")
        return
    if not caller.may(right.people):
        held = "" if caller.role is None else f": it is {_article(caller.role)}'s"
        raise ForbiddenError(
            f"the token {caller.name} may not do this{held}",
            hint=f"{_article(right.people)} may; `skerry token list` shows roles",
        )


def _article(role: PersonRole) -> str:
    return f"an {role}" if role in (PersonRole.ADMIN, PersonRole.OPERATOR) else f"a {role}"
