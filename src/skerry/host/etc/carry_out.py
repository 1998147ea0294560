"""Carries out a plan into a new directory: parents first, each file's content from the side it is of."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from skerry.host.etc.actions import Source
from skerry.host.etc.errors import EtcError
from skerry.host.etc.tree import Kind, shown

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from skerry.host.etc.actions import Action
    from skerry.host.etc.hands import Hands
    from skerry.host.etc.tree import Tree


def carry_out(actions: Iterable[Action], yours: Tree, new: Tree, goal: Path, hands: Hands) -> list[str]:
    """Make the tree at `goal`, which is not there yet; returns notes of what the file system could not hold.

    Raises EtcError where a file is not what the plan saw, and OSError as the system reports it.
    """
    notes = []
    for action in actions:
        entry = action.entry
        if entry is None:
            continue
        data = b""
        if entry.kind is Kind.FILE:
            if action.data is not None:
                data = action.data
            else:
                data = (yours if action.source is Source.YOURS else new).read(action.origin)
            if hashlib.sha256(data).hexdigest() != entry.content:
                raise EtcError(f"{shown(action.path)} changed while it was merged")
        unset = hands.place(goal / action.path if action.path else goal, entry, data)
        notes += [f"{shown(action.path)} lost its attribute {name}" for name in unset]
    return notes
