"""What has to be done so that this machine holds what is wanted: values in, steps out.

Each step says why. Any prefix of a plan may be carried out and the rest lost: planning again from what
is then there leads to the same end. The rules are fleet's:

    wanted     held                     steps
    ───────    ─────────────────────    ────────────────────────────────────────────────────────────
    nothing    something                stop, disable, reset-failed, delete, reload, forget
    a unit     nothing                  place, (reload), (enable), settle, (launch)
    a unit     another text             stop … delete, then place … as above, without forgetting
    a unit     half placed              place again, reload, …
    loaded     the unit, launched       stop
    paused     the unit, launched       stop: it is fenced, and no server has answered for too long
    launched   the unit, not launched   launch: once for each time it was asked for, boot and text

A unit that fails after it was launched is left to its own Restart=.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.fleet.agent.fence_drop_in import fence_drop_in
from skerry.fleet.state.unit import DesiredState, UnitRecord
from skerry.host.units.name import parse_name
from skerry.host.units.place import Placement, placement
from skerry.host.units.placed import Marker, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping


class Verb(enum.StrEnum):
    STOP = "stop"
    DISABLE = "disable"
    RESET = "reset-failed"
    DELETE = "delete"
    RELOAD = "reload"
    FORGET = "forget"
    PLACE = "place"
    ENABLE = "enable"
    SETTLE = "settle"
    LAUNCH = "launch"
    RELOAD_LATER = "reload later"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A unit that this machine is to hold, loaded or launched, with all that is needed to place it.

    `fenced`: it must be dead here before it may run elsewhere. `paused`: so it must not run here now.
    """

    name: str
    identity: str
    hash: str
    launched: bool
    launch: int
    placement: Placement
    fenced: bool = False
    paused: bool = False

    @property
    def service(self) -> str:
        return self.placement.service


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do for one unit, and the reason. `wanted` is None where the unit goes."""

    verb: Verb
    name: str
    why: str
    wanted: Wanted | None = None

    def __str__(self) -> str:
        return f"{self.verb} {self.name}: {self.why}"


def wanted_of(record: UnitRecord, *, fenced: bool = False) -> Wanted | None:
    """What a record wants of a machine, None for nothing. Raises UnitNameError, UnitFileError."""
    name = parse_name(record.name)
    if record.desired is DesiredState.INACTIVE or name.is_template:
        return None
    drop_ins = [(a.name, a.text) for a in record.drop_ins]
    if fenced:
        drop_ins.append(fence_drop_in(name, record.text))
    return Wanted(
        name=record.name,
        identity=record.identity,
        hash=record.hash,
        launched=record.desired is DesiredState.LAUNCHED,
        launch=record.launch,
        placement=placement(
            name,
            record.text,
            drop_ins,
            [(a.name, a.text) for a in record.files],
        ),
        fenced=fenced,
    )


def plan(wanted: Mapping[str, Wanted], held: Mapping[str, Marker]) -> tuple[Step, ...]:
    """The steps for every unit, those that only take away first; within a unit the order counts."""
    going = sorted(held.keys() - wanted.keys())
    return tuple(
        step for name in (*going, *sorted(wanted)) for step in plan_unit(wanted.get(name), held.get(name))
    )


def plan_unit(wanted: Wanted | None, held: Marker | None) -> tuple[Step, ...]:
    """The steps for one unit; none where all is as it should be."""
    if wanted is None:
        return () if held is None else _remove(held)
    if held is None:
        return _place(wanted, "it is not here yet", reload=False)
    if held.identity != wanted.identity or held.service != wanted.service:
        return (
            *_unload(wanted, held, "its text has changed"),
            *_place(wanted, "its text has changed", reload=True),
        )
    if held.stage is Stage.REMOVING:
        why = "its removal was interrupted and it is wanted again"
        return (*_unload(wanted, held, why), *_place(wanted, why, reload=True))
    if held.stage is Stage.PLACING:
        return _place(wanted, "it was not placed completely", reload=True, held=held)
    if held.fenced != wanted.fenced:
        why = "it is fenced from now on" if wanted.fenced else "it need not be fenced any more"
        return _place(wanted, why, reload=True, held=held)
    return _run(wanted, held)


def current_state(held: Marker | None) -> DesiredState:
    """What has been brought about on this machine, in fleet's words."""
    if held is None or held.stage is not Stage.LOADED:
        return DesiredState.INACTIVE
    return DesiredState.LAUNCHED if held.launch is not None and held.launched else DesiredState.LOADED


def _remove(held: Marker) -> tuple[Step, ...]:
    why = "it is not wanted here"
    return (
        *_unload(None, held, why),
        Step(Verb.RELOAD, held.name, "systemd is to forget it"),
        Step(Verb.FORGET, held.name, "nothing of it is left"),
    )


def _unload(wanted: Wanted | None, held: Marker, why: str) -> tuple[Step, ...]:
    disable = (Step(Verb.DISABLE, held.name, why, wanted),) if held.enabled else ()
    return (
        Step(Verb.STOP, held.name, why, wanted),
        *disable,
        Step(Verb.RESET, held.name, why, wanted),
        Step(Verb.DELETE, held.name, why, wanted),
    )


def _place(wanted: Wanted, why: str, *, reload: bool, held: Marker | None = None) -> tuple[Step, ...]:
    steps = [Step(Verb.PLACE, wanted.name, why, wanted)]
    if wanted.placement.name.is_quadlet:
        steps.append(Step(Verb.RELOAD, wanted.name, "Podman is to make its service", wanted))
    elif reload:
        steps.append(Step(Verb.RELOAD, wanted.name, "systemd may know an earlier text", wanted))
    if wanted.placement.installs:
        steps.append(Step(Verb.ENABLE, wanted.name, "it has an [Install] section", wanted))
    steps.append(Step(Verb.SETTLE, wanted.name, "it is placed", wanted))
    steps.extend(_run(wanted, held))
    if wanted.placement.installs:
        why = "other units may have to know of its [Install] section"
        steps.append(Step(Verb.RELOAD_LATER, wanted.name, why, wanted))
    return tuple(steps)


def _run(wanted: Wanted, held: Marker | None) -> tuple[Step, ...]:
    """The steps from placed to loaded or launched; `held` None means that it was never launched."""
    if not wanted.launched:
        if held is None or held.launch is None:
            return ()
        return (Step(Verb.STOP, wanted.name, "it is to be loaded only", wanted),)
    if wanted.paused:
        if held is None or held.launch is None:
            return ()
        return (Step(Verb.STOP, wanted.name, "no server has answered for too long", wanted),)
    if held is None or held.launch is None:
        return (Step(Verb.LAUNCH, wanted.name, "it is to be launched", wanted),)
    if held.launch != wanted.launch:
        why = "it was stopped and launched anew"
        return (Step(Verb.STOP, wanted.name, why, wanted), Step(Verb.LAUNCH, wanted.name, why, wanted))
    if not held.launched:
        return (Step(Verb.LAUNCH, wanted.name, "its launch was interrupted", wanted),)
    return ()
