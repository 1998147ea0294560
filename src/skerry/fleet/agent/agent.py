"""A node's share: makes this machine's systemd agree with what the servers assigned to it, and reports.

    Source ─ Assigned ─────┐
                           ├─ plan ─ steps ─→ CarryOut ─→ files, systemd
    markers on disk ─ held ┘                                   │
    Source ←─ Reporter ←─────── states, by systemd's signals ──┘
    Source ←─ Heart ─→ Fence ─→ until when fenced units may run

Units are worked on side by side, each by one task at a time, so that one that takes minutes to stop
holds up no other. Work on a unit goes on until its plan is empty. What fails is reported with its
reason and tried again when something else has changed, and every half minute.

Invariant: what runs is touched only because an assignment asks for it. Loss of the servers, a restart of this
program, or of systemd, stops and starts nothing; but what is fenced is stopped when no server answers. What
is assigned no longer goes before anything else is started, and only by a server's word, not by memory.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING

from skerry.fleet.agent.assigned import Assigned
from skerry.fleet.agent.carry_out import CarryOut, Reloads
from skerry.fleet.agent.fence import Fence
from skerry.fleet.agent.fence_drop_in import LEASE_SERVICE
from skerry.fleet.agent.heart import Heart
from skerry.fleet.agent.plan import Verb, Wanted, current_state, plan_unit
from skerry.fleet.agent.report import Reporter, Unknown
from skerry.fleet.state.node import Facts
from skerry.fleet.state.unit import UnitReport
from skerry.host.units.errors import UnitError
from skerry.host.units.placed import Marker, PlacedUnits, Stage
from skerry.kit.reconcile import reconcile

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from skerry.fleet.agent.kept import Kept
    from skerry.fleet.agent.source import Source
    from skerry.host.units.interface import ServiceManager, UnitState
    from skerry.kit.clock import Clock

EVERY_S = 30.0

log = logging.getLogger(__name__)


def uptime() -> float:
    """Seconds since the machine started, those that it slept included; /proc/uptime says the same."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Agent:
    """See the module. `root` is "/" on a machine; `run` goes on until it is cancelled.

    `kept` is None where the servers are in this very process, and need not be remembered.
    """

    def __init__(
        self,
        source: Source,
        services: ServiceManager,
        root: Path,
        clock: Clock,
        node_id: str,
        *,
        kept: Kept | None = None,
        boot: str = "",
        facts: Callable[[], Facts] = Facts,
        uptime: Callable[[], float] = uptime,
        chance: random.Random | None = None,
    ) -> None:
        self._source = source
        self._services = services
        self._node = node_id
        self._clock = clock
        self._chance = chance
        self._placed = PlacedUnits(root)
        self._held: dict[str, Marker] = {}
        self._followed: dict[str, str] = {}  # unit by the service that systemd runs for it
        self._states: dict[str, UnitState] = {}  # by unit
        self._problems: dict[str, str] = {}
        self._due: set[str] = set()
        self._busy: set[str] = set()
        self._first: set[str] = set()  # what is to go before anything is started
        self._lapsed: set[str] = set()  # fenced units that are to be stopped before they may run again
        self._fulls_at_lapse = 0
        self._fulls = 0
        self._leased = False  # the service that fenced units depend on has been seen to run
        self._moved = False
        self._met = False
        self._wake = asyncio.Event()
        self._changes = services.changes(frozenset())
        self._reloads = Reloads(services, clock)
        self._assigned = Assigned(source, kept, clock, self._wanted_changed)
        self._reporter = Reporter(source, clock, self._names, self._report, self._claimed)
        self._fence = Fence(root, clock, uptime, self._lease_ended, self._contact)
        self._heart = Heart(source, self._fence, clock, boot, facts, chance)
        self._carry_out = CarryOut(self._placed, services, self._reloads, self._held, self._held_changed)

    async def run(self) -> None:
        """Observe, plan and carry out until cancelled."""
        self._held.update(self._placed.read())
        for name in self._held:
            self._held_changed(name)
            self._reporter.changed(name)
        if not self._fence.holds:
            self._lease_ended()
        async with asyncio.TaskGroup() as group:

            async def turn() -> None:
                self._turn(group)

            group.create_task(self._assigned.follow(), name="assignments")
            group.create_task(self._follow_states(), name="states of units")
            group.create_task(self._reloads.run(), name="reloads")
            group.create_task(self._reporter.run(), name="reports")
            group.create_task(self._fence.run(), name="lease")
            group.create_task(self._heart.run(), name="heartbeats")
            await reconcile(turn, self._wake, every_s=EVERY_S, clock=self._clock, chance=self._chance)

    async def leave(self) -> None:
        """For a machine that shuts down: stop what is fenced, then say goodbye. Raises SkerryError."""
        fenced = [held.service for held in self._held.values() if held.fenced and held.launch is not None]
        ended = await asyncio.gather(*map(self._services.stop, fenced), return_exceptions=True)
        for failure in ended:
            if failure is not None:
                raise failure  # what is not known to have stopped may not be run elsewhere yet
        await self._source.goodbye()

    def _turn(self, group: asyncio.TaskGroup) -> None:
        """Put every unit that is due to work, and those that failed once others have moved."""
        if not self._assigned.known:
            return
        if not self._busy:
            self._due.update(self._problems)
        for name in sorted(self._due & self._first if self._first else self._due):
            if name in self._busy:
                continue
            self._due.discard(name)
            self._busy.add(name)
            group.create_task(self._work(name), name=f"unit {name}")

    async def _work(self, name: str) -> None:
        """Bring one unit to where it is wanted; afterwards it has no plan, or a problem."""
        done: list[str] = []
        why = ""
        try:
            while name not in self._assigned.unreadable:
                wanted = self._wanted(name)
                if wanted is None and not self._assigned.certain:
                    break
                steps = plan_unit(wanted, self._held.get(name))
                if wanted is not None and wanted.fenced:
                    if steps and steps[0].verb is Verb.PLACE and self._fence.holds:
                        await self._services.start(LEASE_SERVICE)
                    if not self._may_launch(name):
                        steps = tuple(takewhile(lambda step: step.verb is not Verb.LAUNCH, steps))
                if not steps:
                    break
                why = why or steps[0].why
                for step in steps:
                    await self._carry_out(step)
                    if step.verb in _TOLD:
                        done.append(_TOLD[step.verb])
            problem = self._assigned.unreadable.get(name)
        except UnitError as error:
            problem = error.message if error.hint is None else f"{error.message} ({error.hint})"
        finally:
            self._busy.discard(name)
        if done:
            log.info("%s %s: %s", name, " and ".join(dict.fromkeys(done)), why)
        self._settled(name, problem, moved=bool(done))

    def _settled(self, name: str, problem: str | None, *, moved: bool) -> None:
        if problem is None:
            self._problems.pop(name, None)
        elif self._problems.get(name) != problem:
            log.warning("%s: %s", name, problem)
            self._problems[name] = problem
        self._reporter.changed(name)
        self._moved |= moved and problem is None
        if name in self._first:
            self._first.discard(name)  # also where it failed: the others have waited long enough
            if not self._first:
                self._wake.set()
        if name in self._due:
            self._wake.set()
        elif not self._busy and self._moved:
            self._moved = False
            if self._problems:
                self._wake.set()

    def _wanted(self, name: str) -> Wanted | None:
        wanted = self._assigned.wanted.get(name)
        if wanted is None or not wanted.fenced:
            return wanted
        held = self._held.get(name)
        if name in self._lapsed and (held is None or held.launch is None):
            self._lapsed.discard(name)
        paused = name in self._lapsed or not self._fence.holds
        return replace(wanted, paused=True) if paused else wanted

    def _may_launch(self, name: str) -> bool:
        """Whether a fenced unit may be started: by a lease, on news as new as that, with a claim taken."""
        return (
            self._fence.holds
            and self._assigned.fulls > self._fulls_at_lapse
            and self._assigned.revision >= self._fence.revision
            and self._reporter.told(name)
        )

    def _wanted_changed(self, names: Iterable[str]) -> None:
        self._due.update(names)
        if not self._met:
            self._due.update(self._held)  # what is held may be wanted no longer
            self._met = True
        if self._assigned.fulls > self._fulls:
            self._fulls = self._assigned.fulls
            self._due.update(self._held)
            self._first.update(
                name
                for name in self._held
                if name not in self._assigned.wanted and name not in self._assigned.unreadable
            )
            self._reporter.everything()
        self._reporter.changed(*names)
        self._contact()

    def _fenced(self) -> set[str]:
        held = {name for name, marker in self._held.items() if marker.fenced}
        return held | {name for name, wanted in self._assigned.wanted.items() if wanted.fenced}

    def _contact(self) -> None:
        """Something that fenced units may have waited for is there."""
        fenced = self._fenced()
        if fenced and not self._fence.needed:
            self._changes.add(LEASE_SERVICE)
        self._fence.need(needed=bool(fenced))
        if self._fence.holds:
            self._due.update(
                name for name in fenced if name in self._lapsed or self._held_launch(name) is None
            )
        self._wake.set()

    def _held_launch(self, name: str) -> int | None:
        held = self._held.get(name)
        return None if held is None else held.launch

    def _lease_ended(self) -> None:
        """systemd stops what is fenced, and so do we; it runs again only on a server's new word.

        That word is asked for: the stream may well come from a server that was there all the time.
        """
        if self._fenced():
            self._fulls_at_lapse = self._assigned.fulls
            self._assigned.ask_anew()
        lapsed = {name for name, held in self._held.items() if held.fenced and held.launch is not None}
        self._lapsed |= lapsed
        self._due |= lapsed
        self._wake.set()

    def _lease_service_is(self, state: UnitState) -> None:
        if state.active == "active":
            self._leased = True
        elif self._leased and state.active in ("inactive", "failed"):
            self._leased = False
            if self._fence.holds:  # somebody ended it, and with it what depends on it
                self._lapsed |= {n for n in self._fenced() if self._held_launch(n) is not None}
                self._due |= self._lapsed
                self._wake.set()

    def _claimed(self, names: Iterable[str]) -> None:
        waiting = {n for n in names if n in self._assigned.wanted and self._assigned.wanted[n].fenced}
        waiting = {name for name in waiting if self._held_launch(name) is None}
        if waiting:
            self._due |= waiting
            self._wake.set()

    def _names(self) -> set[str]:
        return self._held.keys() | self._problems.keys()

    def _held_changed(self, name: str) -> None:
        """Follow the states of what is placed, from when systemd is sure to see the right file."""
        held = self._held.get(name)
        if held is None or held.stage is not Stage.LOADED:
            for service in [s for s in self._followed if self._followed[s] == name]:
                if held is None or held.service != service or held.stage is Stage.PLACING:
                    self._changes.discard(service)
                    del self._followed[service]
            if held is None:
                self._states.pop(name, None)
        elif held.service not in self._followed:
            self._followed[held.service] = name
            self._changes.add(held.service)

    async def _follow_states(self) -> None:
        async with aclosing(self._changes) as changes:
            async for state in changes:
                if state.name == LEASE_SERVICE:
                    self._lease_service_is(state)
                name = self._followed.get(state.name)
                if name is not None:
                    self._states[name] = state
                    self._reporter.changed(name)

    def _report(self, name: str) -> UnitReport | Unknown | None:
        held = self._held.get(name)
        problem = self._problems.get(name)
        if held is None and problem is None:
            return None
        state = self._states.get(name)
        if state is None and held is not None and held.stage is Stage.LOADED:
            return Unknown.YET
        record = self._assigned.record(name)
        return UnitReport(
            name=name,
            node=self._node,
            hash=held.hash if held is not None else record.hash if record is not None else "",
            current=current_state(held),
            unit=name if held is None else held.service,
            load=state.load if state else "not-found",
            active=state.active if state else "inactive",
            sub=state.sub if state else "dead",
            result=state.result if state else "",
            problem=problem,
            identity=held.identity if held is not None else record.identity if record is not None else "",
            launch=(held.launch or 0) if held is not None else 0,
        )


_TOLD = {
    Verb.STOP: "stopped",
    Verb.FORGET: "removed",
    Verb.SETTLE: "placed",
    Verb.LAUNCH: "launched",
}
