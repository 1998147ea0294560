"""Conflicts settled by hand, and paths set back to their defaults: steps first, then carried out.

A step replaces or removes one path, whole or not at all, so that a daemon that reads it meanwhile sees one of
both. Users and groups are never replaced as a whole: that would lock people out.
"""

from __future__ import annotations

import contextlib
import enum
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.host.etc import text
from skerry.host.etc.errors import ChoiceError
from skerry.host.etc.hands import Hands
from skerry.host.etc.rules import Rule, rule
from skerry.host.etc.scan import look
from skerry.host.etc.tree import Kind, shown
from skerry.kit.files import sync_directory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from skerry.host.etc.changes import Open
    from skerry.host.etc.tree import Entry, Tree


class Take(enum.StrEnum):
    MINE = "mine"
    THEIRS = "theirs"


class Do(enum.StrEnum):
    REPLACE = "replace"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Step:
    """One path of /etc. A replacement is `entry` with `data`, or what stands at `source`, which is moved."""

    do: Do
    path: str
    why: str
    entry: Entry | None = None
    data: bytes = b""
    source: str | None = None


def take(conflict: Open, choice: Take) -> tuple[Step, ...]:
    """Decide an open conflict for one side. Raises ChoiceError."""
    if (choice is Take.MINE) == (conflict.side == "new"):
        return (Step(Do.REMOVE, conflict.beside, f"what stands at {shown(conflict.path)} stays"),)
    if rule(conflict.path) is Rule.ACCOUNTS:
        raise ChoiceError(
            f"{shown(conflict.path)} is not replaced as a whole, which would take users or groups away",
            hint=f"compare it with {shown(conflict.beside)}, change it with usermod or groupmod, then take "
            f"{'mine' if conflict.side == 'new' else 'theirs'} to keep what stands",
        )
    whose = "the new default" if choice is Take.THEIRS else "your own"
    return (Step(Do.REPLACE, conflict.path, f"{whose} is taken", source=conflict.beside),)


def put(conflict: Open, yours: Tree, data: bytes) -> tuple[Step, ...]:
    """Decide an open conflict by new content, edited from both. Raises ChoiceError."""
    entry = yours.get(conflict.path)
    if entry is None or entry.kind is not Kind.FILE:
        raise ChoiceError(
            f"{shown(conflict.path)} is no file that could be edited", hint="take one side of it"
        )
    if text.has_markers(data):
        raise ChoiceError(
            f"{shown(conflict.path)} still has conflict markers", hint="edit it again, or take one side"
        )
    return (
        Step(Do.REPLACE, conflict.path, "what you edited is taken", entry, data),
        Step(Do.REMOVE, conflict.beside, "its conflict is settled"),
    )


def to_edit(conflict: Open, yours: Tree, base: Tree | None) -> bytes:
    """Both sides in one text, between markers where they differ. Raises ChoiceError."""
    sides = {}
    for name, path in (("here", conflict.path), ("beside", conflict.beside)):
        entry = yours.get(path)
        if entry is None or entry.kind is not Kind.FILE:
            raise ChoiceError(f"{shown(path)} is no file that could be edited", hint="take one side of it")
        sides[name] = yours.read(path)
    mine, new = (sides["here"], sides["beside"])[:: 1 if conflict.side == "new" else -1]
    before = base.get(conflict.path) if base is not None else None
    old = base.read(conflict.path) if base and before and before.kind is Kind.FILE else b""
    made = text.with_markers(old, mine, new)
    if made is None:
        raise ChoiceError(f"{shown(conflict.path)} is no text", hint="take one side of it")
    return made


def reset(path: str, defaults: Tree, yours: Tree) -> tuple[Step, ...]:
    """Set a path back to its default; of a directory each default below it. Raises ChoiceError."""
    paths = defaults.below(path)
    if not paths:
        raise ChoiceError(f"{shown(path)} is none of this version's defaults", hint="remove it with rm")
    steps = []
    for one in paths:
        entry, mine = defaults.entries[one], yours.get(one)
        how = rule(one)
        if entry == mine or (one != path and how in (Rule.MACHINE, Rule.ACCOUNTS)):
            continue
        if how in (Rule.MACHINE, Rule.ACCOUNTS):
            what = "is of this machine" if how is Rule.MACHINE else "holds your users and groups"
            raise ChoiceError(f"{shown(one)} {what}, and has no default to go back to")
        if mine is not None and mine.kind is Kind.DIRECTORY and entry.kind is not Kind.DIRECTORY:
            raise ChoiceError(
                f"{shown(one)} is a directory of yours, and by default is none", hint="move it away"
            )
        data = defaults.read(one) if entry.kind is Kind.FILE else b""
        why = "you deleted it" if mine is None else "it differs"
        steps.append(Step(Do.REPLACE, one, why, entry, data))
    return tuple(steps)


def carry_out(steps: Sequence[Step], etc: Path, hands: Hands | None = None) -> None:
    """Do them, in order; durable on return. Raises ChoiceError."""
    hands = hands or Hands()
    for step in steps:
        place = etc / step.path if step.path else etc
        try:
            if step.do is Do.REMOVE:
                hands.remove(place)
            elif step.source is not None:
                _move(etc / step.source, place, hands)
            elif step.entry is not None:
                _replace(place, step.entry, step.data, hands)
            sync_directory(place.parent)
        except PermissionError as error:
            raise ChoiceError("only root may change /etc", hint="use sudo") from error
        except OSError as error:
            raise ChoiceError(f"could not {step.do} {shown(step.path)}: {error.strerror}") from error


def _move(source: Path, place: Path, hands: Hands) -> None:
    with contextlib.suppress(FileNotFoundError):
        if look(os.fspath(place)).kind is Kind.DIRECTORY or look(os.fspath(source)).kind is Kind.DIRECTORY:
            hands.remove(place)
    hands.rename(source, place)


def _replace(place: Path, entry: Entry, data: bytes, hands: Hands) -> None:
    if entry.kind is Kind.DIRECTORY:
        if place.is_dir() and not place.is_symlink():
            hands.dress(place, entry)
            return
        hands.remove(place)
        hands.place(place, entry)
        return
    new = place.with_name(f".{place.name[:64]}.skerry-reset")
    hands.remove(new)
    try:
        hands.place(new, entry, data)
        if entry.kind is Kind.FILE:
            _sync(new)
        hands.rename(new, place)
    except BaseException:
        hands.remove(new)
        raise


def _sync(place: Path) -> None:
    descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
