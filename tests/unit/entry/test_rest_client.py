"""The typed client, against the application itself and, for what streams, against a daemon."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from fakes.asgi import Api, Wire
from fakes.daemon import MACHINE, Daemon
from skerry.entry.rest.client import Skerry, UnitsFailedError
from skerry.entry.rest.views import NodeEvent, Offer, UnitEvent, Verb
from skerry.fleet.state.unit import DesiredState
from skerry.kit.http import ApiError, HttpError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

ONE = "1" * 32
HELLO = Offer("a.service", "[Unit]\nDescription=An A\n[Service]\nExecStart=/bin/sleep 1\n")


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire(Api()) as wire:
        yield wire


@pytest.fixture
def skerry(wire: Wire) -> Skerry:
    wire.run(wire.api.hear(ONE, hostname="one", addresses=("10.0.0.1",), metadata={"disk": "ssd"}))
    return Skerry(wire)


def test_units_are_stored_listed_read_and_destroyed(skerry: Skerry) -> None:
    accepted = skerry.submit("a.service", offers=[HELLO])
    assert (accepted.changed, [u.description for u in skerry.units()]) == (("a.service",), ["An A"])
    assert (skerry.unit("a.service").text, skerry.text("a.service")) == (HELLO.text, HELLO.text)
    assert [outcome.done for outcome in skerry.destroy("a.service")] == [True]
    assert list(skerry.units()) == []


def test_lists_follow_their_pages(skerry: Skerry) -> None:
    names = [f"u{number}.service" for number in range(5)]
    skerry.submit(*names, offers=[Offer(name, HELLO.text) for name in names])
    page = skerry.unit_page(limit=2)
    assert [u.name for u in page.units] == names[:2]
    assert [u.name for u in skerry.unit_page(limit=2, token=page.next or "").units] == names[2:4]
    assert [u.name for u in skerry.units(name="u[1-3]*")] == names[1:4]


def test_a_refusal_carries_the_servers_words(skerry: Skerry) -> None:
    with pytest.raises(ApiError) as caught:
        skerry.unit("no.service")
    assert (caught.value.status, caught.value.code, bool(caught.value.hint)) == (404, "unit-not-found", True)


def test_a_unit_that_no_machine_can_take_fails_with_the_reason(skerry: Skerry, wire: Wire) -> None:
    wire.api.desired.settle_s = 0.001
    with pytest.raises(UnitsFailedError, match="no machine can take it: Memory=64G") as caught:
        skerry.start("a.service", offers=[HELLO])
    assert [outcome.name for outcome in caught.value.outcomes] == ["a.service"]


def test_start_waits_until_a_unit_runs(skerry: Skerry, wire: Wire) -> None:
    skerry.order(Verb.START, "a.service", offers=[HELLO])
    content = skerry.unit("a.service").unit.hash
    wire.run(wire.api.place("a.service", ONE))
    wire.run(wire.api.report("a.service", DesiredState.LAUNCHED, node=ONE, content=content))
    assert [outcome.machine for outcome in skerry.start("a.service")] == ["11111111.../10.0.0.1"]


def test_why_and_verify_and_journal(skerry: Skerry) -> None:
    skerry.submit("a.service", offers=[HELLO])
    assert skerry.explain("a.service").why == "no machine can take it"
    assert skerry.verify(Offer("b.service", "nonsense")).refused == ("b.service",)
    assert [line.message for line in skerry.journal("a.service", lines=1)] == ["a.service says 0"]


def test_machines_are_labelled_cordoned_drained_and_removed(skerry: Skerry) -> None:
    assert [node.id for node in skerry.nodes("disk=ssd")] == [ONE]
    assert skerry.label("one", {"disk": None, "room": "2"}).metadata == {"room": "2"}
    assert skerry.cordon("one").cordoned
    assert [progress.done for progress in skerry.drain("one")] == [True]
    assert not skerry.uncordon("one").draining
    skerry.remove("one")
    assert [node.id for node in skerry.nodes()] == [MACHINE]


def test_the_cluster_is_one_value(skerry: Skerry) -> None:
    cluster = skerry.cluster()
    assert (cluster.quorum, cluster.nodes["ready"]) == (True, 2)


def test_an_answer_of_another_program_is_said_to_be_one(wire: Wire) -> None:
    async def hello(request: Request) -> JSONResponse:
        return JSONResponse({"hello": "world"})

    wire.api.app = Starlette(routes=[Route("/v1/cluster", hello)])
    with pytest.raises(HttpError, match="does not understand"):
        Skerry(wire).cluster()


def test_the_reference_has_every_method() -> None:
    page = (Path(__file__).parents[3] / "docs/reference/client.md").read_text()
    methods = {name for name in vars(Skerry) if not name.startswith("_")} - {"local"}
    assert methods - set(re.findall(r"`(\w+)`", page)) == set()


def test_the_example_of_the_reference_is_python() -> None:
    page = (Path(__file__).parents[3] / "docs/reference/client.md").read_text()
    assert [
        compile(text, "client.md", "exec") for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    ]


def test_changes_are_watched_from_a_revision(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        skerry = Skerry.local(str(daemon.socket))
        with closing(skerry.watch(kinds="node")) as events:
            first = next(events)
        assert isinstance(first.change, NodeEvent)
        revision = skerry.submit("a.service", offers=[HELLO]).revision
        skerry.label(MACHINE, {"room": "1"})
        with closing(skerry.watch(revision - 1)) as events:
            seen = [next(events), next(events)]
        assert [type(event.change) for event in seen] == [UnitEvent, NodeEvent]
        assert seen[0].revision == revision < seen[1].revision  # the audit log lies in between
