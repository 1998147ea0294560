"""How long work tells of itself: events from a library to whoever shows them, which is `entry` alone."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass


class Phase(enum.StrEnum):
    STARTED = "started"
    ADVANCED = "advanced"
    REUSED = "reused"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Progress:
    """One event of one step. `done` and `total` count bytes or items, as `unit` says; None is unknown.

    `note` is what is being done now, or, of a step that is done, what came of it.
    """

    step: str
    phase: Phase
    done: int | None = None
    total: int | None = None
    unit: str = "B"
    note: str = ""


Reporter = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """The reporter for callers that show nothing."""
