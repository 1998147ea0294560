"""What every ServiceManager must do. Each case takes a bench: a service manager and its unit files.

The fake runs them under pytest. On a node, as root, the real one needs no pytest:
    python3 service_manager_cases.py
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.host.units.errors import NoSuchUnitError, ServiceManagerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from skerry.host.units.interface import Changes, ServiceManager, UnitState

SLEEPER = "[Service]\nExecStart=/bin/sleep 1000\n\n[Install]\nWantedBy=multi-user.target\n"
FAILER = "[Service]\nExecStart=/bin/false\n"
DEADLINE_S = 20


@dataclass
class Bench:
    services: ServiceManager
    directory: Path

    def put(self, name: str, text: str) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / name).write_text(text)

    def remove(self, name: str) -> None:
        (self.directory / name).unlink(missing_ok=True)


async def until(changes: Changes, name: str, active: str) -> UnitState:
    async with asyncio.timeout(DEADLINE_S):
        async for state in changes:
            if state.name == name and state.active == active:
                return state
    raise AssertionError("the stream ended")


async def unknown_unit_is_not_found(bench: Bench) -> None:
    state = await bench.services.state("skerry-none.service")
    assert (state.load, state.active, state.sub) == ("not-found", "inactive", "dead")


async def starting_an_unknown_unit_is_refused(bench: Bench) -> None:
    try:
        await bench.services.start("skerry-none.service")
    except NoSuchUnitError:
        return
    raise AssertionError("it was started")


async def unknown_units_can_be_stopped_reset_and_disabled(bench: Bench) -> None:
    await bench.services.stop("skerry-none.service")
    await bench.services.reset_failed("skerry-none.service")
    await bench.services.disable("skerry-none.service")


async def a_new_file_can_be_started_without_a_reload(bench: Bench) -> None:
    await bench.services.state("skerry-a.service")
    bench.put("skerry-a.service", SLEEPER)
    changes = bench.services.changes(frozenset({"skerry-a.service"}))
    await bench.services.start("skerry-a.service")
    state = await until(changes, "skerry-a.service", "active")
    assert (state.load, state.sub) == ("loaded", "running")
    await changes.aclose()


async def a_placed_unit_is_loaded_and_inactive(bench: Bench) -> None:
    bench.put("skerry-a.service", SLEEPER)
    state = await bench.services.state("skerry-a.service")
    assert (state.load, state.active, state.sub) == ("loaded", "inactive", "dead")


async def stop_returns_when_it_has_stopped(bench: Bench) -> None:
    bench.put("skerry-a.service", SLEEPER)
    await bench.services.start("skerry-a.service")
    await bench.services.stop("skerry-a.service")
    state = await bench.services.state("skerry-a.service")
    assert (state.load, state.active, state.sub) == ("loaded", "inactive", "dead")


async def starting_twice_starts_once(bench: Bench) -> None:
    bench.put("skerry-a.service", SLEEPER)
    await bench.services.start("skerry-a.service")
    await bench.services.start("skerry-a.service")
    changes = bench.services.changes(frozenset({"skerry-a.service"}))
    await until(changes, "skerry-a.service", "active")
    await changes.aclose()


async def failure_is_told_with_its_result_and_can_be_reset(bench: Bench) -> None:
    bench.put("skerry-f.service", FAILER)
    changes = bench.services.changes(frozenset({"skerry-f.service"}))
    await bench.services.start("skerry-f.service")
    state = await until(changes, "skerry-f.service", "failed")
    assert (state.sub, state.result) == ("failed", "exit-code")
    await bench.services.reset_failed("skerry-f.service")
    await until(changes, "skerry-f.service", "inactive")
    await changes.aclose()


async def a_running_unit_stays_active_through_a_reload(bench: Bench) -> None:
    bench.put("skerry-a.service", SLEEPER)
    changes = bench.services.changes(frozenset({"skerry-a.service"}))
    await bench.services.start("skerry-a.service")
    await until(changes, "skerry-a.service", "active")
    await bench.services.reload()
    bench.put("skerry-b.service", SLEEPER)
    changes.add("skerry-b.service")
    told = []
    async with asyncio.timeout(DEADLINE_S):
        async for state in changes:
            told.append(state)
            if state.name == "skerry-b.service":
                break
    assert not [s for s in told if s.name == "skerry-a.service" and s.active != "active"]
    assert (await bench.services.state("skerry-a.service")).active == "active"
    await changes.aclose()


async def enabling_twice_and_disabling_twice_is_no_error(bench: Bench) -> None:
    bench.put("skerry-a.service", SLEEPER)
    for _ in range(2):
        await bench.services.enable("skerry-a.service")
    for _ in range(2):
        await bench.services.disable("skerry-a.service")


async def enabling_an_unknown_unit_is_refused(bench: Bench) -> None:
    try:
        await bench.services.enable("skerry-none.service")
    except ServiceManagerError:
        return
    raise AssertionError("it was enabled")


async def every_followed_unit_is_told_once_at_first(bench: Bench) -> None:
    bench.put("skerry-a.service", SLEEPER)
    names = frozenset({"skerry-a.service", "skerry-none.service"})
    changes = bench.services.changes(names)
    async with asyncio.timeout(DEADLINE_S):
        told = [await anext(changes), await anext(changes)]
    assert {s.name for s in told} == names
    await changes.aclose()


async def a_discarded_unit_is_told_of_no_more(bench: Bench) -> None:
    for name in ("skerry-a.service", "skerry-b.service"):
        bench.put(name, SLEEPER)
    changes = bench.services.changes(frozenset({"skerry-a.service", "skerry-b.service"}))
    async with asyncio.timeout(DEADLINE_S):
        await anext(changes)
        await anext(changes)
    changes.discard("skerry-a.service")
    await bench.services.start("skerry-a.service")
    await bench.services.start("skerry-b.service")
    async with asyncio.timeout(DEADLINE_S):
        assert (await anext(changes)).name == "skerry-b.service"
    await changes.aclose()


async def a_closed_stream_ends(bench: Bench) -> None:
    changes = bench.services.changes(frozenset())
    waiting = asyncio.ensure_future(anext(changes, None))
    await asyncio.sleep(0)
    await changes.aclose()
    async with asyncio.timeout(DEADLINE_S):
        assert await waiting is None


CASES = {
    name: case
    for name, case in list(globals().items())
    if inspect.iscoroutinefunction(case) and list(inspect.signature(case).parameters) == ["bench"]
}


async def run_case(case: Callable[[Bench], Awaitable[None]], bench: Bench) -> None:
    """One case, and away with what it made."""
    try:
        await case(bench)
    finally:
        for name in ("skerry-a.service", "skerry-b.service", "skerry-f.service"):
            await bench.services.stop(name)
            await bench.services.disable(name)
            await bench.services.reset_failed(name)
            bench.remove(name)
        await bench.services.reload()
        await bench.services.close()


async def main() -> int:
    """All cases over the real systemd; prints a line for each."""
    from skerry.host.units.systemd import Systemd

    failed = 0
    for name, case in CASES.items():
        bench = Bench(await Systemd.connect(), Path("/run/systemd/system"))
        try:
            await run_case(case, bench)
        except Exception as error:
            failed += 1
            print(f"FAILED {name}: {type(error).__name__}: {error}")
        else:
            print(f"ok     {name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
