"""Which cluster this machine belongs to, and as what; a machine without the file is a cluster of its own.

    /var/lib/skerry/cluster.json
    {"version": 1, "cluster": "<id>", "name": "home", "node": "<machine id>", "role": "agent" | "server",
     "address": "10.0.0.2", "servers": ["https://10.0.0.1:7443", …], "store": ["https://10.0.0.1:2379", …]}

`store` (servers only) are etcd's client URLs, as last seen; the machine's own goes first. Written last when a
machine joins and removed first when it leaves: whoever finds the file may rely on the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from skerry.fleet.cluster.errors import MembershipError
from skerry.fleet.state.document import Document, RecordError
from skerry.fleet.state.node import Role
from skerry.kit.files import sync_directory, write_atomic

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "cluster.json"
API_PORT = 7443


class Membership(Document, frozen=True, omit_defaults=True):
    """See the module. `address` is where the other machines reach this one."""

    cluster: str
    name: str
    node: str
    role: Role
    address: str
    servers: tuple[str, ...]
    store: tuple[str, ...] = ()

    @property
    def is_server(self) -> bool:
        return self.role is Role.SERVER

    def encode(self) -> bytes:
        # The version is written even where it is the first: a reader looks for it before all else.
        document = {"version": self.version} | msgspec.to_builtins(self)
        return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def read_membership(state: Path) -> Membership | None:
    """What `state` (/var/lib/skerry) holds; None for a single machine. Raises MembershipError."""
    path = state / FILE_NAME
    try:
        return Membership.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MembershipError(f"{path} cannot be read: {error.strerror}") from error
    except RecordError as error:
        raise MembershipError(f"{path}: {error.message}", hint=error.hint) from error


def write_membership(state: Path, membership: Membership) -> None:
    """From now on, through a power cut, this machine belongs to the cluster."""
    write_atomic(state / FILE_NAME, membership.encode(), mode=0o600)


def forget_membership(state: Path) -> None:
    """From now on this machine is a single one; no error where it was."""
    (state / FILE_NAME).unlink(missing_ok=True)
    sync_directory(state)


def host_of(url: str) -> str:
    """The address in a URL, without the brackets of IPv6: `https://[fd00::1]:7443` gives `fd00::1`."""
    place = url.partition("://")[2].partition("/")[0]
    return (place if place.endswith("]") else place.rpartition(":")[0] or place).strip("[]")


def url_of(address: str, port: int) -> str:
    """`https://ADDRESS:PORT`, with brackets around an address of IPv6."""
    return f"https://[{address}]:{port}" if ":" in address else f"https://{address}:{port}"
