"""What ends a leader's planning; it begins anew with a listing, where this server still leads.

PlanningError
├── DeposedError  another server leads now
├── ClosedError   the store was closed
└── RereadError   a record that could not be read now can: only a listing tells what hangs on it
"""

from __future__ import annotations

from skerry.kit.errors import SkerryError


class PlanningError(SkerryError):
    """Planning cannot go on with what is known."""


class DeposedError(PlanningError):
    """Another server leads."""


class ClosedError(PlanningError):
    """There is no store any more."""


class RereadError(PlanningError):
    """A listing is needed."""
