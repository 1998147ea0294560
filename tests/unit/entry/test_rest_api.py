"""Skerry's own API: what it answers, and that nothing a client sends is a bug of ours."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.asgi import Api, Reply, ask
from fakes.daemon import MACHINE
from skerry.entry.rest.app import create_app
from skerry.entry.rest.host import Host
from skerry.fleet.state.unit import unit_key
from skerry.fleet.store.interface import Put

OFFER = {"name": "a.service", "text": "# mine\n[Unit]\nDescription=An A\n[Service]\nExecStart=/bin/sleep 1\n"}


def told(*requests: tuple[object, ...]) -> Reply:
    """The answer to the last of several requests."""

    async def go() -> Reply:
        api = Api()
        replies = [await api.ask(*request) for request in requests]  # type: ignore[arg-type]
        return replies[-1]

    return asyncio.run(go())


def order(verb: str, *names: str, **more: object) -> tuple[object, ...]:
    return ("POST", "/v1/units", {"verb": verb, "names": names, **more})


def test_a_submitted_file_comes_back_as_it_was() -> None:
    assert told(order("submit", "a.service", offers=[OFFER]), ("GET", "/v1/units/a.service/file")).body == (
        OFFER["text"].encode()
    )


def test_submits_many_or_none() -> None:
    bad = {"name": "b.service", "text": "no section"}
    reply = told(order("submit", "a.service", "b.service", offers=[OFFER, bad]), ("GET", "/v1/units"))
    assert reply.json["units"] == []  # type: ignore[index,call-overload]


def test_a_refused_unit_names_every_problem_with_its_line() -> None:
    bad = {"name": "b.service", "text": "[Service]\nnonsense\n[open\n", "file": "dir/b.service"}
    reply = told(order("submit", "b.service", offers=[bad]))
    problems = reply.json["error"]["problems"]  # type: ignore[index,call-overload]
    assert (reply.status, [(p["file"], p["line"]) for p in problems]) == (  # type: ignore[index,call-overload,union-attr]
        400,
        [("dir/b.service", 2), ("dir/b.service", 3)],
    )


def test_verify_stores_nothing() -> None:
    bad = {"name": "b.service", "text": "nonsense"}
    reply = told(("POST", "/v1/verify", {"offers": [OFFER, bad]}))
    assert reply.json["refused"] == ["b.service"]  # type: ignore[index,call-overload]


def test_a_record_that_cannot_be_read_is_named() -> None:
    async def go() -> Reply:
        api = Api()
        await api.store.transact([], [Put(unit_key("n.service"), b'{"version": 99}')])
        return await api.ask("GET", "/v1/units")

    assert "99" in asyncio.run(go()).json["unreadable"]["n.service"]  # type: ignore[index,call-overload,operator]


def test_a_journal_is_a_line_of_json_each() -> None:
    reply = told(
        order("submit", "a.service", offers=[OFFER]),
        ("GET", "/v1/units/a.service/journal?lines=1&follow=true"),
    )
    assert [json.loads(line)["message"] for line in reply.body.splitlines()] == [
        "a.service says 0",
        "a.service says 1",
    ]


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (("GET", "/v1/units/no.service"), 404, "unit-not-found"),
        (("DELETE", "/v1/units/no.service"), 404, "unit-not-found"),
        (("GET", "/nothing"), 404, "not-found"),
        (("PUT", "/v1/units", {}), 405, "method-not-allowed"),
        (("POST", "/v1/units", b"{", {"content-type": "text/plain"}), 415, "not-json"),
        (("POST", "/v1/units", b"{"), 400, "bad-request"),
        (("POST", "/v1/units", {"verb": "start", "names": [], "colour": 1}), 400, "bad-request"),
        (("POST", "/v1/units", {"verb": "fly", "names": ["a"]}), 400, "bad-request"),
        (order("start", "a.service"), 404, "unit-not-found"),
        (order("start", "a b.service"), 400, "refused"),
        (("POST", "/v1/units", b'{"a":"' + b"x" * (9 << 20)), 413, "too-large"),
        (("GET", "/v1/events?after=x"), 400, "bad-request"),
    ],
)
def test_refuses_with_a_code_and_a_sentence(request_: tuple[object, ...], status: int, code: str) -> None:
    reply = told(request_)
    assert (reply.status, reply.json["error"]["code"]) == (status, code)  # type: ignore[index,call-overload]
    assert reply.error


def test_a_wrong_type_is_named_by_its_place() -> None:
    offer = {"name": "a.service", "text": 5}
    assert "$.offers[0].text" in told(order("submit", "a.service", offers=[offer])).error


@pytest.mark.parametrize("path", ["/v1/units", "/fleet/v1/units", "/v2/keys", "/v1/events"])
def test_without_a_store_every_path_says_why(path: str) -> None:
    app = create_app(Host(MACHINE, lambda: "the store is damaged"), None)
    reply = asyncio.run(ask(app, "GET", path, b"", {}))
    assert (reply.status, reply.error) == (503, "the store is damaged")


def test_without_a_store_the_host_answers() -> None:
    app = create_app(Host(MACHINE, lambda: "the store is damaged", Path("/nonexistent")), None)
    reply = asyncio.run(ask(app, "GET", "/v1/host", b"", {}))
    assert reply.json["problems"] == ["the store is damaged"]  # type: ignore[index,call-overload]


def test_openapi_describes_every_path() -> None:
    document = told(("GET", "/v1/openapi.json")).json
    assert isinstance(document, dict)
    assert {"/v1/units", "/v1/units/{name}", "/v1/host", "/v1/events", "/v1/verify"} <= set(document["paths"])  # type: ignore[arg-type]
    body = document["paths"]["/v1/units"]["post"]["requestBody"]["content"]  # type: ignore[index,call-overload]
    assert body["application/json"]["schema"] == {"$ref": "#/components/schemas/Order"}  # type: ignore[index,call-overload]


def test_metrics_count_the_units() -> None:
    reply = told(order("start", "a.service", offers=[OFFER]), ("GET", "/metrics"))
    assert b'skerry_units{desired="launched"} 1\n' in reply.body


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "verb": st.sampled_from(["submit", "load", "start", "stop", "unload", "destroy"]) | values,
        "names": st.lists(
            st.sampled_from(["a.service", "a@.service", "*", "[", "", "x"]) | st.text(max_size=9), max_size=3
        )
        | values,
        "offers": st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from(["a.service", "x"]), "text": st.text(max_size=40)}
            ),
            max_size=2,
        )
        | values,
        "replace": st.booleans() | values,
        "name": st.sampled_from(["a.service"]) | values,
        "options": st.lists(
            st.fixed_dictionaries(
                {"section": st.text(max_size=5), "name": st.text(max_size=5), "value": st.text(max_size=9)}
            ),
            max_size=3,
        )
        | values,
        "desiredState": st.sampled_from(["launched", "loaded"]) | values,
    },
)
targets = st.sampled_from(
    [
        ("POST", "/v1/units"),
        ("POST", "/v1/verify"),
        ("PUT", "/fleet/v1/units/a.service"),
        ("PUT", "/fleet/v1/units/a@.service"),
        ("PATCH", "/fleet/v1/machines"),
    ]
)
bodies = st.binary(max_size=40) | (fields | values).map(lambda value: json.dumps(value).encode())


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(targets, bodies), min_size=1, max_size=3))
def test_no_body_is_a_bug(requests: list[tuple[tuple[str, str], bytes]]) -> None:
    async def go() -> list[int]:
        api = Api()
        return [(await api.ask(method, path, body)).status for (method, path), body in requests]

    assert all(status < 500 for status in asyncio.run(go()))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["GET", "PUT", "DELETE", "POST", "PATCH"]),
    st.sampled_from(["/fleet/v1/units/", "/v1/units/", "/fleet/v1/state/", "/fleet/v1/"]),
    st.text(st.characters(codec="utf-8", exclude_characters="?#"), max_size=20),
    st.text(max_size=20),
)
def test_no_path_and_no_query_is_a_bug(method: str, prefix: str, rest: str, query: str) -> None:
    from urllib.parse import quote

    target = f"{prefix}{quote(rest)}?nextPageToken={quote(query)}&lines={quote(query)}"
    assert asyncio.run(Api().ask(method, target, b"")).status < 500
