"""Changes of the key space: what was asked, what stands, and what is therefore to be done. Pure.

The rules are those of etcd v2 (https://etcd.io/docs/v2.3/api/): a set makes the directories it needs and
begins a new life of the key, an update and a swap go on with the old one; a directory is not a file.

A TTL is a lease. What has none of its own and lies in a directory with one is put under the directory's
lease, so that all of it goes in the one revision in which the directory expires.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from skerry.fleet.keys.errors import Code, KeysError
from skerry.fleet.keys.nodes import LAST, ROOT, Action, Node, above, store_key, write_last, write_record
from skerry.fleet.store.interface import (
    Compare,
    Delete,
    DeletePrefix,
    Entry,
    Operation,
    Put,
    absent,
    unchanged,
)


class Kind(enum.Enum):
    SET = Action.SET
    CREATE = Action.CREATE
    UPDATE = Action.UPDATE
    SWAP = Action.SWAP
    DELETE = Action.DELETE
    DELETE_IF = Action.DELETE_IF


@dataclass(frozen=True, slots=True)
class Change:
    """A request. `path` is cleaned; `in_order` makes a new key in the directory `path`.

    `ttl_s` None is for ever. `refresh` gives a key new time and tells no watcher. `previous_value` "" and
    `previous_index` 0 compare nothing.
    """

    kind: Kind
    path: str
    value: str = ""
    directory: bool = False
    recursive: bool = False
    ttl_s: int | None = None
    refresh: bool = False
    in_order: bool = False
    previous_value: str = ""
    previous_index: int = 0


@dataclass(frozen=True, slots=True)
class Scene:
    """What stands: `around` are the directories above, from the top (None: there is none)."""

    index: int
    last: Entry | None
    around: tuple[Node | None, ...]
    node: Node | None
    below: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """What to do, if all that it was decided upon still stands. `node` has index 0 where it is to be new."""

    compares: tuple[Compare, ...]
    operations: tuple[Operation, ...]
    node: Node
    previous: Node | None


def target(change: Change, index: int) -> str:
    """The path that the change is made to: for one in order, named after the next index."""
    if not change.in_order:
        return change.path
    return f"{'' if change.path == ROOT else change.path}/{index + 1:020d}"


def decide(change: Change, scene: Scene, *, expires: float | None, lease: int) -> Step:
    """The step for a change; `lease` and `expires` are for its own TTL, 0 and None without one.

    Raises KeysError.
    """
    path = target(change, scene.index)
    if path == ROOT:
        if change.kind is Kind.DELETE_IF:
            raise KeysError(Code.NOT_A_FILE, "", scene.index)
        raise KeysError(Code.ROOT_IS_READ_ONLY, ROOT, scene.index)
    match change.kind:
        case Kind.SET | Kind.CREATE:
            return _create(change, scene, path, expires=expires, lease=lease)
        case Kind.UPDATE | Kind.SWAP:
            return _update(change, scene, expires=expires, lease=lease)
        case Kind.DELETE | Kind.DELETE_IF:
            return _delete(change, scene)


def lease_above(scene: Scene) -> int:
    """The lease that everything in the nearest directory goes with."""
    return next((node.lease for node in reversed(scene.around) if node is not None), 0)


def found(scene: Scene, path: str) -> Node:
    """The node at `path`, or the error that names the part of the path which is missing or a file."""
    for node, name in zip(scene.around, above(path), strict=True):
        if node is None:
            raise KeysError(Code.KEY_NOT_FOUND, name, scene.index)
        if not node.is_directory:
            raise KeysError(Code.NOT_A_DIRECTORY, name, scene.index)
    if scene.node is None:
        raise KeysError(Code.KEY_NOT_FOUND, path, scene.index)
    return scene.node


def _create(change: Change, scene: Scene, path: str, *, expires: float | None, lease: int) -> Step:
    names = above(path)
    for node, name in zip(scene.around, names, strict=True):
        if node is not None and not node.is_directory:
            raise KeysError(Code.NOT_A_DIRECTORY, name, scene.index)
    old = scene.node
    if change.refresh:
        old = found(scene, path)
    if old is not None and change.kind is Kind.CREATE:
        raise KeysError(Code.KEY_EXISTS, path, scene.index)
    if old is not None and old.is_directory:
        raise KeysError(Code.NOT_A_FILE, path, scene.index)
    value = None if change.directory else change.value
    if change.refresh and old is not None:
        value = old.value
    inherited = lease_above(scene)
    missing = [name for node, name in zip(scene.around, names, strict=True) if node is None]
    node = Node(path, value, 0, 0, expires, lease or inherited)
    operations = [Put(store_key(name), write_record(None, None), inherited) for name in missing]
    operations.append(Put(store_key(path), write_record(value, expires), node.lease))
    compares = [*_still(scene, path)]
    if change.in_order:
        # Names are given in the order in which they are made.
        compares.append(_same(LAST, scene.last))
    return Step(tuple(compares), (*operations, _note(change, path)), node, old)


def _update(change: Change, scene: Scene, *, expires: float | None, lease: int) -> Step:
    old = found(scene, change.path)
    if old.is_directory and (change.kind is Kind.SWAP or change.value):
        raise KeysError(Code.NOT_A_FILE, change.path, scene.index)
    _check_previous(change, old, scene.index)
    value = old.value if change.refresh or old.is_directory else change.value
    node = Node(change.path, value, old.created, 0, expires, lease or lease_above(scene))
    operations: list[Operation] = [
        Put(store_key(change.path), write_record(value, expires, old.created), node.lease)
    ]
    compares = [*_still(scene, change.path)]
    if old.is_directory:
        moved = [other for other in scene.below if old.lease != node.lease and other.lease == old.lease]
        operations += [
            Put(
                store_key(other.path),
                write_record(other.value, other.expires, other.created, other.modified),
                node.lease,
            )
            for other in moved
        ]
        compares += [_same(LAST, scene.last), *(_same(store_key(m.path), m.entry) for m in moved)]
    return Step(tuple(compares), (*operations, _note(change, change.path)), node, old)


def _delete(change: Change, scene: Scene) -> Step:
    old = found(scene, change.path)
    compares = [*_still(scene, change.path)]
    if old.is_directory:
        allowed = change.kind is Kind.DELETE and (change.directory or change.recursive)
        if not allowed:
            raise KeysError(Code.NOT_A_FILE, change.path, scene.index)
        if scene.below and not change.recursive:
            raise KeysError(Code.DIRECTORY_NOT_EMPTY, change.path, scene.index)
        compares.append(_same(LAST, scene.last))
    _check_previous(change, old, scene.index)
    key = store_key(change.path)
    removal: Operation = DeletePrefix(key) if old.is_directory else Delete(key)
    node = Node(change.path, None if old.is_directory else "", old.created, 0)
    return Step(tuple(compares), (removal, _note(change, change.path)), node, old)


def _check_previous(change: Change, old: Node, index: int) -> None:
    if change.kind not in (Kind.SWAP, Kind.DELETE_IF):
        return
    causes = []
    if change.previous_value and change.previous_value != old.value:
        causes.append(f"[{change.previous_value} != {old.value}]")
    if change.previous_index and change.previous_index != old.modified:
        causes.append(f"[{change.previous_index} != {old.modified}]")
    if causes:
        raise KeysError(Code.COMPARE_FAILED, " ".join(causes), index)


def _note(change: Change, path: str) -> Put:
    return Put(LAST, write_last(change.kind.value, path, refresh=change.refresh))


def _still(scene: Scene, path: str) -> list[Compare]:
    """That the node and the directories above it are what they were when the step was decided."""
    around = [
        _same(store_key(name), None if node is None else node.entry)
        for node, name in zip(scene.around, above(path), strict=True)
    ]
    return [*around, _same(store_key(path), None if scene.node is None else scene.node.entry)]


def _same(key: str, entry: Entry | None) -> Compare:
    return absent(key) if entry is None else unchanged(entry)
