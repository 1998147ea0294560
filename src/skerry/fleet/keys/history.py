"""Changes of the store read back as events of the key space, and who is shown which of them. Pure.

A change that the key space made carries a note (nodes.LAST) of what it was; one without is the end of a
lease, that is an expiry.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.fleet.keys.nodes import (
    LAST,
    Action,
    Event,
    Node,
    Shown,
    is_hidden,
    path_of,
    read_last,
    read_node,
)
from skerry.fleet.store.interface import EventKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from skerry.fleet.store import interface


@dataclass(frozen=True, slots=True)
class Happening:
    """An event with the paths that were removed by it."""

    event: Event
    removed: frozenset[str]


def happenings(batch: interface.Batch) -> Iterator[Happening]:
    """What a change of the store was to the key space; nothing for a mere refresh of a TTL."""
    changes = {path_of(e.entry.key): e for e in batch.events if e.entry.key != LAST}
    removed = frozenset(path for path, e in changes.items() if e.kind is EventKind.DELETE)
    notes = [read_last(e.entry.value) for e in batch.events if e.entry.key == LAST]
    if not notes:
        for path in sorted(removed):
            if posixpath.dirname(path) not in removed:
                gone = frozenset(p for p in removed if p == path or p.startswith(path + "/"))
                yield Happening(_event(Action.EXPIRE, changes[path], batch.revision), gone)
        return
    for note in notes:
        if not note.refresh and note.path in changes:
            yield Happening(_event(note.action, changes[note.path], batch.revision), removed)


def concerns(happening: Happening, path: str, *, recursive: bool) -> bool:
    """Whether a watch of `path` is shown this."""
    changed = happening.event.shown.node.path
    if changed == path or path in happening.removed:
        return True
    inside = path == "/" or changed.startswith(path + "/")
    return recursive and inside and not is_hidden(changed, seen_from=path)


def _event(action: Action, change: interface.Event, revision: int) -> Event:
    previous = None if change.previous is None else read_node(change.previous)
    if change.kind is EventKind.PUT:
        return Event(action, Shown(read_node(change.entry)), previous, revision)
    if previous is None:
        raise AssertionError("a delete of what was not there is no event")
    node = Node(previous.path, None if previous.is_directory else "", previous.created, revision)
    return Event(action, Shown(node), previous, revision)
