"""What etcdctl prints of an event, to the letter: a value, a heading with the value, or JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry.entry.cli.etcdctl_session import Document, Reply

FORMATS = ("simple", "extended", "json")


def show_unless_directory(reply: Reply, output: str) -> None:
    if output == "json" or not reply.node.get("dir"):
        show(reply, output)


def show(reply: Reply, output: str) -> None:
    """A key in the format that was asked for, to the letter of etcdctl."""
    node, previous = reply.node, reply.previous
    deleted = reply.event.get("action") == "delete"
    before = (previous or {}).get("value", "")
    if output == "json":
        print(json_text(reply))
    elif output == "extended":
        print(f"Key: {node.get('key', '')}")
        print(f"Created-Index: {node.get('createdIndex', 0)}\nModified-Index: {node.get('modifiedIndex', 0)}")
        if previous is not None:
            print(f"PrevNode.Value: {before}")
        print(f"TTL: {node.get('ttl', 0)}\nIndex: {reply.stood_at}")
        if not deleted:
            print(f"\n{node.get('value', '')}")
    else:
        print(f"PrevNode.Value: {before}" if deleted else node.get("value", ""))


def json_text(reply: Reply) -> str:
    """The event as etcd's client library writes it: its own order, null for what is not there."""
    event: Document = {
        "action": reply.event.get("action", ""),
        "node": _json_node(reply.node),
        "prevNode": None if reply.previous is None else _json_node(reply.previous),
    }
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _json_node(node: Document) -> Document:
    nodes = node.get("nodes")
    out: Document = {"key": node.get("key", "")}
    if node.get("dir"):
        out["dir"] = True
    out["value"] = node.get("value", "")
    below = (
        [_json_node(child) for child in nodes if isinstance(child, dict)] if isinstance(nodes, list) else []
    )
    out["nodes"] = list(below) or None
    out["createdIndex"] = node.get("createdIndex", 0)
    out["modifiedIndex"] = node.get("modifiedIndex", 0)
    out.update({name: node[name] for name in ("expiration", "ttl") if name in node})
    return out
