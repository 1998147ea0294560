"""The lab's own network for nspawn nodes: a bridge in a network namespace, and one namespace for each node.

    lab namespace   br0 10.77.0.1/24, the registry at port 5000
    node namespace  host0 10.77.0.(10+n)/24, a veth whose other end is on the bridge

Nothing of it is in the machine's own network. It disappears with the namespaces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.kit.run import run
from skerry_lab.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path

    from skerry_lab.state import LabState

GATEWAY = "10.77.0.1"
PREFIX = 24
FIRST = 10
MOST = 200
BRIDGE = "br0"


@dataclass(frozen=True, slots=True)
class Cable:
    """A node's place in the lab's network."""

    namespace: str
    path: Path
    address: str


def make_network(state: LabState) -> Path:
    """The lab's namespace with its bridge, made at the first call; its path."""
    from skerry_lab.state import path_of

    name = f"skerry-{state.mark[:8]}"
    if path_of(name).exists():
        return path_of(name)
    path = state.namespace(name)
    _ip(name, "link", "set", "lo", "up")
    _ip(name, "link", "add", BRIDGE, "type", "bridge", "forward_delay", "0")
    _ip(name, "address", "add", f"{GATEWAY}/{PREFIX}", "dev", BRIDGE)
    _ip(name, "link", "set", BRIDGE, "up")
    return path


def plug(state: LabState, number: int) -> Cable:
    """A namespace for the lab's node of this number (from 0), connected to the bridge."""
    if number >= MOST:
        raise LabError(f"a lab has room for {MOST} nodes")
    lab = f"skerry-{state.mark[:8]}"
    name = f"{lab}-{number}"
    path = state.namespace(name)
    address = f"10.77.0.{FIRST + number}"
    port = f"port{number}"
    _ip(lab, "link", "add", port, "type", "veth", "peer", "name", "host0", "netns", name)
    _ip(lab, "link", "set", port, "master", BRIDGE, "up")
    _ip(name, "link", "set", "lo", "up")
    _ip(name, "address", "add", f"{address}/{PREFIX}", "dev", "host0")
    _ip(name, "link", "set", "host0", "up")
    _ip(name, "route", "add", "default", "via", GATEWAY)
    return Cable(name, path, address)


def set_cable(state: LabState, number: int, *, up: bool) -> None:
    """Plug a node's cable in or out, at the bridge's end: the node sees its carrier come and go."""
    _ip(f"skerry-{state.mark[:8]}", "link", "set", f"port{number}", "up" if up else "down")


def networkd_settings(address: str) -> str:
    """systemd.network(5) for the node, so that networkd keeps the address it finds."""
    return f"""# Written by skerry lab.
[Match]
Name=host0

[Network]
Address={address}/{PREFIX}
Gateway={GATEWAY}
LinkLocalAddressing=no
IPv6AcceptRA=no
"""


def _ip(namespace: str, *arguments: str) -> None:
    run(["ip", "-netns", namespace, *arguments])
