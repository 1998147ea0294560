"""A machine of the cluster: what people said of it, and what the servers know of it.

    /skerry/v1/nodes/<id>      NodeRecord: what people want; written by them, through the API
    /skerry/v1/presence/<id>   PresenceRecord: facts, and whether it lives; the leader writes changes only

`id` is systemd's machine id, 32 hexadecimal digits. Heartbeats are not in the store.
"""

from __future__ import annotations

import enum

import msgspec

from skerry.fleet.state.document import Document
from skerry.fleet.trust.identity import Role as Role

NODES_PREFIX = "/skerry/v1/nodes/"
PRESENCE_PREFIX = "/skerry/v1/presence/"


class NodeRecord(Document, frozen=True):
    """What people want of a machine.

    `metadata` are labels set while running: they go before those of the machine's own settings, and an empty
    value takes one away. A cordoned machine gets no new units; a draining one also gives up those it has.
    """

    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    cordoned: bool = False
    draining: bool = False


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a machine says of itself when it connects; sizes in bytes, `cpus` in whole processors.

    `metadata` are the labels of its own settings. Unknown fields are left out: agents may be newer.
    """

    role: Role = Role.AGENT
    hostname: str = ""
    addresses: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
    cpus: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    disk_free_bytes: int = 0
    kernel: str = ""
    os_version: str = ""
    skerry_version: str = ""
    boot_id: str = ""
    architecture: str = ""


class Liveness(enum.StrEnum):
    """READY: heard of in time. LOST: not heard of for a TTL. LEFT: it said goodbye, or was shut down."""

    READY = "ready"
    LOST = "lost"
    LEFT = "left"


class PresenceRecord(Document, frozen=True):
    """What the leader knows of a machine; `since` is when `liveness` became so, in seconds since 1970."""

    facts: Facts
    liveness: Liveness
    since: float


def node_key(node: str) -> str:
    """Where people's words about a machine are."""
    return NODES_PREFIX + node


def presence_key(node: str) -> str:
    """Where the leader's words about a machine are."""
    return PRESENCE_PREFIX + node
