"""The plan of a machine: the right steps for each case, and the same end from every interruption."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.service_manager import FakeServices
from skerry.fleet.agent.carry_out import CarryOut, Reloads
from skerry.fleet.agent.plan import Step, Verb, Wanted, current_state, plan, plan_unit, wanted_of
from skerry.fleet.state.unit import Attachment, DesiredState, UnitRecord
from skerry.host.units.placed import Marker, PlacedUnits, Stage
from skerry.host.units.unit_file import parse_unit, unit_hash
from skerry.kit.clock import SystemClock

SERVICE = "[Service]\nExecStart=/bin/sleep {}\n"
INSTALLED = SERVICE + "[Install]\nWantedBy=multi-user.target\n"
QUADLET = "[Container]\nImage=example/{}\n"


def record(
    name: str = "web.service",
    text: str = SERVICE,
    desired: DesiredState = DesiredState.LAUNCHED,
    *,
    edition: int = 1,
    launch: int = 1,
    drop_ins: tuple[Attachment, ...] = (),
) -> UnitRecord:
    body = text.format(edition)
    digest = unit_hash(parse_unit(body))
    return UnitRecord(name, body, digest, desired, launch=launch, drop_ins=drop_ins)


def wanted(**more: object) -> Wanted | None:
    return wanted_of(record(**more))


def fenced(*, paused: bool = False) -> Wanted:
    w = wanted_of(record(), fenced=True)
    assert w is not None
    return replace(w, paused=paused)


def held(w: Wanted | None, stage: Stage = Stage.LOADED, **more: object) -> Marker:
    assert w is not None
    paths = tuple(str(f.path) for f in w.placement.files)
    return Marker(w.name, w.service, w.identity, w.hash, stage, paths, fenced=w.fenced).replace(**more)


def verbs(steps: tuple[Step, ...]) -> str:
    return " ".join(step.verb.name for step in steps)


@pytest.mark.parametrize(
    ("is_wanted", "is_held", "expected"),
    [
        (None, None, ""),
        (wanted(), None, "PLACE SETTLE LAUNCH"),
        (wanted(desired=DesiredState.LOADED), None, "PLACE SETTLE"),
        (wanted(text=INSTALLED), None, "PLACE ENABLE SETTLE LAUNCH RELOAD_LATER"),
        (wanted(name="w.container", text=QUADLET), None, "PLACE RELOAD SETTLE LAUNCH"),
        (wanted(), held(wanted()), "LAUNCH"),
        (wanted(), held(wanted(), launch=1, launched=True), ""),
        (wanted(), held(wanted(), launch=1), "LAUNCH"),
        (wanted(launch=2), held(wanted(), launch=1, launched=True), "STOP LAUNCH"),
        (wanted(desired=DesiredState.LOADED), held(wanted(), launch=1, launched=True), "STOP"),
        (wanted(desired=DesiredState.LOADED), held(wanted(), launch=1), "STOP"),
        (wanted(desired=DesiredState.LOADED), held(wanted()), ""),
        (None, held(wanted(), launch=1, launched=True), "STOP RESET DELETE RELOAD FORGET"),
        (None, held(wanted(), enabled=True), "STOP DISABLE RESET DELETE RELOAD FORGET"),
        (None, held(wanted(), Stage.REMOVING), "STOP RESET DELETE RELOAD FORGET"),
        (
            wanted(edition=2),
            held(wanted(), launch=1, launched=True),
            "STOP RESET DELETE PLACE RELOAD SETTLE LAUNCH",
        ),
        (wanted(), held(wanted(), Stage.PLACING), "PLACE RELOAD SETTLE LAUNCH"),
        (wanted(), held(wanted(), Stage.PLACING, launch=1, launched=True), "PLACE RELOAD SETTLE"),
        (wanted(), held(wanted(), Stage.REMOVING), "STOP RESET DELETE PLACE RELOAD SETTLE LAUNCH"),
        (
            wanted(drop_ins=(Attachment("10-a.conf", "[Service]\nNice=1\n"),)),
            held(wanted(), launch=1, launched=True),
            "STOP RESET DELETE PLACE RELOAD SETTLE LAUNCH",
        ),
        (fenced(), None, "PLACE SETTLE LAUNCH"),
        (fenced(paused=True), None, "PLACE SETTLE"),
        (fenced(paused=True), held(fenced(), launch=1, launched=True), "STOP"),
        (fenced(paused=True), held(fenced()), ""),
        (fenced(), held(fenced()), "LAUNCH"),
        (fenced(), held(wanted(), launch=1, launched=True), "PLACE RELOAD SETTLE"),
        (wanted(), held(fenced(), launch=1, launched=True), "PLACE RELOAD SETTLE"),
        (fenced(paused=True), held(wanted(), launch=1, launched=True), "PLACE RELOAD SETTLE STOP"),
    ],
)
def test_steps(is_wanted: Wanted | None, is_held: Marker | None, expected: str) -> None:
    assert verbs(plan_unit(is_wanted, is_held)) == expected


def test_every_step_says_why() -> None:
    steps = plan(
        {"web.service": wanted(edition=2)}, {"web.service": held(wanted()), "old.service": held(wanted())}
    )
    assert all(step.why for step in steps)


def test_removals_come_first() -> None:
    steps = plan({"a.service": wanted(name="a.service")}, {"z.service": held(wanted(name="z.service"))})
    assert next(step.name for step in steps) == "z.service"


@pytest.mark.parametrize(
    "r",
    [
        record(desired=DesiredState.INACTIVE),
        record(name="web@.service"),
        record(name="w@.container", text=QUADLET),
    ],
)
def test_inactive_units_and_templates_are_not_wanted_on_a_machine(r: UnitRecord) -> None:
    assert wanted_of(r) is None


@pytest.mark.parametrize(
    ("marker", "state"),
    [
        (None, DesiredState.INACTIVE),
        (held(wanted(), Stage.PLACING), DesiredState.INACTIVE),
        (held(wanted()), DesiredState.LOADED),
        (held(wanted(), launch=1), DesiredState.LOADED),
        (held(wanted(), launch=1, launched=True), DesiredState.LAUNCHED),
    ],
)
def test_current_state(marker: Marker | None, state: DesiredState) -> None:
    assert current_state(marker) is state


class Machine:
    """A fake machine on which plans are carried out, in whole or in part, as by a program that is killed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.services = FakeServices(root)

    async def take_turn(self, units: dict[str, Wanted], at_most: int | None = None) -> int:
        """Plan from what is on disk and carry out the first steps; how many there were to carry out."""
        placed = PlacedUnits(self.root)
        now = placed.read()
        reloads = Reloads(self.services, SystemClock())
        carry_out = CarryOut(placed, self.services, reloads, now, lambda _name: None)
        steps = plan(units, now)
        working = asyncio.ensure_future(reloads.run())
        try:
            for step in steps[:at_most]:
                await carry_out(step)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
        return len(steps)

    def ends_as(self) -> dict[str, object]:
        """Everything that counts at the end: files, markers, links, and what runs with which text."""
        files = {
            str(p.relative_to(self.root)): p.read_text()
            for p in self.root.glob("run/*/system*/**/*")
            if p.is_file()
        }
        markers = PlacedUnits(self.root).read()
        services = sorted({m.service for m in markers.values()} | {"web.service", "w.service"})
        runs = {name: self.services.running_text(name) for name in services}
        return {"files": files, "markers": markers, "enabled": set(self.services.enabled), "runs": runs}


states = st.sampled_from(list(DesiredState))
records = st.one_of(
    st.none(),
    st.builds(
        lambda desired, edition, launch, installed: record(
            text=INSTALLED if installed else SERVICE, desired=desired, edition=edition, launch=launch
        ),
        states,
        st.integers(1, 2),
        st.integers(1, 2),
        st.booleans(),
    ),
)
quadlets = st.one_of(
    st.none(),
    st.builds(
        lambda desired, edition: record("w.container", QUADLET, desired, edition=edition),
        states,
        st.integers(1, 2),
    ),
)
fences = st.sampled_from([(False, False), (True, False), (True, True)])
worlds = st.builds(
    lambda fence, *rs: {
        r.name: replace(w, paused=fence[1])
        for r in rs
        if r is not None and (w := wanted_of(r, fenced=fence[0])) is not None
    },
    fences,
    records,
    quadlets,
)


@settings(max_examples=40, deadline=None)
@given(before=worlds, after=worlds)
def test_every_prefix_of_a_plan_leads_to_the_same_end(
    before: dict[str, Wanted], after: dict[str, Wanted]
) -> None:
    async def scenario(cut: int | None) -> tuple[int, dict[str, object]]:
        with tempfile.TemporaryDirectory() as folder:
            machine = Machine(Path(folder))
            await machine.take_turn(before)
            steps = await machine.take_turn(after, at_most=cut)
            await machine.take_turn(after)
            assert await machine.take_turn(after) == 0
            return steps, machine.ends_as()

    steps, whole = asyncio.run(scenario(None))
    for cut in range(steps):
        assert asyncio.run(scenario(cut))[1] == whole


def test_launched_units_run_with_the_text_that_is_wanted(tmp_path: Path) -> None:
    async def scenario() -> Machine:
        machine = Machine(tmp_path)
        for edition in (1, 2):
            w = wanted(edition=edition)
            assert w is not None
            await machine.take_turn({w.name: w})
        return machine

    machine = asyncio.run(scenario())
    assert machine.services.running_text("web.service") == SERVICE.format(2)


def test_a_verb_reads_as_a_word() -> None:
    assert str(Step(Verb.RESET, "a.service", "because")) == "reset-failed a.service: because"
