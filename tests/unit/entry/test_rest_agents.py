"""/v1/agents by hand: who may speak for whom, and what is refused without anything being changed."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from fakes.asgi import ask
from fakes.cluster import ClusterServer, Guarded
from skerry.fleet.access.caller import NOBODY, Caller, CallerKind, PersonRole, root
from skerry.fleet.agent.link import ReportBatch
from skerry.fleet.presence.heartbeat import Heard, Heartbeat
from skerry.fleet.presence.leader import LEADER_KEY, LED_KEY
from skerry.fleet.state.node import Facts, Role
from skerry.fleet.state.unit import DesiredState, UnitReport
from skerry.fleet.store.memory import MemoryStore
from skerry.kit.clock import SystemClock

JSON = {"content-type": "application/json"}
BEAT = msgspec.json.encode(Heartbeat("1", 0, Facts()))
REPORT = UnitReport(
    "web.service", "b", "h", DesiredState.LOADED, "web.service", "loaded", "active", "running"
)
AGENT_A = Caller(CallerKind.NODE, "a", node_role=Role.AGENT)
ADMIN = Caller(CallerKind.PERSON, "ann", PersonRole.ADMIN)


def asked(caller: Caller, path: str, body: bytes) -> tuple[int, int]:
    """The status, and how many keys there are afterwards but those of who leads and of who led."""

    async def scenario() -> tuple[int, int]:
        store = MemoryStore(clock=SystemClock())
        server = ClusterServer(store, "s")
        await server.start()
        try:
            reply = await ask(Guarded(server.app._app, lambda _: caller), "POST", path, body, JSON)
            keys = {entry.key for entry in (await store.list("")).entries}
            return reply.status, len(keys - {LEADER_KEY, LED_KEY})
        finally:
            await server.kill()

    return asyncio.run(scenario())


@pytest.mark.parametrize("what", ["heartbeat", "reports", "goodbye", "stream"])
@pytest.mark.parametrize("caller", [NOBODY, ADMIN, AGENT_A])
def test_nobody_speaks_for_a_node_but_itself(what: str, caller: Caller) -> None:
    body = msgspec.json.encode(ReportBatch()) if what == "reports" else BEAT
    assert asked(caller, f"/v1/agents/b/{what}", body) == (403, 0)


def test_a_node_reports_for_itself_only() -> None:
    body = msgspec.json.encode(ReportBatch((REPORT,)))
    assert asked(AGENT_A, "/v1/agents/a/reports", body) == (403, 0)


@pytest.mark.parametrize("name", ["../../units/web.service", "", "a" * 300 + ".service"])
def test_a_report_is_about_a_unit(name: str) -> None:
    assert asked(AGENT_A, "/v1/agents/a/reports", msgspec.json.encode(ReportBatch(gone=(name,)))) == (400, 0)
    report = msgspec.structs.replace(REPORT, name=name, node="a")
    assert asked(AGENT_A, "/v1/agents/a/reports", msgspec.json.encode(ReportBatch((report,)))) == (400, 0)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"boot": 1}', b'{"boot":"1","now":"x"}'])
def test_what_is_no_heartbeat_is_refused(body: bytes) -> None:
    assert asked(AGENT_A, "/v1/agents/a/heartbeat", body) == (400, 0)


def test_a_heartbeat_is_taken() -> None:
    assert asked(AGENT_A, "/v1/agents/a/heartbeat", BEAT) == (200, 1)


@pytest.mark.parametrize(
    ("caller", "status"),
    [
        (Caller(CallerKind.NODE, "s", node_role=Role.SERVER), 200),
        (root(), 200),
        (AGENT_A, 403),
        (ADMIN, 403),
        (NOBODY, 403),
    ],
)
def test_only_servers_pass_heartbeats_on(caller: Caller, status: int) -> None:
    heard = Heard({"b": Heartbeat("1", 0, Facts())})
    assert asked(caller, "/v1/presence/heard", msgspec.json.encode(heard)) == (status, int(status == 200))
