"""fleet's API, every code and message, as its documentation and its daemon had them."""

from __future__ import annotations

import asyncio

import pytest

from fakes.asgi import Api, Reply
from skerry.entry.rest.pages import encode_token
from skerry.fleet.state.node import Liveness
from skerry.fleet.state.unit import DesiredState

OPTIONS = [{"section": "Service", "name": "ExecStart", "value": "/bin/sleep 100"}]
OTHER = [{"section": "Service", "name": "ExecStart", "value": "/bin/sleep 200"}]
FLEET = ("MachineID", "0" * 32)
ONE, TWO = "1" * 32, "2" * 32


def told(*steps: tuple[object, ...], api: Api | None = None) -> Reply:
    """The answer to the last of several requests (method, path below the prefix, body, headers)."""

    async def go() -> Reply:
        known = api or Api()
        reply = None
        for method, path, *more in steps:
            reply = await known.ask(str(method), f"/fleet/v1{path}", *more)  # type: ignore[arg-type]
        assert reply is not None
        return reply

    return asyncio.run(go())


def put(name: str, /, **body: object) -> tuple[object, ...]:
    return ("PUT", f"/units/{name}", body)


KNOWN = put("a.service", options=OPTIONS, desiredState="inactive")


@pytest.mark.parametrize(
    ("steps", "status", "message"),
    [
        ([("GET", "/units/a.service")], 404, "unit does not exist"),
        ([("DELETE", "/units/a.service")], 404, "unit does not exist"),
        ([("GET", "/state/a.service")], 404, "unit state does not exist"),
        ([("GET", "/nothing")], 404, "there is nothing at /fleet/v1/nothing"),
        ([("POST", "/units", {})], 405, "only GET supported against this resource"),
        (
            [("PATCH", "/units/a.service", {})],
            405,
            "only GET, PUT and DELETE supported against this resource",
        ),
        ([("PUT", "/state", {})], 405, "only GET supported against this resource"),
        ([("DELETE", "/machines")], 405, "only GET and PATCH supported against this resource"),
        ([("PUT", "/units/a.service", b"{}", {"content-type": "text/plain"})], 415, "Content-Type"),
        ([("PUT", "/units/a.service", b"{")], 400, "unable to decode body"),
        ([("PUT", "/units/a.service", b"\xff")], 400, "unable to decode body"),
        ([put("a.service", options="x")], 400, "unable to decode body"),
        (
            [put("a.service", name="b.service")],
            400,
            'name in URL "a.service" differs from unit name in request body',
        ),
        ([put("a", options=OPTIONS)], 400, "no suffix that is known"),
        ([put("a.blah", options=OPTIONS)], 400, "no suffix that is known"),
        ([put("@.service", options=OPTIONS)], 400, "must not begin with @"),
        ([put("a b.service", options=OPTIONS)], 400, "must not contain ' '"),
        ([put("a" * 300 + ".service", options=OPTIONS)], 400, "at most 255 characters"),
        ([put("a.service")], 409, "unit does not exist and options field empty"),
        ([put("a.service", options=[])], 409, "unit does not exist and options field empty"),
        ([put("a.service", desiredState="launched")], 409, "unit does not exist and options field empty"),
        ([KNOWN, put("a.service")], 409, "must provide DesiredState to update existing unit"),
        (
            [KNOWN, put("a.service", options=OPTIONS)],
            409,
            "must provide DesiredState to update existing unit",
        ),
        ([put("a.service", options=OPTIONS, desiredState="running")], 400, 'invalid desiredState "running"'),
        (
            [put("a@.service", options=OPTIONS, desiredState="loaded")],
            400,
            'cannot activate template "a@.service"',
        ),
        (
            [put("a.service", options=[{"section": "S", "name": "A", "value": "1\nB=2"}])],
            400,
            "cannot stand in a unit file",
        ),
        ([("GET", "/units?nextPageToken=%21")], 400, "invalid nextPageToken"),
        ([("GET", "/units?nextPageToken=AAA%3D")], 400, "invalid nextPageToken"),
        ([("GET", f"/units?nextPageToken={encode_token(5, 1)}")], 400, "this server has pages of 100"),
        ([("GET", f"/state?nextPageToken={encode_token(100, 0)}")], 400, "pages count from 1"),
        (
            [("GET", f"/machines?nextPageToken={encode_token(100, 1)}&nextPageToken=x")],
            400,
            "too many values",
        ),
        ([("PATCH", "/machines", b"[", {})], 400, "unable to decode body"),
        ([("PATCH", "/machines", [{"op": "add", "path": "/x", "value": "1"}])], 400, 'invalid path "/x"'),
        (
            [("PATCH", "/machines", [{"op": "move", "path": f"/{Api.node}/metadata/a", "value": "1"}])],
            400,
            'invalid op "move"',
        ),
        ([("PATCH", "/machines", [{"op": "add", "path": f"/{Api.node}/metadata/a"}])], 400, "has no value"),
        (
            [("PATCH", "/machines", [{"op": "add", "path": "/other/metadata/a", "value": "1"}])],
            400,
            "does not exist",
        ),
    ],
)
def test_refuses(steps: list[tuple[object, ...]], status: int, message: str) -> None:
    reply = told(*steps)
    assert (reply.status, reply.json["error"]["code"]) == (status, status)  # type: ignore[index,call-overload]
    assert message in reply.error
    assert reply.headers["server"].startswith("fleetd/")


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([FLEET, ("MachineOf", "b.service")], "MachineID= and MachineOf= cannot stand together"),
        ([FLEET, ("Conflicts", "b*")], "MachineID= and Conflicts= cannot stand together"),
        ([FLEET, ("Global", "true")], "MachineID= and Global= cannot stand together"),
        ([FLEET, ("Replaces", "b*")], "MachineID= and Replaces= cannot stand together"),
        ([("Global", "true"), ("MachineOf", "b.service")], "Global= and MachineOf= cannot stand together"),
        ([("Global", "yes"), ("Replaces", "b*")], "Global= and Replaces= cannot stand together"),
        ([("Conflicts", "a*"), ("Replaces", "b*")], "Conflicts= and Replaces= cannot stand together"),
        (
            [("MachineOf", "b.service"), ("Conflicts", "b*")],
            "MachineOf=b.service is also meant by Conflicts=",
        ),
        ([("MachineOf", "b.service"), ("Replaces", "b.*")], "MachineOf=b.service is also meant by Replaces="),
    ],
)
def test_refuses_requirements_that_contradict(pairs: list[tuple[str, str]], message: str) -> None:
    asks = [{"section": "X-Fleet", "name": name, "value": value} for name, value in pairs]
    body = {"options": [*OPTIONS, *asks], "desiredState": "inactive"}

    async def go() -> tuple[int, str, int]:
        api = Api()
        reply = await api.ask("PUT", "/fleet/v1/units/a.service", body)
        return reply.status, reply.error, (await api.ask("GET", "/fleet/v1/units/a.service")).status

    status, said, afterwards = asyncio.run(go())
    assert (status, message in said, afterwards) == (400, True, 404)


@pytest.mark.parametrize(
    "pairs",
    [
        [FLEET, ("MachineMetadata", "disk=ssd")],
        [("Global", "true"), ("MachineMetadata", "disk=ssd")],
        [("Global", "true"), ("Conflicts", "b*")],
        [("Global", "false"), ("MachineOf", "b.service")],
    ],
)
def test_accepts_requirements_that_fleet_allowed(pairs: list[tuple[str, str]]) -> None:
    asks = [{"section": "X-Fleet", "name": name, "value": value} for name, value in pairs]
    assert told(put("a.service", options=[*OPTIONS, *asks], desiredState="inactive")).status == 201


@pytest.mark.parametrize(
    ("steps", "status"),
    [
        ([KNOWN], 201),
        ([put("a.service", options=OPTIONS)], 201),
        ([KNOWN, put("a.service", desiredState="launched")], 204),
        ([KNOWN, put("a.service", options=OPTIONS, desiredState="launched")], 204),
        ([KNOWN, put("a.service", desiredState="inactive")], 204),
        ([KNOWN, put("a.service", options=OTHER, desiredState="loaded")], 201),
        ([KNOWN, put("a.service", options=OTHER)], 201),
        ([KNOWN, ("DELETE", "/units/a.service")], 204),
        ([put("a.service", options=OPTIONS, currentState="launched", machineID="x")], 201),
        ([put("a@.service", options=OPTIONS, desiredState="inactive")], 201),
        (
            [
                (
                    "PUT",
                    "/units/a.service",
                    {"options": OPTIONS},
                    {"content-type": "application/json; charset=utf-8"},
                )
            ],
            201,
        ),
    ],
)
def test_accepts(steps: list[tuple[object, ...]], status: int) -> None:
    reply = told(*steps)
    assert (reply.status, reply.body) == (status, b"")


def test_shows_a_unit_that_is_not_scheduled() -> None:
    assert told(KNOWN, ("GET", "/units/a.service")).json == {
        "name": "a.service",
        "options": OPTIONS,
        "desiredState": "inactive",
        "currentState": "inactive",
    }


def test_shows_a_global_unit_without_machine_and_current_state() -> None:
    options = [*OPTIONS, {"section": "X-Fleet", "name": "Global", "value": "true"}]
    shown = told(put("g.service", options=options, desiredState="launched"), ("GET", "/units/g.service")).json
    assert shown == {"name": "g.service", "options": options, "desiredState": "launched"}


def test_shows_the_state_that_the_node_reports() -> None:
    async def go() -> tuple[Reply, Reply, Reply]:
        api = Api()
        await api.ask("PUT", "/v1-alpha/units/a.service", {"options": OPTIONS, "desiredState": "launched"})
        await api.place("a.service")
        await api.report("a.service", DesiredState.LAUNCHED)
        other = await api.ask("GET", "/fleet/v1/state?unitName=b.service")
        return (
            await api.ask("GET", "/fleet/v1/units/a.service"),
            await api.ask("GET", "/fleet/v1/state"),
            other,
        )

    unit, states, other = asyncio.run(go())
    assert unit.json["machineID"] == Api.node  # type: ignore[index,call-overload]
    assert unit.json["currentState"] == "launched"  # type: ignore[index,call-overload]
    assert states.json == {
        "states": [
            {
                "name": "a.service",
                "hash": "h" * 40,
                "machineID": Api.node,
                "systemdLoadState": "loaded",
                "systemdActiveState": "active",
                "systemdSubState": "running",
            }
        ]
    }
    assert other.json == {"states": []}


def test_pages_lead_through_all_units() -> None:
    async def go() -> list[str]:
        api = Api(limit=2)
        for name in "edcba":
            await api.ask("PUT", f"/fleet/v1/units/{name}.service", {"options": OPTIONS})
        found: list[str] = []
        target = "/fleet/v1/units"
        while target:
            page = (await api.ask("GET", target)).json
            assert isinstance(page, dict)
            found += [u["name"] for u in page["units"]]  # type: ignore[index,call-overload,union-attr,misc]
            token = page.get("nextPageToken")
            target = f"/fleet/v1/units?nextPageToken={token}" if token else ""
        return found

    assert asyncio.run(go()) == [f"{name}.service" for name in "abcde"]


def test_labels_are_set_in_both_forms_and_taken_away() -> None:
    path = f"/{Api.node}/metadata"

    async def go() -> list[object]:
        api = Api(metadata={"disk": "hdd", "room": "1"})
        operations: list[list[dict[str, object]]] = [
            [
                {"op": "add", "path": f"{path}/a", "value": "1"},
                {"op": "add", "path": f"{path}/disk", "value": {"value": "ssd"}},
            ],
            [{"op": "remove", "path": f"{path}/a"}, {"op": "remove", "path": f"{path}/room"}],
        ]
        seen: list[object] = []
        for step in operations:
            assert (await api.ask("PATCH", "/fleet/v1/machines", step)).status == 204
            page = (await api.ask("GET", "/fleet/v1/machines")).json
            seen.append(page["machines"][0]["metadata"])  # type: ignore[index,call-overload]
        return seen

    assert asyncio.run(go()) == [{"a": "1", "disk": "ssd", "room": "1"}, {"disk": "ssd"}]


async def three(api: Api) -> Api:
    """Two machines beside this one, and units: on the first, on the second, on both, on their way."""
    await api.hear(ONE, addresses=("10.0.0.1", "fd00::1"), metadata={"disk": "ssd"})
    await api.hear(TWO, addresses=("10.0.0.2",))
    for name in ("a", "b", "g", "moving", "waiting"):
        options = [*OPTIONS, {"section": "X-Fleet", "name": "Global", "value": str(name == "g")}]
        body = {"options": options, "desiredState": "launched"}
        await api.ask("PUT", f"/fleet/v1/units/{name}.service", body)
    await api.place("a.service", ONE)
    await api.report("a.service", DesiredState.LAUNCHED, node=ONE)
    await api.place("b.service", TWO)
    await api.report("b.service", DesiredState.LOADED, node=TWO, active="inactive", sub="dead")
    for node in (ONE, TWO):
        await api.report("g.service", DesiredState.LAUNCHED, node=node)
    await api.place("moving.service", TWO)
    await api.report("moving.service", DesiredState.LAUNCHED, node=ONE)
    return api


def over_three(method: str, target: str, body: object = None, *, prefix: str = "/fleet/v1") -> Reply:
    async def go() -> Reply:
        return await (await three(Api())).ask(method, f"{prefix}{target}", body)

    return asyncio.run(go())


def fields(page: object, kind: str, *names: str) -> list[tuple[object, ...]]:
    return [tuple(item.get(name, "") for name in names) for item in page[kind]]  # type: ignore[index]


@pytest.mark.parametrize("prefix", ["/fleet/v1", "/v1-alpha"])
def test_units_are_where_they_were_placed_in_the_state_reported_from_there(prefix: str) -> None:
    page = over_three("GET", "/units", prefix=prefix).json
    assert fields(page, "units", "name", "desiredState", "currentState", "machineID") == [
        ("a.service", "launched", "launched", ONE),
        ("b.service", "launched", "loaded", TWO),
        ("g.service", "launched", "", ""),
        ("moving.service", "launched", "inactive", TWO),
        ("waiting.service", "launched", "inactive", ""),
    ]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [("a", ONE), ("b", TWO), ("g", ONE), ("g", TWO), ("moving", ONE)]),
        (f"?machineID={ONE}", [("a", ONE), ("g", ONE), ("moving", ONE)]),
        ("?unitName=g.service", [("g", ONE), ("g", TWO)]),
        (f"?unitName=g.service&machineID={TWO}", [("g", TWO)]),
        ("?unitName=waiting.service", []),
        ("?machineID=nowhere", []),
    ],
)
def test_states_are_of_every_unit_on_every_machine(query: str, found: list[tuple[str, str]]) -> None:
    states = fields(over_three("GET", f"/state{query}").json, "states", "name", "machineID")
    assert states == [(f"{name}.service", machine) for name, machine in found]


def test_the_state_of_one_unit_is_that_of_its_own_machine() -> None:
    assert over_three("GET", "/state/g.service").json["machineID"] == ONE  # type: ignore[index,call-overload]
    assert over_three("GET", "/state/waiting.service").status == 404


def test_a_lost_machine_is_no_longer_listed_nor_its_states() -> None:
    async def go() -> tuple[object, object]:
        api = await three(Api())
        await api.hear(ONE, Liveness.LOST)
        machines = (await api.ask("GET", "/fleet/v1/machines")).json
        states = (await api.ask("GET", "/fleet/v1/state")).json
        return fields(machines, "machines", "id"), fields(states, "states", "machineID")

    assert asyncio.run(go()) == ([(Api.node,), (TWO,)], [(TWO,), (TWO,)])


def test_machines_come_in_pages_with_address_and_labels() -> None:
    async def go() -> list[object]:
        api = await three(Api(limit=1))
        found: list[object] = []
        target = "/v1-alpha/machines"
        while target:
            page = (await api.ask("GET", target)).json
            assert isinstance(page, dict)
            found += fields(page, "machines", "id", "primaryIP", "metadata")
            token = page.get("nextPageToken")
            target = f"/v1-alpha/machines?nextPageToken={token}" if token else ""
        return found

    found = asyncio.run(go())
    assert found[1:] == [(ONE, "10.0.0.1", {"disk": "ssd"}), (TWO, "10.0.0.2", {})]


def test_labels_of_any_machine_are_set_in_both_forms() -> None:
    async def go() -> list[object]:
        api = await three(Api())
        operations = [
            {"op": "replace", "path": f"/{ONE}/metadata/disk", "value": {"value": "hdd"}},
            {"op": "add", "path": f"/{TWO}/metadata/rack.unit_1-a", "value": "7"},
        ]
        assert (await api.ask("PATCH", "/fleet/v1/machines", operations)).status == 204
        page = (await api.ask("GET", "/fleet/v1/machines")).json
        return [item["metadata"] for item in page["machines"]]  # type: ignore[index,call-overload,union-attr]

    assert asyncio.run(go()) == [{}, {"disk": "hdd"}, {"rack.unit_1-a": "7"}]


def test_one_operation_that_cannot_be_refuses_all() -> None:
    async def go() -> tuple[int, object]:
        api = await three(Api())
        operations = [
            {"op": "add", "path": f"/{ONE}/metadata/disk", "value": "hdd"},
            {"op": "add", "path": "/nowhere/metadata/disk", "value": "hdd"},
        ]
        status = (await api.ask("PATCH", "/fleet/v1/machines", operations)).status
        page = (await api.ask("GET", "/fleet/v1/machines")).json
        return status, fields(page, "machines", "metadata")[1]

    assert asyncio.run(go()) == (400, ({"disk": "ssd"},))


@pytest.mark.parametrize("prefix", ["/fleet/v1", "/v1-alpha"])
def test_discovery_describes_the_prefix_that_was_asked(prefix: str) -> None:
    reply = asyncio.run(Api().ask("GET", f"{prefix}/discovery"))
    assert reply.json["basePath"] == f"{prefix}/"  # type: ignore[index,call-overload]
