"""This machine as the API shows it: its id, its address, and labels ("metadata" in fleet's words).

    /skerry/v1/nodes/<id>   {"version": 1, "metadata": {key: value}}: what was set while running

A value set while running goes before the configured one of the same key and survives a restart; an
empty one takes the key away.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from skerry.fleet.store.interface import Compare, Field, Put, Relation, absent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from skerry.fleet.store.interface import Store

VERSION = 1
ANYWHERE = "192.0.2.1"  # RFC 5737: an address that is routed like the internet, and belongs to nobody


class NodeDocument(msgspec.Struct, frozen=True):
    metadata: dict[str, str] = {}
    version: int = VERSION


class Machine(msgspec.Struct, frozen=True, rename="camel"):
    """fleet's Machine."""

    id: str
    primary_ip: str = msgspec.field(name="primaryIP")
    metadata: dict[str, str]


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


async def machine(store: Store, node: Node) -> Machine:
    """The machine with its labels as they are now."""
    document, _ = await _document(store, node)
    merged = {**node.metadata, **document.metadata}
    return Machine(node.id, primary_ip(), {key: merged[key] for key in sorted(merged) if merged[key]})


async def change_metadata(store: Store, node: Node, changes: Mapping[str, str]) -> None:
    """Set labels, all at once; an empty value takes one away."""
    while True:
        document, revision = await _document(store, node)
        kept = {**document.metadata, **changes}
        kept = {key: value for key, value in kept.items() if value or key in node.metadata}
        compare = absent(_key(node))
        if revision:
            compare = Compare(_key(node), Field.MOD_REVISION, Relation.EQUAL, revision)
        value = msgspec.json.encode(NodeDocument(kept))
        if (await store.transact([compare], [Put(_key(node), value)])).succeeded:
            return


async def _document(store: Store, node: Node) -> tuple[NodeDocument, int]:
    entry = await store.get(_key(node))
    if entry is None:
        return NodeDocument(), 0
    try:
        return msgspec.json.decode(entry.value, type=NodeDocument), entry.mod_revision
    except msgspec.DecodeError:
        return NodeDocument(), entry.mod_revision


def _key(node: Node) -> str:
    return f"/skerry/v1/nodes/{node.id}"
