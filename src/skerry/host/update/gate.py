"""The gate that a reboot passes: whether this machine may be away now, with regard to others.

A machine by itself always may. A cluster's lock comes behind the same two methods.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Permission:
    """`why` says who holds the machine back, where it is not granted."""

    granted: bool
    why: str = ""


class Gate(Protocol):
    def acquire(self, reason: str) -> Permission:
        """Ask to be away for `reason`. Asking again while it is held is granted."""

    def release(self) -> None:
        """Back again. Without a permission held it does nothing."""


class LocalGate:
    """A machine by itself: nobody else is asked."""

    def acquire(self, reason: str) -> Permission:
        return Permission(True)

    def release(self) -> None:
        return None
