"""Waits until units are in the state that was asked for, by the store's events and without polling.

`judge` decides on one report, purely; `outcomes` follows the reports. A unit that ran and ended before
systemd could tell of it looks like one that was not begun: such a one is believed when nothing more
is heard for SETTLE_S.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec

from skerry.entry.rest.snapshot import Snapshot, stored_report, take_snapshot
from skerry.entry.rest.verbs import Verb
from skerry.fleet.state.unit import DesiredState, UnitReport, report_key

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from skerry.fleet.state.unit import UnitRecord
    from skerry.fleet.store.interface import Store

SETTLE_S = 1.5
_RUNNING = frozenset({"active", "reloading", "refreshing"})


class Outcome(msgspec.Struct, frozen=True):
    """How far a unit is: `done` is None while it is under way, then whether it went well.

    `said` is a sentence where it did not, and systemd's own words meanwhile.
    """

    name: str
    done: bool | None
    said: str
    current: DesiredState
    active: str
    sub: str


def judge(
    verb: Verb, record: UnitRecord | None, report: UnitReport | None, *, fresh: bool, settled: bool
) -> Outcome:
    """Where a unit stands. `fresh`: the report was made after the order; `settled`: all is quiet since."""
    name = record.name if record is not None else report.name if report is not None else ""
    if report is None:
        done = True if verb in {Verb.DESTROY, Verb.UNLOAD, Verb.SUBMIT} else None
        return Outcome(name, done, "", DesiredState.INACTIVE, "", "")
    done, said = _judge(verb, record, report, fresh=fresh, settled=settled)
    return Outcome(name, done, said, report.current, report.active, report.sub)


def _judge(
    verb: Verb, record: UnitRecord | None, report: UnitReport, *, fresh: bool, settled: bool
) -> tuple[bool | None, str]:
    words = f"{report.active} ({report.sub})"
    if report.problem is not None and fresh:
        return False, report.problem
    if verb is Verb.SUBMIT:
        return True, ""
    if verb is Verb.DESTROY or record is None:
        return None, words
    if verb is Verb.UNLOAD:
        return (True, "") if report.current is DesiredState.INACTIVE else (None, words)
    if (report.identity or report.hash) not in {
        record.hash,
        record.identity,
    } or report.current is not verb.target:
        return None, words
    if verb is Verb.START and report.launch and report.launch != record.launch:
        return None, words  # it tells of an earlier start
    if verb is Verb.START:
        return _judge_start(report, words, settled=settled)
    return (None, words) if report.active in {"deactivating", *_RUNNING} and verb is Verb.STOP else (True, "")


def _judge_start(report: UnitReport, words: str, *, settled: bool) -> tuple[bool | None, str]:
    if report.active in _RUNNING:
        return True, ""
    if report.active == "failed":
        return False, f"it failed ({report.result or report.sub})"
    if report.sub == "auto-restart":
        return False, f"it ended ({report.result or 'at once'}), and systemd is going to start it again"
    if report.active == "inactive" and settled:
        ended_well = report.result in {"", "success"}
        return ended_well, "" if ended_well else f"it ended ({report.result})"
    return None, words


async def outcomes(
    store: Store, node: str, verb: Verb, names: Iterable[str], revision: int
) -> AsyncGenerator[Outcome, None]:
    """Tell of each unit whenever it moves, until every one is done. `revision` is that of the order."""
    now = await take_snapshot(store, node)
    open_names = list(dict.fromkeys(names))
    told: dict[str, Outcome] = {}
    fresh: set[str] = set()
    # A stored problem may be older than the order: only what changes from here on is believed at once.
    changes: asyncio.Queue[tuple[str, UnitReport | None] | None] = asyncio.Queue()
    pump = asyncio.create_task(_pump(store, node, now.revision, changes))
    reports = dict(now.reports)
    fresh.update(await _changed_since(store, node, open_names, revision))
    try:
        settled = False
        while True:
            for name in list(open_names):
                outcome = _of(now, verb, name, reports.get(name), fresh=name in fresh, settled=settled)
                if outcome != told.get(name):
                    told[name] = outcome
                    yield outcome
                if outcome.done is not None:
                    open_names.remove(name)
            if not open_names:
                return
            try:
                change = await asyncio.wait_for(changes.get(), SETTLE_S)
            except TimeoutError:
                settled = True
                fresh.update(open_names)
                continue
            if change is None:
                return
            settled = False
            name, report = change
            fresh.add(name)
            if report is None:
                reports.pop(name, None)
            else:
                reports[name] = report
    finally:
        pump.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await pump


def _of(
    now: Snapshot, verb: Verb, name: str, report: UnitReport | None, *, fresh: bool, settled: bool
) -> Outcome:
    stored = now.units.get(name)
    record = None if stored is None else stored.record
    outcome = judge(verb, record, report, fresh=fresh, settled=settled)
    if record is None and verb is not Verb.DESTROY:
        return msgspec.structs.replace(outcome, name=name, done=False, said="it was destroyed meanwhile")
    return msgspec.structs.replace(outcome, name=name)


async def _changed_since(store: Store, node: str, names: list[str], revision: int) -> set[str]:
    changed = set()
    for name in names:
        entry = await store.get(report_key(node, name))
        if entry is not None and entry.mod_revision > revision:
            changed.add(name)
    return changed


async def _pump(
    store: Store, node: str, after: int, changes: asyncio.Queue[tuple[str, UnitReport | None] | None]
) -> None:
    """Reports as they change; None at the end, when the store closes."""
    prefix = report_key(node, "")
    async with contextlib.aclosing(store.watch(prefix, after)) as batches:
        async for batch in batches:
            for event in batch.events:
                name = event.entry.key.removeprefix(prefix)
                await changes.put((name, await stored_report(store, node, name)))
    await changes.put(None)
