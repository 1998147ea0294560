"""The words of a merge: policies, results, and one action for each path that will exist or was considered."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry.host.etc.tree import Entry


class Policy(enum.StrEnum):
    """What happens where you and the new version changed the same thing differently."""

    MINE = "mine"  # yours stays, the new default is put beside it as NAME.skerry-new
    THEIRS = "theirs"  # the new default counts, yours is kept beside it as NAME.skerry-mine
    REFUSE = "refuse"  # the update is refused when it is planned


class Result(enum.StrEnum):
    SAME = "same"  # nobody changed it
    ADDED = "added"  # new in this version
    UPDATED = "updated"  # you did not change it
    REMOVED = "removed"  # the new version does not have it, and you did not change it
    KEPT = "kept"  # yours: changed or made by you, or of this machine
    DELETED = "deleted"  # by you; it stays so
    MERGED = "merged"  # both changed it
    CONFLICT = "conflict"  # both changed it, and the policy decided
    BESIDE = "beside"  # what the policy put beside a conflict


class Source(enum.StrEnum):
    """Whose bytes a file gets."""

    YOURS = "yours"
    NEW = "new"
    MERGED = "merged"


@dataclass(frozen=True, slots=True)
class Action:
    """One path of the result. `entry` None: nothing stands there. A file's bytes are those at `origin` in
    the tree of `source`, or `data` where they were merged."""

    path: str
    entry: Entry | None
    result: Result
    why: str = ""
    source: Source = Source.YOURS
    origin: str = ""
    data: bytes | None = None
    beside: str | None = None
