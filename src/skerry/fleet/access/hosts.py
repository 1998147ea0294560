"""Where a machine that joins says it is reached: checked before it stands in a certificate, in the list of
servers, in etcd's settings.

    address   an IP address or a host name; of a server not loopback, and no other server's
    names     a few host names or IP addresses; one that another server has is left out, for machines made of
              one image may all be called the same
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.fleet.access.errors import AccessError, AddressTakenError
from skerry.fleet.trust.identity import Identity, Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from skerry.fleet.access.records import MemberRecord

MOST_NAMES = 8
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*", re.ASCII)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Hosts:
    """What was checked; `left_out` are names of others."""

    address: str
    names: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def check_hosts(
    identity: Identity, address: str, names: Sequence[str], members: Iterable[MemberRecord], now: float
) -> Hosts:
    """`address` may be "" for an agent. Raises AccessError, AddressTakenError."""
    if len(names) > MOST_NAMES:
        raise AccessError(f"a machine has at most {MOST_NAMES} names, this one says {len(names)}")
    is_server = identity.role is Role.SERVER
    if address or is_server:
        address = _checked(address, "address")
    if is_server and _is_loopback(address):
        raise AccessError(
            f"other machines cannot reach a server at {address}",
            hint="say where they can: --address 10.0.0.1",
        )
    others = [m for m in members if m.role is Role.SERVER and m.node != identity.node and m.expires > now]
    if is_server and (holder := next((m for m in others if _same(m.address) == _same(address)), None)):
        raise AddressTakenError(
            f"the server {holder.node} is at {address}",
            hint=f"if it is gone for good: `skerry node remove {holder.node[:8]}` first",
        )
    taken = {_same(name) for m in others for name in (m.address, *m.names)}
    said = [_checked(name, "name") for name in dict.fromkeys(names)]
    left_out = tuple(name for name in said if _same(name) in taken)
    return Hosts(address, tuple(name for name in said if name not in left_out), left_out)


def _checked(host: str, what: str) -> str:
    found = _ip(host)
    if found is None and (_HOST.fullmatch(host) is None or _looks_like_ip(host)):
        raise AccessError(f"{host[:64]!r} is no {what}: an IP address or a host name is one")
    if found is not None and (found.is_unspecified or found.is_multicast):
        raise AccessError(f"{found} is no {what} of a machine")
    return host if found is None else str(found)


def _ip(host: str) -> Address | None:
    """None for a name, and for an address with a zone, which means nothing on another machine."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv4Address):
        return found
    return None if found.scope_id else found.ipv4_mapped or found


def _looks_like_ip(host: str) -> bool:
    """Of digits to the end, as no domain is: some programs read such a text as an address all the same."""
    return "." in host and host.rpartition(".")[2].isdigit()


def _is_loopback(host: str) -> bool:
    found = _ip(host)
    if found is None:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")
    return found.is_loopback


def _same(host: str) -> str:
    """One text for all ways to write a host."""
    found = _ip(host)
    return host.lower() if found is None else str(found)
