"""What a merge did, or would do: /var/lib/skerry/etc/VERSION.report.json, beside the folder and not in it.

    {"format": 1, "version": …, "from_version": …, "policy": "mine", "made_at": unix seconds,
     "changes": [{"path", "result", "why", "beside": null or path}, …], "notes": […]}

Paths that nobody changed are not in it; no content of any file ever is. `shown` has made paths printable.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from skerry.host.etc.actions import Policy, Result
from skerry.host.etc.document import FORMAT, read_document
from skerry.host.etc.errors import EtcError
from skerry.host.etc.tree import shown

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from skerry.host.etc.actions import Action


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One path that somebody changed. `beside` is where the side that was not taken stands."""

    path: str
    result: Result
    why: str = ""
    beside: str | None = None


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: str
    from_version: str
    policy: Policy
    made_at: float
    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()
    format: int = FORMAT

    @property
    def conflicts(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.result is Result.CONFLICT)

    @property
    def refused(self) -> bool:
        """Whether the policy lets the update not begin."""
        return self.policy is Policy.REFUSE and bool(self.conflicts)

    def counts(self) -> dict[str, int]:
        """How many paths came to each result, in the order of the results."""
        found = Counter(change.result for change in self.changes)
        return {str(result): found[result] for result in Result if found[result]}

    def encode(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


def make_report(
    actions: Iterable[Action],
    version: str,
    from_version: str,
    policy: Policy,
    made_at: float,
    notes: Iterable[str] = (),
) -> Report:
    changes = tuple(
        Change(shown(one.path), one.result, one.why, None if one.beside is None else shown(one.beside))
        for one in actions
        if one.result is not Result.SAME
    )
    return Report(version, from_version, policy, made_at, changes, tuple(notes))


def read_report(path: Path) -> Report | None:
    """The report in a file; None where there is none. Raises EtcError."""
    return read_document(path, Report, EtcError)
