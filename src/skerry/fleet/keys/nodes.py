"""Nodes of the key space and how they lie in the store.

    /skerry/v1/keys/            prefix of all nodes; the root itself has no entry
    /skerry/v1/keys/a/b/        the node /a/b: a JSON record. The slash at the end makes the entries of a
                                node and all that is below it exactly those with its key as a prefix.
    /skerry/v1/keys.last        what the newest change was called: the action and the node it was made to

An index of etcd v2 is a revision of the store, so indexes grow but may leave some out. In a record `null`
for an index stands for the revision that wrote the record, which nobody knows while it is being written.
"""

from __future__ import annotations

import enum
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from skerry.fleet.store.errors import StoreFormatError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from skerry.fleet.store.interface import Entry

ROOT = "/"
NODES = "/skerry/v1/keys"
LAST = "/skerry/v1/keys.last"
RECORD_VERSION = 1


class Action(enum.StrEnum):
    GET = "get"
    SET = "set"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    EXPIRE = "expire"
    SWAP = "compareAndSwap"
    DELETE_IF = "compareAndDelete"


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The value of a node's entry; `value` is None for a directory, `expires` in Unix seconds."""

    version: int
    value: str | None = None
    created: int | None = None
    modified: int | None = None
    expires: float | None = None


class Last(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The value of the LAST entry. A change of the store without it is an expiry."""

    version: int
    action: Action
    path: str
    refresh: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """A file (`value` is text) or a directory (`value` is None) as it stands or stood.

    `expires` is None without a TTL of its own; `lease` may then still be that of a directory above.
    `entry` is what it was read from, None for one that is being made.
    """

    path: str
    value: str | None
    created: int
    modified: int
    expires: float | None = None
    lease: int = 0
    entry: Entry | None = None

    @property
    def is_directory(self) -> bool:
        return self.value is None

    @property
    def own_lease(self) -> int:
        return 0 if self.expires is None else self.lease


@dataclass(frozen=True, slots=True)
class Shown:
    """A node with what is shown below it."""

    node: Node
    below: tuple[Shown, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """What happened, or was read; `index` is where the store stood after it."""

    action: Action
    shown: Shown
    previous: Node | None
    index: int

    @property
    def is_creation(self) -> bool:
        return self.action is Action.CREATE or (self.action is Action.SET and self.previous is None)


def cleaned(path: str) -> str:
    """The path as it is kept: from the root, without empty, "." and ".." parts, no slash at the end."""
    return posixpath.normpath(ROOT + path.strip("/"))


def store_key(path: str) -> str:
    return NODES + ROOT if path == ROOT else f"{NODES}{path}/"


def path_of(key: str) -> str:
    """The inverse of store_key."""
    return key[len(NODES) : -1] or ROOT


def above(path: str) -> list[str]:
    """The directories that `path` lies in, from the top, without the root."""
    parts = path.split("/")[1:-1]
    return ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]


def is_hidden(path: str, *, seen_from: str) -> bool:
    """Whether `path` is not shown to who looks at `seen_from` and did not ask for it by name."""
    inside = path[len(seen_from) :] if seen_from != ROOT else path
    return "/_" in inside


def read_node(entry: Entry) -> Node:
    """Raises StoreFormatError for a record that this version cannot read."""
    try:
        record = msgspec.json.decode(entry.value, type=Record)
    except msgspec.DecodeError as error:
        raise StoreFormatError(f"the record at {entry.key} cannot be read: {error}") from error
    if record.version > RECORD_VERSION:
        raise StoreFormatError(f"the record at {entry.key} has version {record.version}, which is newer")
    return Node(
        path_of(entry.key),
        record.value,
        record.created or entry.mod_revision,
        record.modified or entry.mod_revision,
        record.expires,
        entry.lease,
        entry,
    )


def write_record(
    value: str | None, expires: float | None, created: int | None = None, modified: int | None = None
) -> bytes:
    return msgspec.json.encode(Record(RECORD_VERSION, value, created, modified, expires))


def settled(entry: Entry) -> bytes:
    """The record with its indexes in so many words, for an entry that is to be written anew elsewhere."""
    node = read_node(entry)
    return write_record(node.value, node.expires, node.created, node.modified)


def read_last(value: bytes) -> Last:
    return msgspec.json.decode(value, type=Last)


def write_last(action: Action, path: str, *, refresh: bool) -> bytes:
    return msgspec.json.encode(Last(RECORD_VERSION, action, path, refresh))


def shown_tree(node: Node, below: Iterable[Node], *, recursive: bool) -> Shown:
    """The node as a listing shows it: its own entries, or all below, hidden ones left out, sorted."""
    children: dict[str, list[Node]] = {}
    for other in below:
        if not is_hidden(other.path, seen_from=node.path):
            children.setdefault(posixpath.dirname(other.path), []).append(other)
    for siblings in children.values():
        siblings.sort(key=lambda sibling: sibling.path)

    def show(top: Node, *, open_it: bool) -> Shown:
        inside = children.get(top.path, []) if open_it else []
        return Shown(top, tuple(show(child, open_it=recursive) for child in inside))

    return show(node, open_it=True)
