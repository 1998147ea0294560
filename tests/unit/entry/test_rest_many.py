"""The API over several machines: where units are, how they are there, and who is told of it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from starlette.requests import Request

from fakes.asgi import Api
from fakes.daemon import MACHINE
from skerry.entry.rest.events import Events
from skerry.entry.rest.views import Verb
from skerry.entry.rest.waiting import outcomes
from skerry.fleet.state.node import Liveness
from skerry.fleet.state.unit import DesiredState

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from skerry.kit.http import Json

ONE, TWO = "1" * 32, "2" * 32
HELLO = "[Service]\nExecStart=/bin/sleep 1\n"
GLOBAL = HELLO + "[X-Fleet]\nGlobal=true\nMachineMetadata=disk=ssd\n"
LAUNCHED, LOADED, INACTIVE = DesiredState.LAUNCHED, DesiredState.LOADED, DesiredState.INACTIVE


async def with_units(**texts: str) -> Api:
    """Two machines beside this one, with labels, and launched units."""
    api = Api()
    await api.hear(ONE, addresses=("10.0.0.1",), metadata={"disk": "ssd"})
    await api.hear(TWO, addresses=("10.0.0.2",), metadata={"disk": "hdd"})
    offers = [{"name": f"{name}.service", "text": text} for name, text in texts.items()]
    names = [offer["name"] for offer in offers]
    reply = await api.ask("POST", "/v1/units", {"verb": "start", "names": names, "offers": offers})
    assert reply.status == 200, reply.body
    return api


def field(value: Json, *path: str | int) -> Json:
    for step in path:
        value = value[step]  # type: ignore[index,call-overload]
    return value


def seen(prepare: Callable[[], Awaitable[Api]], target: str) -> Json:
    async def go() -> Json:
        return (await (await prepare()).ask("GET", target)).json

    return asyncio.run(go())


def test_a_units_words_are_those_of_the_machine_it_is_placed_on() -> None:
    async def prepare() -> Api:
        api = await with_units(a=HELLO)
        await api.report("a.service", LAUNCHED, node=ONE)
        await api.place("a.service", TWO, why="node one was lost")
        await api.report("a.service", LOADED, node=TWO, active="activating", sub="start-pre")
        return api

    shown = seen(prepare, "/v1/units/a.service")
    unit = field(shown, "unit")
    assert [field(unit, key) for key in ("machine", "current", "active")] == [TWO, "loaded", "activating"]
    assert [field(state, "machine") for state in field(unit, "states")] == [ONE, TWO]  # type: ignore[union-attr]
    assert field(shown, "placed") == "node one was lost"


def test_a_unit_that_lost_its_place_is_shown_where_it_still_runs() -> None:
    async def prepare() -> Api:
        api = await with_units(a=HELLO)
        await api.report("a.service", LAUNCHED, node=ONE)
        return api

    assert field(seen(prepare, "/v1/units/a.service"), "unit", "machine") == ONE
    assert field(seen(prepare, "/fleet/v1/units/a.service"), "currentState") == "inactive"


def test_of_a_global_unit_the_worst_machine_speaks() -> None:
    async def prepare() -> Api:
        api = await with_units(g=GLOBAL)
        await api.report("g.service", LAUNCHED, node=ONE)
        await api.report("g.service", LAUNCHED, node=TWO, active="failed", sub="failed")
        return api

    unit = field(seen(prepare, "/v1/units/g.service"), "unit")
    assert [field(unit, key) for key in ("machine", "is_global", "active")] == ["", True, "failed"]
    assert len(field(unit, "states")) == 2  # type: ignore[arg-type]


def test_a_list_can_be_of_one_machine() -> None:
    async def prepare() -> Api:
        api = await with_units(a=HELLO, b=HELLO)
        await api.place("a.service", ONE)
        await api.place("b.service", TWO)
        return api

    page = seen(prepare, f"/v1/units?node={ONE}")
    assert [field(unit, "name") for unit in field(page, "units")] == ["a.service"]  # type: ignore[union-attr]
    assert field(page, "machines", ONE) == "10.0.0.1"


def test_lists_of_v1_have_pages() -> None:
    async def go() -> list[Json]:
        api = await with_units(**dict.fromkeys("abcde", HELLO))
        found: list[Json] = []
        target: str | None = "/v1/units?limit=2"
        while target:
            page = (await api.ask("GET", target)).json
            found.append([field(unit, "name") for unit in field(page, "units")])  # type: ignore[union-attr]
            token = field(page, "next")
            target = f"/v1/units?limit=2&token={token}" if token else None
        return found

    assert asyncio.run(go()) == [["a.service", "b.service"], ["c.service", "d.service"], ["e.service"]]


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=1001", "token=%21", "token=gA%3D%3D"])
def test_a_page_that_cannot_be_is_refused(query: str) -> None:
    assert asyncio.run(Api().ask("GET", f"/v1/units?{query}")).status == 400


def test_a_journal_that_is_elsewhere_is_said_to_be() -> None:
    async def go() -> tuple[int, str]:
        api = await with_units(a=HELLO)
        await api.report("a.service", LAUNCHED, node=ONE)
        reply = await api.ask("GET", "/v1/units/a.service/journal")
        return reply.status, reply.error

    assert asyncio.run(go()) == (
        409,
        "unit a.service is on 11111111.../10.0.0.1, whose journal cannot be read from here",
    )


async def followed(
    api: Api, verb: Verb, name: str, steps: list[Callable[[], Awaitable[None]]]
) -> list[tuple[bool | None, str]]:
    """What is told while `steps` happen, one after each thing told."""
    told = []
    told_of = outcomes(api.desired, verb, [name], api.desired.mirror.revision)
    async for outcome in told_of:
        told.append((outcome.done, outcome.machine))
        if steps:
            await steps.pop(0)()
    return told


def content_of(api: Api, name: str) -> str:
    return api.desired.shown().now.units[name].hash


def test_waits_for_the_machine_that_a_unit_is_placed_on() -> None:
    async def go() -> list[tuple[bool | None, str]]:
        api = await with_units(a=HELLO)
        await api.desired.fresh()
        content = content_of(api, "a.service")
        return await followed(
            api,
            Verb.START,
            "a.service",
            [
                lambda: api.place("a.service", ONE),
                lambda: api.report("a.service", LOADED, node=ONE, active="inactive", sub="dead"),
                lambda: api.report("a.service", LAUNCHED, node=ONE, content=content),
            ],
        )

    on_one = "11111111.../10.0.0.1"
    assert asyncio.run(go()) == [(None, ""), (None, on_one), (None, on_one), (True, on_one)]


def test_waits_for_every_machine_on_which_a_global_unit_belongs() -> None:
    async def go() -> list[tuple[bool | None, str]]:
        api = await with_units(g=GLOBAL)
        await api.ask("PATCH", "/fleet/v1/machines", [
            {"op": "add", "path": f"/{MACHINE}/metadata/disk", "value": "ssd"}
        ])  # fmt: skip
        await api.desired.fresh()
        content = content_of(api, "g.service")
        return await followed(
            api,
            Verb.START,
            "g.service",
            [
                lambda: api.report("g.service", LAUNCHED, node=ONE, content=content),
                lambda: api.report("g.service", LAUNCHED, content=content),
            ],
        )

    assert asyncio.run(go()) == [(None, "2 machines"), (None, "2 machines"), (True, "2 machines")]


def test_unload_waits_for_living_machines_only() -> None:
    async def go() -> list[tuple[bool | None, str]]:
        api = await with_units(a=HELLO)
        await api.ask("POST", "/v1/units", {"verb": "unload", "names": ["a.service"]})
        await api.report("a.service", LAUNCHED, node=ONE)
        await api.report("a.service", LAUNCHED, node=TWO)
        await api.desired.fresh()
        return await followed(
            api,
            Verb.UNLOAD,
            "a.service",
            [
                lambda: api.hear(ONE, Liveness.LOST, addresses=("10.0.0.1",)),
                lambda: api.report("a.service", INACTIVE, node=TWO, active="inactive", sub="dead"),
            ],
        )

    # A machine that becomes lost touches none of its units: the next change is what ends the wait.
    assert asyncio.run(go())[-1] == (True, "")


def test_why_a_unit_is_pending_ends_the_wait() -> None:
    async def why(name: str) -> str:
        return f"{name}: 3 machines have too little memory"

    async def go() -> list[tuple[bool | None, str]]:
        api = await with_units(a=HELLO)
        await api.desired.fresh()
        api.desired.settle_s = 0.001
        waiting = outcomes(api.desired, Verb.START, ["a.service"], 0, pending=why)
        return [(outcome.done, outcome.said) async for outcome in waiting]

    assert asyncio.run(go()) == [
        (None, "no machine has it yet"),
        (False, "a.service: 3 machines have too little memory"),
    ]


async def events(api: Api, query: str, count: int) -> AsyncGenerator[tuple[str, Json], None]:
    """The first events that a client is sent."""
    stream = Events(api.desired)
    api.follow()
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": query.encode()}
    response = await stream.stream(Request(scope))
    async for part in response.body_iterator:  # type: ignore[attr-defined]
        lines = part.decode().strip().splitlines()
        yield lines[0].removeprefix("event: "), json.loads(lines[-1].removeprefix("data: "))
        count -= 1
        if not count:
            return


def test_events_tell_of_units_and_machines() -> None:
    async def go() -> list[tuple[str, Json]]:
        api = await with_units(a=HELLO)
        told = []
        async for kind, data in events(api, "", 6):
            told.append((kind, field(data, "name" if kind == "unit" else "id")))
            if len(told) == 4:
                await api.place("a.service", ONE)
                await api.hear(TWO, Liveness.LOST)
        return told

    assert asyncio.run(go()) == [
        ("unit", "a.service"),
        ("node", MACHINE),
        ("node", ONE),
        ("node", TWO),
        ("unit", "a.service"),
        ("node", TWO),
    ]


def test_events_of_one_machine_leave_the_others_out() -> None:
    async def go() -> list[tuple[str, Json]]:
        api = await with_units(a=HELLO, b=HELLO)
        await api.place("a.service", ONE)
        await api.place("b.service", TWO)
        return [
            (kind, field(data, "name" if kind == "unit" else "id"))
            async for kind, data in events(api, f"node={ONE}", 2)
        ]

    assert asyncio.run(go()) == [("unit", "a.service"), ("node", ONE)]


def test_a_revision_that_is_yet_to_come_begins_anew() -> None:
    async def go() -> list[str]:
        api = await with_units(a=HELLO)
        return [kind async for kind, _ in events(api, "after=1000000", 2)]

    assert asyncio.run(go()) == ["reset", "unit"]
