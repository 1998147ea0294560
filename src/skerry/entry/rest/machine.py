"""Machines of the cluster: this one's id and address, and the labels ("metadata") that people set on any.

A label set through the API goes before one of the same key in the machine's own settings and survives a
restart; an empty one takes the key away. See skerry.fleet.state.node for the records.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import skerry
from skerry.fleet.state.node import Facts, NodeRecord, Role, node_key
from skerry.fleet.store.interface import Compare, Field, Put, Relation, absent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from skerry.fleet.store.interface import Store

ANYWHERE = "192.0.2.1"  # RFC 5737: an address that is routed like the internet, and belongs to nobody


@dataclass(frozen=True, slots=True)
class Node:
    """What the settings and the system say of this machine; `id` is systemd's machine id."""

    id: str
    metadata: Mapping[str, str] = field(default_factory=dict)


def machine_id(path: Path = Path("/etc/machine-id")) -> str:
    """systemd's machine id, 32 hexadecimal digits; zeros where the machine has none yet."""
    try:
        return path.read_text().strip() or "0" * 32
    except OSError:
        return "0" * 32


def primary_ip() -> str:
    """The address that this machine would use towards the world; "" without a route. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((ANYWHERE, 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def local_facts(node: Node) -> Facts:
    """The little that is known of this machine before anybody has gathered its facts."""
    address = primary_ip()
    uname = os.uname()
    return Facts(
        role=Role.SERVER,
        hostname=uname.nodename,
        addresses=(address,) if address else (),
        metadata=dict(node.metadata),
        kernel=uname.release,
        skerry_version=skerry.__version__,
        architecture=uname.machine,
    )


async def change_node(
    store: Store,
    node: str,
    *,
    metadata: Mapping[str, str] | None = None,
    cordoned: bool | None = None,
    draining: bool | None = None,
    configured: Mapping[str, str] | None = None,
) -> int:
    """Change what people want of a machine, all at once; the revision from which it is so.

    None leaves a thing as it is. An empty label takes one away: it is kept as an empty one where the
    machine's settings (`configured`) have the key, and forgotten elsewhere. Raises RecordError, StoreError.
    """
    while True:
        entry = await store.get(node_key(node))
        now = NodeRecord() if entry is None else NodeRecord.decode(entry.value)
        labels = {**now.metadata, **(metadata or {})}
        wanted = msgspec.structs.replace(
            now,
            metadata={key: text for key, text in labels.items() if text or key in (configured or {})},
            cordoned=now.cordoned if cordoned is None else cordoned,
            draining=now.draining if draining is None else draining,
        )
        if wanted == now:
            return 0
        compare = absent(node_key(node))
        if entry is not None:
            compare = Compare(entry.key, Field.MOD_REVISION, Relation.EQUAL, entry.mod_revision)
        result = await store.transact([compare], [Put(node_key(node), wanted.encode())])
        if result.succeeded:
            return result.revision
