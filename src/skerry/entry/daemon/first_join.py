"""A machine whose cloud-config names a cluster joins it by itself, at the first start of skerryd.

    /etc/skerry/join.toml, 0600       token = "skerry1.…"   servers = ["https://10.0.0.1:7443"]
                                      role = "agent"        address = "10.0.0.7"     (both may be absent)

    no file ─→ nothing      member already ─→ remove the file
    else    ─→ join ─┬─ joined  ─→ cluster.json, then remove the file: the token is on this machine no longer
                     ├─ refused ─→ say why, keep the file: a person has to look
                     └─ nobody answers, no address yet, etcd does not come up ─→ again, in 2 s … 1 min

Until then the machine is a single one. Servers need more than this (a member of etcd): see `enlisted`.
"""

from __future__ import annotations

import asyncio
import logging
import tomllib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from skerry.fleet.cluster.errors import ClusterError
from skerry.fleet.cluster.membership import Membership, read_membership, write_membership
from skerry.fleet.store.errors import StoreError
from skerry.fleet.trust.errors import NoServerError, TrustError
from skerry.fleet.trust.identity import Role
from skerry.fleet.trust.joining import Joined, join
from skerry.host.units.errors import ServiceManagerError
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from pathlib import Path

    from skerry.fleet.trust.files import Pki
    from skerry.kit.clock import Clock

log = logging.getLogger("skerry.daemon")

FILE_NAME = "join.toml"
FIRST_RETRY_S = 2.0
LONGEST_RETRY_S = 60.0

Enlisted = Callable[[Joined, str], Awaitable[Membership]]
"""What a new server does before it is one: starts its member of etcd, at an address. Called again after a
failure."""


class JoinFileError(SkerryError):
    """join.toml cannot be used."""


@dataclass(frozen=True, slots=True)
class JoinFile:
    """What join.toml says."""

    token: str = field(repr=False)
    servers: tuple[str, ...]
    role: Role | None = None
    address: str = ""


def read_join_file(path: Path) -> JoinFile | None:
    """None where there is no file. Raises JoinFileError, which does not show the token."""
    try:
        mode = path.stat().st_mode
        document = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        # A TOML error may quote what it stumbled upon.
        raise JoinFileError(f"{path} cannot be read, or is not TOML") from error
    if mode & 0o077:
        raise JoinFileError(f"others can read the token in {path}", hint=f"chmod 600 {path}, and a new token")
    unknown = document.keys() - {"token", "servers", "role", "address"}
    token, servers = document.get("token"), document.get("servers")
    role, address = document.get("role"), document.get("address", "")
    if unknown:
        raise JoinFileError(f"{path} has unknown keys: {', '.join(sorted(unknown))}")
    if not isinstance(token, str) or not isinstance(servers, list) or not servers:
        raise JoinFileError(f"{path} needs a token and a list of servers")
    if not all(isinstance(server, str) for server in servers) or not isinstance(address, str):
        raise JoinFileError(f"servers and address in {path} are texts")
    if role not in (None, *Role):
        raise JoinFileError(f"role in {path} is agent or server")
    return JoinFile(token, tuple(servers), None if role is None else Role(role), address)


async def first_join(
    settings: Path,
    state: Path,
    pki: Pki,
    node: str,
    clock: Clock,
    enlisted: Enlisted | None = None,
    *,
    own_address: Callable[[str], str] = lambda asked: asked,
    names: Sequence[str] = (),
) -> Membership | None:
    """The membership, new or old; None where this machine stays a single one.

    `own_address` makes of what the file says, perhaps "", where others reach this machine. Waits as long as
    there is none, no server answers, or etcd does not come up. Raises JoinFileError, TrustError where a
    person has to look; units go on as they are.
    """
    path = settings / FILE_NAME
    membership = read_membership(state)
    wanted = read_join_file(path) if path.exists() else None
    if membership is not None or wanted is None:
        path.unlink(missing_ok=True)
        return membership
    retry_s, said = FIRST_RETRY_S, ""
    while membership is None:
        try:
            address = own_address(wanted.address)
            joined = await asyncio.to_thread(
                join,
                pki,
                wanted.token,
                wanted.servers,
                node,
                now=clock.now(),
                role=wanted.role,
                address=address,
                names=names,
            )
            membership = await _member(joined, enlisted, address)
        except (NoServerError, ClusterError, StoreError, ServiceManagerError) as error:
            if error.message != said:
                log.warning("this machine has not joined yet: %s; trying again", error.message)
            said = error.message
            await clock.sleep(retry_s)
            retry_s = min(retry_s * 2, LONGEST_RETRY_S)
    write_membership(state, membership)
    pki.joined()
    path.unlink(missing_ok=True)
    log.info("this machine joined the cluster %s as %s", membership.name or membership.cluster, joined.role)
    return membership


async def _member(joined: Joined, enlisted: Enlisted | None, address: str) -> Membership:
    if joined.role is Role.AGENT:
        return Membership(joined.cluster, joined.name, joined.node, joined.role, address, joined.servers)
    if enlisted is None:
        raise TrustError("this machine joined as a server, and has no store to be one with")
    return await enlisted(joined, address)
