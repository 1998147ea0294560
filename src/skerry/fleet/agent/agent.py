"""A node's share: makes this machine's systemd agree with the units in the store, and reports.

    store ─watch→ Desired ─┐
                           ├─ plan ─ steps ─→ CarryOut ─→ files, systemd
    markers on disk ─ held ┘                                   │
    store ←─ Reporter ←──────── states, by systemd's signals ──┘

Units are worked on side by side, each by one task at a time, so that one that takes minutes to stop
holds up no other. Work on a unit goes on until its plan is empty. What fails is reported with its
reason and tried again when something else has changed, and every half minute.

Invariant: what runs is touched only because a record asks for it. Loss of the store, a restart of this
program, or of systemd, stops and starts nothing.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING

from skerry.fleet.agent.carry_out import CarryOut, Reloads
from skerry.fleet.agent.observe import Desired
from skerry.fleet.agent.plan import Verb, current_state, plan_unit
from skerry.fleet.agent.report import Reporter, Unknown
from skerry.fleet.state.unit import UnitReport
from skerry.host.units.errors import UnitError
from skerry.host.units.placed import Marker, PlacedUnits, Stage
from skerry.kit.reconcile import reconcile

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable
    from pathlib import Path

    from skerry.fleet.store.interface import Store
    from skerry.host.units.interface import ServiceManager, UnitState
    from skerry.kit.clock import Clock

EVERY_S = 30.0

log = logging.getLogger(__name__)


class Agent:
    """See the module. `root` is "/" on a machine; `run` goes on until it is cancelled."""

    def __init__(
        self,
        store: Store,
        services: ServiceManager,
        root: Path,
        clock: Clock,
        node_id: str,
        *,
        chance: random.Random | None = None,
    ) -> None:
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
        self._moved = False
        self._met = False
        self._wake = asyncio.Event()
        self._changes = services.changes(frozenset())
        self._reloads = Reloads(services, clock)
        self._desired = Desired(store, clock, self._wanted_changed)
        self._reporter = Reporter(store, node_id, clock, self._report)
        self._carry_out = CarryOut(self._placed, services, self._reloads, self._held, self._held_changed)

    async def run(self) -> None:
        """Observe, plan and carry out until cancelled."""
        self._held.update(self._placed.read())
        for name in self._held:
            self._held_changed(name)
            self._reporter.changed(name)
        async with asyncio.TaskGroup() as group:

            async def turn() -> None:
                self._turn(group)

            group.create_task(self._desired.follow(), name="wanted units")
            group.create_task(self._follow_states(), name="states of units")
            group.create_task(self._reloads.run(), name="reloads")
            group.create_task(self._reporter.run(), name="reports")
            await reconcile(turn, self._wake, every_s=EVERY_S, clock=self._clock, chance=self._chance)

    def _turn(self, group: asyncio.TaskGroup) -> None:
        """Put every unit that is due to work, and those that failed once others have moved."""
        if not self._desired.known:
            return
        if not self._busy:
            self._due.update(self._problems)
        for name in sorted(self._due - self._busy):
            self._due.discard(name)
            self._busy.add(name)
            group.create_task(self._work(name), name=f"unit {name}")

    async def _work(self, name: str) -> None:
        """Bring one unit to where it is wanted; afterwards it has no plan, or a problem."""
        done: list[str] = []
        why = ""
        try:
            while name not in self._desired.unreadable:
                steps = plan_unit(self._desired.wanted.get(name), self._held.get(name))
                if not steps:
                    break
                why = why or steps[0].why
                for step in steps:
                    await self._carry_out(step)
                    if step.verb in _TOLD:
                        done.append(_TOLD[step.verb])
            problem = self._desired.unreadable.get(name)
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
        if name in self._due:
            self._wake.set()
        elif not self._busy and self._moved:
            self._moved = False
            if self._problems:
                self._wake.set()

    def _wanted_changed(self, names: Iterable[str]) -> None:
        self._due.update(names)
        if not self._met:
            self._due.update(self._held)  # what is held may be wanted no longer
            self._met = True
        self._reporter.changed(*names)
        self._wake.set()

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
        record = self._desired.records.get(name)
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
