"""When a unit counts as being where it was to be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fakes.asgi import Api
from skerry.entry.rest.verbs import make_record
from skerry.entry.rest.views import Offer, Verb
from skerry.entry.rest.waiting import judge, outcomes
from skerry.fleet.state.unit import DesiredState, UnitReport, unit_key
from skerry.fleet.store.interface import Put

if TYPE_CHECKING:
    from skerry.entry.rest.views import Outcome

RECORD = make_record("a.service", Offer("a.service", "[Service]\nExecStart=/bin/true\n"))
INACTIVE, LOADED, LAUNCHED = DesiredState.INACTIVE, DesiredState.LOADED, DesiredState.LAUNCHED


def report(
    current: DesiredState,
    active: str = "inactive",
    sub: str = "dead",
    result: str = "",
    problem: str | None = None,
    content: str = RECORD.hash,
) -> UnitReport:
    return UnitReport("a.service", "n", content, current, "a.service", "loaded", active, sub, result, problem)


@pytest.mark.parametrize(
    ("verb", "seen", "done"),
    [
        (Verb.START, report(LOADED), None),
        (Verb.START, report(LAUNCHED, "activating", "start-pre"), None),
        (Verb.START, report(LAUNCHED, "active", "running"), True),
        (Verb.START, report(LAUNCHED, "active", "running", content="old"), None),
        (Verb.START, report(LAUNCHED, "failed", "failed", "exit-code"), False),
        (Verb.START, report(LAUNCHED, "activating", "auto-restart", "exit-code"), False),
        (Verb.START, report(INACTIVE, problem="no such unit"), False),
        (Verb.LOAD, report(LOADED), True),
        (Verb.LOAD, report(INACTIVE), None),
        (Verb.STOP, report(LAUNCHED, "active", "running"), None),
        (Verb.STOP, report(LOADED, "deactivating", "stop-sigterm"), None),
        (Verb.STOP, report(LOADED), True),
        (Verb.STOP, report(LOADED, "failed", "failed", "signal"), True),
        (Verb.UNLOAD, report(LOADED), None),
        (Verb.DESTROY, report(LOADED), None),
    ],
)
def test_judges_by_what_the_node_reports(verb: Verb, seen: UnitReport, done: bool | None) -> None:
    assert judge(verb, RECORD, seen, fresh=True, settled=False)[0] is done


@pytest.mark.parametrize(("result", "done"), [("success", True), ("", True), ("exit-code", False)])
def test_a_unit_that_ran_and_ended_is_believed_when_all_is_quiet(result: str, *, done: bool) -> None:
    ended = report(LAUNCHED, result=result)
    assert judge(Verb.START, RECORD, ended, fresh=True, settled=False)[0] is None
    assert judge(Verb.START, RECORD, ended, fresh=True, settled=True)[0] is done


def test_a_problem_from_before_the_order_is_not_believed_yet() -> None:
    assert judge(Verb.START, RECORD, report(INACTIVE, problem="old"), fresh=False, settled=False)[0] is None


def test_tells_of_every_move_until_all_are_done() -> None:
    async def go() -> list[Outcome]:
        api = Api()
        await api.store.transact([], [Put(unit_key("a.service"), RECORD.encode())])
        api.follow()
        revision = (await api.store.list("")).revision
        steps = outcomes(api.desired, Verb.UNLOAD, ["a.service"], revision)
        return [outcome async for outcome in steps]

    assert [(o.name, o.done) for o in asyncio.run(go())] == [("a.service", True)]


def test_ends_when_the_last_unit_moves() -> None:
    async def go() -> list[bool | None]:
        api = Api()
        await api.store.transact([], [Put(unit_key("a.service"), RECORD.encode())])
        await api.place("a.service")
        await api.report("a.service", LAUNCHED)
        api.follow()
        told: list[bool | None] = []
        async for outcome in outcomes(api.desired, Verb.STOP, ["a.service"], 1):
            told.append(outcome.done)
            if outcome.done is None:
                await api.report("a.service", LOADED, active="inactive", sub="dead", content=RECORD.hash)
        return told

    assert asyncio.run(go()) == [None, True]
