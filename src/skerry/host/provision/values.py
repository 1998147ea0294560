"""Values out of a checked mapping; what is absent is None, False or empty."""

from __future__ import annotations

from skerry.host.provision.document import Mapping, Node, Scalar, Sequence


def text(table: Mapping, key: str) -> str | None:
    """The text as it was written, so that 0644 is "0644"."""
    node = table.get(key)
    if not isinstance(node, Scalar):
        return None
    return node.value.decode(errors="replace") if isinstance(node.value, bytes) else node.text


def flag(table: Mapping, key: str) -> bool:
    node = table.get(key)
    return isinstance(node, Scalar) and node.value is True


def texts(table: Mapping, key: str) -> list[tuple[str, int]]:
    """Each text with its line."""
    node = table.get(key)
    items = node.items if isinstance(node, Sequence) else ()
    return [(item.text, item.line) for item in items if isinstance(item, Scalar)]


def tables(table: Node | None, key: str) -> list[Mapping]:
    node = table.get(key) if isinstance(table, Mapping) else None
    items = node.items if isinstance(node, Sequence) else ()
    return [item for item in items if isinstance(item, Mapping)]
