"""All that can change a local store, each as a value that carries itself out on a driver's state.

A driver brings a `State` and says when it is durable; what happens to it is decided here, once for all
drivers. A command either changes the state whole or raises before it has changed anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from skerry.fleet.store.errors import LeaseNotFoundError
from skerry.fleet.store.interface import Batch, Entry, Lease, Result
from skerry.fleet.store.transaction import Transaction, View, decide, deleted

if TYPE_CHECKING:
    from collections.abc import Sequence

KEPT_REVISIONS = 10_000
COMPACTED_AT_ONCE = 1_000
"""History is cut in pieces of this size, so that not every transaction pays for it."""

Answer = TypeVar("Answer")
AnswerCo = TypeVar("AnswerCo", covariant=True)


class State(View, Protocol):
    """What a driver holds. Used by one thread at a time."""

    @property
    def revision(self) -> int: ...

    @property
    def compacted(self) -> int:
        """The newest revision that history has forgotten."""

    def leased(self, lease: int) -> Sequence[Entry]:
        """The entries under a lease, sorted by key."""

    def record(self, batch: Batch) -> None:
        """Take the changes in, put them into history, and stand at the batch's revision."""

    def add_lease(self, ttl_s: float) -> int: ...

    def drop_lease(self, lease: int) -> None: ...

    def forget(self, revision: int) -> None:
        """Drop history up to and including `revision`."""


@dataclass(frozen=True, slots=True)
class Done(Generic[AnswerCo]):
    """The answer to whoever sent the command, and what the watchers are told."""

    answer: AnswerCo
    batch: Batch | None = None


class Command(Protocol[AnswerCo]):
    def carry_out(self, state: State) -> Done[AnswerCo]: ...


@dataclass(frozen=True, slots=True)
class Transact:
    transaction: Transaction

    def carry_out(self, state: State) -> Done[Result]:
        revision = state.revision + 1
        outcome = decide(state, self.transaction, revision)
        if not outcome.events:
            return Done(Result(outcome.succeeded, state.revision, outcome.found))
        batch = Batch(revision, outcome.events)
        state.record(batch)
        return Done(Result(outcome.succeeded, revision, outcome.found), batch)


@dataclass(frozen=True, slots=True)
class GrantLease:
    ttl_s: float

    def carry_out(self, state: State) -> Done[Lease]:
        return Done(Lease(state.add_lease(self.ttl_s), self.ttl_s))


@dataclass(frozen=True, slots=True)
class EndLease:
    """Revoked or expired: its keys go in one revision, in their order; none where it has no key."""

    lease: int

    def carry_out(self, state: State) -> Done[None]:
        if not state.has_lease(self.lease):
            raise LeaseNotFoundError(f"there is no lease {self.lease}")
        entries = state.leased(self.lease)
        state.drop_lease(self.lease)
        if not entries:
            return Done(None)
        revision = state.revision + 1
        batch = Batch(revision, deleted(entries, revision))
        state.record(batch)
        return Done(None, batch)


@dataclass(frozen=True, slots=True)
class Compact:
    revision: int

    def carry_out(self, state: State) -> Done[None]:
        if self.revision > state.revision:
            raise ValueError(f"revision {self.revision} is yet to come; the newest is {state.revision}")
        if self.revision > state.compacted:
            state.forget(self.revision)
        return Done(None)


def bound_history(state: State, kept: int) -> None:
    """Forget what lies more than `kept` revisions back, once it is worth the work."""
    if state.revision - state.compacted >= kept + min(kept, COMPACTED_AT_ONCE):
        state.forget(state.revision - kept)
