"""Ports of a machine that a unit takes for itself alone.

    HostPort=8080   HostPort=53/udp   HostPort=10.0.0.1:8000-8010/tcp   HostPort=[::1]:443     in [X-Skerry]
    PublishPort=[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]                                          in a Quadlet

Of PublishPort= only a host port that is written down counts: without one Podman takes a free port. Two
units clash where protocol and number are the same and either address is all addresses, or both are one.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

PROTOCOLS = ("tcp", "udp", "sctp")
HIGHEST = 65535
_ALL_ADDRESSES = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  compared with, not listened on
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


class PortError(ValueError):
    """Not a port, in a sentence."""


@dataclass(frozen=True, slots=True, order=True)
class HostPort:
    """One port or a range of them, ends included; `address` "" means every address of the machine."""

    protocol: str
    first: int
    last: int
    address: str = ""

    def clashes(self, other: HostPort) -> bool:
        """True where not both can listen on one machine."""
        return (
            self.protocol == other.protocol
            and self.first <= other.last
            and other.first <= self.last
            and (
                self.address == other.address or not _ALL_ADDRESSES.isdisjoint((self.address, other.address))
            )
        )

    def __str__(self) -> str:
        host = f"[{self.address}]:" if ":" in self.address else f"{self.address}:" if self.address else ""
        last = f"-{self.last}" if self.last != self.first else ""
        return f"{host}{self.first}{last}/{self.protocol}"


def parse_host_port(text: str) -> HostPort:
    """A value of HostPort=. Raises PortError."""
    rest, protocol = _protocol(text)
    address, _, ports = rest.rpartition(":")
    first, last = _numbers(ports, text)
    if not first:
        raise PortError(f"{text}: there is no port 0")
    return HostPort(protocol, first, last, _address(address, text))


def published_port(text: str) -> HostPort | None:
    """The host port in a value of PublishPort=, None where Podman chooses one. Raises PortError."""
    rest, protocol = _protocol(text)
    host, colon, _container = rest.rpartition(":")
    if not colon:
        return None
    address, _, ports = host.rpartition(":")
    if not ports:
        return None
    first, last = _numbers(ports, text)
    return HostPort(protocol, first, last, _address(address, text)) if first else None


def _protocol(text: str) -> tuple[str, str]:
    rest, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in PROTOCOLS:
        raise PortError(f"{text}: the protocol is one of {', '.join(PROTOCOLS)}")
    return rest, protocol


def _numbers(ports: str, text: str) -> tuple[int, int]:
    found = _RANGE.fullmatch(ports)
    if found is None:
        raise PortError(f"{text}: {ports!r} is neither a port nor a range of ports")
    first, last = int(found[1]), int(found[2] or found[1])
    if last > HIGHEST:
        raise PortError(f"{text}: the highest port is {HIGHEST}")
    if first > last:
        raise PortError(f"{text}: the range ends before it begins")
    return first, last


def _address(address: str, text: str) -> str:
    if not address:
        return ""
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        raise PortError(f"{text}: {address!r} is not an IP address") from None
