"""Waits until units are in the state that was asked for, by the store's events and without polling.

`judge` decides on one report, `stand` on a unit over all its machines, both purely; `outcomes` follows the
mirror. A unit that ran and ended before systemd could tell of it looks like one that was not begun: such a
one is believed when nothing more is heard for `Desired.settle_s`. A Global unit is done when it is so on
every machine that it belongs on; machines that say nothing of it for long are not waited for.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from skerry.entry.rest.views import Outcome, Verb
from skerry.fleet.state.unit import DesiredState, UnitReport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    from skerry.entry.rest.desired import Desired
    from skerry.entry.rest.mirror import Known
    from skerry.entry.rest.shown import Shown
    from skerry.fleet.state.unit import UnitRecord

    Pending = Callable[[str], Awaitable[str]]

PATIENCE = 4  # so many quiet turns of Desired.settle_s, then who has said nothing is not waited for
_RUNNING = frozenset({"active", "reloading", "refreshing"})
_FINE = (True, "")


async def outcomes(
    desired: Desired,
    verb: Verb,
    names: Iterable[str],
    revision: int,
    *,
    pending: Pending | None = None,
) -> AsyncGenerator[Outcome, None]:
    """Tell of each unit whenever it moves, until every one is done. `revision` is that of the order.

    `pending` says why a unit is on no machine, "" where that is only a matter of time.
    """
    open_names = list(dict.fromkeys(names))
    told: dict[str, Outcome] = {}
    quiet = 0
    with desired.mirror.interest(open_names) as moved:
        await desired.mirror.reached(revision)
        while True:
            moved.clear()
            shown = desired.shown()
            for name in list(open_names):
                outcome = stand(verb, shown, name, revision, quiet)
                if outcome.done is None and quiet == PATIENCE and pending and _is_unplaced(shown, name, verb):
                    why = await pending(name)
                    if why:
                        outcome = msgspec.structs.replace(outcome, done=False, said=why)
                if outcome != told.get(name):
                    told[name] = outcome
                    yield outcome
                if outcome.done is not None:
                    open_names.remove(name)
            if not open_names:
                return
            try:
                await asyncio.wait_for(moved.wait(), desired.settle_s)
            except TimeoutError:
                quiet += 1
            else:
                quiet = 0


def stand(verb: Verb, shown: Shown, name: str, revision: int, quiet: int) -> Outcome:
    """Where a unit stands, `quiet` turns after it last moved; `revision` is that of the order."""
    known = shown.now.units.get(name)
    if verb is Verb.SUBMIT:
        return _outcome(name, _FINE, None, "")
    if known is None and verb is not Verb.DESTROY:
        return _outcome(name, (False, "it was destroyed meanwhile"), None, "")
    if verb in {Verb.DESTROY, Verb.UNLOAD}:
        return _leaving(shown, name, revision, quiet)
    assert known is not None  # noqa: S101
    if known.is_global:
        return _everywhere(verb, shown, known, revision, quiet)
    machine = shown.now.placements.get(name, "")
    report = shown.main_report(known) if machine else None
    label = shown.label(machine) if machine else ""
    if report is None:
        return _outcome(name, (None, "it is on its way" if machine else "no machine has it yet"), None, label)
    return _outcome(name, _judged(verb, known, report, shown, revision, quiet), report, label)


def judge(
    verb: Verb, known: Known | UnitRecord | None, report: UnitReport, *, fresh: bool, settled: bool
) -> tuple[bool | None, str]:
    """Whether a unit is where it was to be on one machine, and what to say of it.

    `fresh`: the report was made after the order; `settled`: all is quiet since.
    """
    words = f"{report.active} ({report.sub})"
    if report.problem is not None and fresh:
        return False, report.problem
    if verb is Verb.SUBMIT:
        return _FINE
    if verb is Verb.DESTROY or known is None:
        return None, words
    if verb is Verb.UNLOAD:
        return _FINE if report.current is DesiredState.INACTIVE else (None, words)
    is_current = (report.identity or report.hash) in {known.hash, known.identity}
    if not is_current or report.current is not verb.target:
        return None, words
    if verb is Verb.START and report.launch and report.launch != known.launch:
        return None, words  # it tells of an earlier start
    if verb is Verb.START:
        return _judge_start(report, words, settled=settled)
    return (None, words) if report.active in {"deactivating", *_RUNNING} and verb is Verb.STOP else _FINE


def _judge_start(report: UnitReport, words: str, *, settled: bool) -> tuple[bool | None, str]:
    if report.active in _RUNNING:
        return _FINE
    if report.active == "failed":
        return False, f"it failed ({report.result or report.sub})"
    if report.sub == "auto-restart":
        return False, f"it ended ({report.result or 'at once'}), and systemd is going to start it again"
    if report.active == "inactive" and settled:
        ended_well = report.result in {"", "success"}
        return ended_well, "" if ended_well else f"it ended ({report.result})"
    return None, words


def _leaving(shown: Shown, name: str, revision: int, quiet: int) -> Outcome:
    """unload and destroy are done when no living machine has the unit any more."""
    verb = Verb.UNLOAD if name in shown.now.units else Verb.DESTROY
    known = shown.now.units.get(name)
    for report in shown.reports(name):
        if shown.is_ready(report.node):
            judged = _judged(verb, known, report, shown, revision, quiet)
            if judged != _FINE:
                return _outcome(name, judged, report, shown.label(report.node))
    return _outcome(name, _FINE, None, "")


def _everywhere(verb: Verb, shown: Shown, known: Known, revision: int, quiet: int) -> Outcome:
    """A Global unit: on every machine that it belongs on."""
    found = shown.now.reports_of(known.name)
    nodes = [node for node in shown.node_ids() if belongs(shown, known, node)]
    if quiet >= PATIENCE:
        nodes = [node for node in nodes if node in found]
    done, failed, under_way = 0, "", ""
    for node in nodes:
        if node not in found:
            under_way = under_way or "it is on its way"
            continue
        fine, said = _judged(verb, known, found[node].report, shown, revision, quiet)
        done += fine is True
        if fine is False:
            failed = failed or f"on {shown.label(node)}: {said}"
        elif fine is None:
            under_way = under_way or said
    count = f"{len(nodes)} machine{'s' if len(nodes) != 1 else ''}"
    report = shown.main_report(known)
    if under_way:
        return _outcome(known.name, (None, f"{under_way}; done on {done} of {count}"), report, count)
    if failed:
        return _outcome(known.name, (False, failed), report, count)
    label = shown.label(nodes[0]) if len(nodes) == 1 else count
    return _outcome(known.name, _FINE, report, label)


def belongs(shown: Shown, known: Known, node: str) -> bool:
    """Whether a machine is one on which a Global unit is to run, as far as its labels say."""
    if not shown.is_ready(node) or node not in {*shown.now.presence, shown.local.id}:
        return False
    labels = shown.metadata(node)
    return all(labels.get(key) in values for key, values in known.asked.metadata)


def _judged(
    verb: Verb, known: Known | None, report: UnitReport, shown: Shown, revision: int, quiet: int
) -> tuple[bool | None, str]:
    made = shown.now.reports_of(report.name)[report.node].mod_revision
    return judge(verb, known, report, fresh=made > revision or quiet > 0, settled=quiet > 0)


def _is_unplaced(shown: Shown, name: str, verb: Verb) -> bool:
    known = shown.now.units.get(name)
    return (
        known is not None
        and verb.target is not DesiredState.INACTIVE
        and not known.is_global
        and name not in shown.now.placements
    )


def _outcome(name: str, judged: tuple[bool | None, str], report: UnitReport | None, machine: str) -> Outcome:
    done, said = judged
    if report is None:
        return Outcome(name, done, said, DesiredState.INACTIVE, "", "", machine)
    return Outcome(name, done, said, report.current, report.active, report.sub, machine)
