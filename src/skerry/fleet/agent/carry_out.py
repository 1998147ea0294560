"""The only place of the agent that touches the machine: one step at a time, each safe to repeat.

Reloads are the expensive step, so they are shared: units that need one at the same time, or while
another is under way, wait for a single one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from skerry.fleet.agent.plan import Step, Verb, Wanted
from skerry.host.units.errors import NoSuchUnitError, UnitError
from skerry.host.units.placed import Marker, PlacedUnits, Stage
from skerry.host.units.quadlet import companions_of
from skerry.host.units.unit_file import parse_unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from skerry.host.units.interface import ServiceManager
    from skerry.kit.clock import Clock

LATER_S = 2.0
"""How long a reload that nobody waits for may wait for others."""


class Reloads:
    """Shares reloads. `run` works them off, inside a task group, until it is cancelled."""

    def __init__(self, services: ServiceManager, clock: Clock) -> None:
        self._services = services
        self._clock = clock
        self._asked = asyncio.Event()
        self._later = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []

    async def now(self) -> None:
        """Return after a reload that began after this was called. Raises ServiceManagerError."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._asked.set()
        await waiting

    def later(self) -> None:
        """See to it that a reload happens within a few seconds."""
        self._later.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._run_now())
            group.create_task(self._run_later())

    async def _run_now(self) -> None:
        while True:
            await self._asked.wait()
            await asyncio.sleep(0)  # whoever is about to ask in this round of the loop shares it
            self._asked.clear()
            self._later.clear()
            waiting, self._waiting = self._waiting, []
            try:
                await self._services.reload()
            except UnitError as error:
                for future in waiting:
                    if not future.done():
                        future.set_exception(error)
            else:
                for future in waiting:
                    if not future.done():
                        future.set_result(None)

    async def _run_later(self) -> None:
        while True:
            await self._later.wait()
            await self._clock.sleep(LATER_S)
            if self._later.is_set():
                self._later.clear()
                self._waiting.append(_nobody())
                self._asked.set()


def _nobody() -> asyncio.Future[None]:
    """A place in the queue for a reload that no one waits for."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda done: done.exception())
    return future


class CarryOut:
    """Carries out steps and keeps the markers, on disk and in `held`, in step with them.

    `on_held` is called whenever what is held of a unit has changed, with the unit's name.
    """

    def __init__(
        self,
        placed: PlacedUnits,
        services: ServiceManager,
        reloads: Reloads,
        held: dict[str, Marker],
        on_held: Callable[[str], None],
    ) -> None:
        self._placed = placed
        self._services = services
        self._reloads = reloads
        self._held = held
        self._on_held = on_held

    async def __call__(self, step: Step) -> None:
        """Do one step. Raises UnitError; what was done by then is kept."""
        match step.verb:
            case Verb.RELOAD:
                await self._reloads.now()
            case Verb.RELOAD_LATER:
                self._reloads.later()
            case Verb.PLACE | Verb.ENABLE | Verb.SETTLE | Verb.LAUNCH:
                if step.wanted is not None:
                    await self._bring(step.verb, step.wanted)
            case _:
                await self._take(step.verb, self._held[step.name])

    async def _bring(self, verb: Verb, wanted: Wanted) -> None:
        match verb:
            case Verb.PLACE:
                before = self._held.get(wanted.name)
                marker = _marker(wanted)
                if before is not None and before.identity == wanted.identity:
                    # Placed again: what was launched has been launched, enabled is to be disabled.
                    marker = marker.replace(
                        launch=before.launch, launched=before.launched, enabled=before.enabled
                    )
                try:
                    self._placed.place(wanted.placement, marker)
                finally:  # what could be written has been, and is to be known
                    self._reread(wanted.name)
            case Verb.ENABLE:
                self._keep(self._held[wanted.name].replace(enabled=True))
                await self._services.enable(wanted.service)
            case Verb.SETTLE:
                self._keep(self._held[wanted.name].replace(stage=Stage.LOADED))
            case _:
                await self._launch(wanted)

    async def _launch(self, wanted: Wanted) -> None:
        self._keep(self._held[wanted.name].replace(launch=wanted.launch, launched=False))
        try:
            await self._services.start(wanted.service)
        except NoSuchUnitError as error:
            if wanted.service not in error.message:
                raise  # it is another that lacks, one that this requires
            if wanted.placement.name.is_quadlet:
                raise NoSuchUnitError(
                    f"Podman's generator made no {wanted.service} of {wanted.name}",
                    hint=_what_may_lack(wanted),
                ) from error
            # systemd looks for new files by the times of their directories, which have a coarse grain.
            await self._reloads.now()
            await self._services.start(wanted.service)
        self._keep(self._held[wanted.name].replace(launched=True))

    async def _take(self, verb: Verb, held: Marker) -> None:
        match verb:
            case Verb.STOP:
                await self._services.stop(held.service)
                self._keep(held.replace(launch=None, launched=False))
            case Verb.DISABLE:
                await self._services.disable(held.service)
                self._keep(held.replace(enabled=False))
            case Verb.RESET:
                await self._services.reset_failed(held.service)
            case Verb.DELETE:
                going = held.replace(stage=Stage.REMOVING)
                self._placed.delete(going)
                self._hold(going)
            case _:
                self._placed.forget(held.name)
                del self._held[held.name]
                self._on_held(held.name)

    def _reread(self, name: str) -> None:
        marker = self._placed.read_one(name)
        if marker is not None:
            self._hold(marker)

    def _keep(self, marker: Marker) -> None:
        self._placed.write_marker(marker)
        self._hold(marker)

    def _hold(self, marker: Marker) -> None:
        self._held[marker.name] = marker
        self._on_held(marker.name)


def _what_may_lack(wanted: Wanted) -> str:
    companions = companions_of(parse_unit(wanted.placement.files[0].text, wanted.name))
    if not companions:
        return f"`skerry unit verify {wanted.name}` shows why"
    return f"it needs {', '.join(companions)} loaded beside it"


def _marker(wanted: Wanted) -> Marker:
    return Marker(
        name=wanted.name,
        service=wanted.service,
        identity=wanted.identity,
        hash=wanted.hash,
        stage=Stage.PLACING,
        paths=tuple(str(file.path) for file in wanted.placement.files),
        fenced=wanted.fenced,
    )
