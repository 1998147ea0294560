"""Who lives, in the leader's memory and by its monotonic clock: heartbeats in, changes of state out.

Nothing here waits, writes or asks the time. A machine that has not been heard for a TTL is LOST; one that
said goodbye has LEFT at once. A new leader has heard nobody, and gives everyone two TTLs before it says so
of those that were READY; but who is known to have been silent already, as the leader before is, has what is
left of its TTL, and HEARING_S at least. A leader that lost the office, and took it again before anybody else,
goes on with the times that ran, and gives those whom it could not answer meanwhile RESUMING_S at least. A
machine that was lost is taken back after a moment: what was decided because it was lost is written by then. A
second one with the same id is told by another `boot` while the first lives.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING

import msgspec

from skerry.fleet.presence.heartbeat import DEFAULT_TTL_S, Contact, Heartbeat
from skerry.fleet.state.node import Facts, Liveness, PresenceRecord
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Mapping


SETTLE_S = 3.0
HEARING_S = 7.5
RESUMING_S = 10.0
MANY = 20


class DuplicateNodeError(SkerryError):
    """Two machines say that they are the same one."""


class NotYetError(SkerryError):
    """A heartbeat cannot be answered for the moment; the next one will be."""


class Transition(msgspec.Struct, frozen=True):
    """What is to be written about a node."""

    node: str
    record: PresenceRecord


class _Node:
    __slots__ = (
        "boot",
        "deadline",
        "facts",
        "heard",
        "liveness",
        "lost_at",
        "queued",
        "ready_since",
        "revision",
        "since",
        "skew_s",
        "spared",
    )

    def __init__(self, facts: Facts, liveness: Liveness, since: float) -> None:
        self.facts = facts
        self.liveness = liveness
        self.since = since
        self.boot = facts.boot_id
        self.deadline = 0.0
        self.queued = math.inf  # its place in the queue that counts; others are of earlier days
        self.heard: float | None = None
        self.ready_since = 0  # the revision of its becoming READY; 0 while that is not in the store
        self.lost_at = -math.inf
        self.revision = 0  # of its record in the store, as far as is known
        self.skew_s = 0.0
        self.spared = False

    @property
    def record(self) -> PresenceRecord:
        return PresenceRecord(self.facts, self.liveness, self.since)


class LivenessTable:
    """See the module. `at` are moments of one monotonic clock, `now` seconds since 1970."""

    def __init__(self, ttl_s: float = DEFAULT_TTL_S) -> None:
        self.ttl_s = ttl_s
        self._nodes: dict[str, _Node] = {}
        self._queue: list[tuple[float, str]] = []  # one place for each node that is READY, or a late one

    def begin(
        self,
        records: Mapping[str, tuple[PresenceRecord, int]],
        at: float,
        silent: Mapping[str, float] | None = None,
        *,
        resumes: bool = False,
    ) -> None:
        """Start anew from what the store holds, each record with its revision: this server leads from now.

        `silent`: those of whom is known since when they were silent. `resumes`: nobody else has led since
        this table was kept, so nobody was heard, or promised anything, by another.
        """
        deadlines = {name: node.deadline for name, node in self._nodes.items() if resumes}
        self._nodes.clear()
        self._queue.clear()
        for name, (record, revision) in records.items():
            node = self._nodes[name] = _Node(record.facts, record.liveness, record.since)
            node.ready_since = node.revision = revision
            if record.liveness is Liveness.READY:
                deadline = at + 2 * self.ttl_s
                if name in deadlines:
                    deadline = max(deadlines[name], at + RESUMING_S)
                elif silent and name in silent:
                    deadline = max(silent[name] + self.ttl_s, at + HEARING_S)
                self._expect(name, node, deadline)

    def heard(self, name: str, beat: Heartbeat, at: float, now: float) -> Transition | None:
        """Take a heartbeat in; what is to be written before it may be answered.
        Raises DuplicateNodeError, NotYetError.

        A machine that is not known and says nothing of itself is not taken in: see `contact`.
        """
        node = self._nodes.get(name)
        if node is None:
            if beat.facts is None:
                return None
            node = self._nodes[name] = _Node(beat.facts, Liveness.LEFT, now)
        elif self._lives(node, at) and node.boot and node.boot != beat.boot:
            raise DuplicateNodeError(
                f"another machine with the id {name} is in the cluster, and lives",
                hint="one is a copy of the other: give it an id of its own, with "
                "`rm /etc/machine-id /var/lib/skerry/pki -r` and a reboot, and join it anew",
            )
        elif node.liveness is Liveness.LOST and at < node.lost_at + SETTLE_S:
            raise NotYetError(f"{name} was lost a moment ago, and is taken back in {SETTLE_S:g} s")
        node.boot = beat.boot
        node.heard = at
        node.spared = False
        node.skew_s = beat.now - now
        self._expect(name, node, at + self.ttl_s)
        told = beat.facts is None or beat.facts == node.facts
        if node.liveness is Liveness.READY and node.ready_since and told:
            return None
        if node.liveness is not Liveness.READY:
            node.liveness, node.since = Liveness.READY, now
            node.ready_since = 0
        if beat.facts is not None:
            node.facts = beat.facts
        return Transition(name, node.record)

    def goodbye(self, name: str, now: float) -> Transition | None:
        """It leaves by its own will."""
        node = self._nodes.get(name)
        if node is None or node.liveness is Liveness.LEFT:
            return None
        node.liveness, node.since, node.boot, node.heard = Liveness.LEFT, now, "", None
        return Transition(name, node.record)

    def due(self, at: float, now: float) -> list[Transition]:
        """Those whose time is up by now.

        Where that is more than half of very many, the fault is rather here: they get one more TTL.
        """
        silent: list[tuple[str, _Node]] = []
        while self._queue and self._queue[0][0] <= at:
            place, name = heapq.heappop(self._queue)
            node = self._nodes.get(name)
            if node is None or node.queued != place:
                continue
            node.queued = math.inf
            if node.liveness is not Liveness.READY:
                continue
            if node.deadline > at:
                self._expect(name, node, node.deadline)
                continue
            silent.append((name, node))
        ready = sum(node.liveness is Liveness.READY for node in self._nodes.values()) if silent else 0
        lost: list[Transition] = []
        for name, node in silent:
            if not node.spared and len(silent) >= MANY and 2 * len(silent) > ready:
                node.spared = True
                self._expect(name, node, at + self.ttl_s)
                continue
            node.liveness, node.since, node.lost_at = Liveness.LOST, now, at
            lost.append(Transition(name, node.record))
        return lost

    def next_due(self) -> float | None:
        """The moment before which `due` has nothing to say; None where there is nobody to wait for."""
        return self._queue[0][0] if self._queue else None

    def written(self, transition: Transition, revision: int) -> None:
        """The store holds it as of this revision."""
        node = self._nodes.get(transition.node)
        if node is not None:
            node.revision = revision
            if transition.record.liveness is Liveness.READY and node.ready_since == 0:
                node.ready_since = revision

    def failed(self, transition: Transition) -> None:
        """The store did not take it: it is to be said again with the next heartbeat, or the next goodbye.

        Of a machine that is gone by then neither comes: it is lost when its time is up.
        """
        node = self._nodes.get(transition.node)
        if node is None:
            return
        node.ready_since = 0
        if transition.record.liveness is node.liveness is Liveness.LEFT:
            node.liveness = Liveness.READY
            self._expect(transition.node, node, node.deadline)

    def revision(self, name: str) -> int:
        """That of the node's record in the store, as far as is known."""
        node = self._nodes.get(name)
        return 0 if node is None else node.revision

    def seen(self, name: str, revision: int) -> None:
        """The store was found to hold the node's record as of this revision."""
        node = self._nodes.get(name)
        if node is not None:
            node.revision = revision

    def is_lost(self, name: str) -> bool:
        node = self._nodes.get(name)
        return node is not None and node.liveness is Liveness.LOST

    def contact(self, name: str) -> Contact:
        """The answer to a heartbeat that was taken in and written."""
        node = self._nodes.get(name)
        if node is None or node.ready_since == 0:
            return Contact(0, tell=True)
        return Contact(self.ttl_s, node.ready_since)

    def drop(self, name: str) -> None:
        """It was removed from the cluster."""
        self._nodes.pop(name, None)

    def skews_s(self) -> dict[str, float]:
        """By how much the clock of each machine that lives is ahead of ours."""
        return {
            name: node.skew_s
            for name, node in self._nodes.items()
            if node.liveness is Liveness.READY and node.heard is not None
        }

    def _lives(self, node: _Node, at: float) -> bool:
        return node.liveness is Liveness.READY and node.heard is not None and at < node.heard + self.ttl_s

    def _expect(self, name: str, node: _Node, deadline: float) -> None:
        node.deadline = deadline
        if deadline < node.queued:
            node.queued = deadline
            heapq.heappush(self._queue, (deadline, name))
