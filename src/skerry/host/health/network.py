"""The network, as far as this machine has it by itself: default routes, and addresses on its own ports.

Read from procfs and sysfs; nothing is sent, for nobody out there promised to answer. A look before the update
is compared with one after: what was there must be there again. Ports go by their hardware address, since a
new kernel may name them otherwise; addresses may change. Ports that are no devices (veth) do not count.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

_UP, _GATEWAY = 0x1, 0x2  # RTF_UP, RTF_GATEWAY of linux/route.h
_REJECT = 0x200
_GLOBAL_SCOPE = "00"


class NetworkLook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`routes`: families with a default route. `ports`: by hardware address, the families with an address."""

    routes: tuple[str, ...] = ()
    ports: dict[str, tuple[str, ...]] = {}

    @property
    def up(self) -> bool:
        return bool(self.routes) or any(self.ports.values())


def look(root: Path = Path("/")) -> NetworkLook:
    """The network now."""
    four = [line.split() for line in _lines(root / "proc/net/route")[1:]]
    six = [line.split() for line in _lines(root / "proc/net/ipv6_route")]
    addresses = [line.split() for line in _lines(root / "proc/net/if_inet6")]
    routes = []
    if any(row[1] == row[7] == "00000000" and int(row[3], 16) & _UP for row in four if len(row) > 7):
        routes.append("IPv4")
    if any(row[0] == "0" * 32 and row[1] == "00" and _usable(int(row[8], 16)) for row in six if len(row) > 9):
        routes.append("IPv6")
    with_four = {row[0] for row in four if len(row) > 7}
    with_six = {row[5] for row in addresses if len(row) > 5 and row[3] == _GLOBAL_SCOPE}
    ports = {}
    for name, address in _ports(root):
        families = (("IPv4", name in with_four), ("IPv6", name in with_six))
        ports[address] = tuple(family for family, has in families if has)
    return NetworkLook(tuple(routes), dict(sorted(ports.items())))


def worse(before: NetworkLook, now: NetworkLook) -> list[str]:
    """What was there before and is not now, in words."""
    lost = [f"no default route for {family}" for family in before.routes if family not in now.routes]
    for address, families in before.ports.items():
        if address not in now.ports and families:
            lost.append(f"port {address} is gone")
            continue
        lost += [
            f"port {address} has no {family} address"
            for family in families
            if family not in now.ports[address]
        ]
    return lost


def _usable(flags: int) -> bool:
    return bool(flags & _UP) and not flags & _REJECT


def _ports(root: Path) -> list[tuple[str, str]]:
    """Name and hardware address of the network ports that are devices of this machine."""
    paths = (path for path in sorted((root / "sys/class/net").glob("*")) if (path / "device").exists())
    return [(path.name, lines[0].strip()) for path in paths if (lines := _lines(path / "address"))]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []
