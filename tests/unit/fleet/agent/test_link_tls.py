"""An agent's link by its certificate: TLS, the guard of the API, and the handlers, all the real ones."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette

from fakes.assign import place, want
from fakes.secured import Secured
from fakes.tls import AGENT, credential
from skerry.entry.daemon.server import make_server, serve
from skerry.entry.daemon.tls import listen_tcp
from skerry.entry.rest.agents import Agents
from skerry.entry.rest.auth import Guard
from skerry.entry.rest.codec import on_error
from skerry.entry.rest.pulse import Pulse
from skerry.fleet.agent.link import RemoteSource
from skerry.fleet.assign.assignment import Full
from skerry.fleet.assign.feed import Feed
from skerry.fleet.assign.reports import Reports
from skerry.fleet.presence.heartbeat import Heartbeat
from skerry.fleet.presence.leader import Leadership
from skerry.fleet.presence.registry import Registry
from skerry.fleet.state.node import Facts
from skerry.fleet.state.unit import DesiredState, UnitReport
from skerry.fleet.trust.contexts import server_context
from skerry.kit.clock import SystemClock
from skerry.kit.errors import SkerryError
from skerry.kit.http import ApiError

if TYPE_CHECKING:
    from pathlib import Path

    from skerry.fleet.presence.heartbeat import Answers, Heard

HELLO = Heartbeat("1", 0, Facts(boot_id="1"))
DEADLINE_S = 30


async def nowhere(url: str, heard: Heard) -> Answers:
    raise SkerryError(f"{url} is not here")


async def story(directory: Path, *, short_way: bool) -> None:
    w = Secured(directory)
    clock = SystemClock()
    leading = Leadership(w.store, "s", "", clock)
    presence = Registry(w.store, leading, clock, nowhere)
    feed = Feed(w.store, clock)
    agents = Agents(feed, Reports(w.store), presence)
    guard = Guard(
        Starlette(routes=agents.routes(), exception_handlers={SkerryError: on_error}), clock, w.known, None
    )
    listener = listen_tcp("127.0.0.1", 0)
    pulse = Pulse(guard, agents)
    server = make_server(guard, server_context(w.pki), pulse if short_way else None)
    works = (leading.run(), presence.run(), feed.run(), w.known.run(), serve(server, [listener]))
    tasks = [asyncio.ensure_future(work) for work in works]
    url = f"https://127.0.0.1:{listener.getsockname()[1]}"
    path = directory / "node.pem"
    path.write_text(credential(w.authority, AGENT, w.clock.now()).pem)
    mine = w.connecting(path)
    link = RemoteSource([url], lambda: mine, AGENT.node, clock, lambda: HELLO)
    other = RemoteSource([url], lambda: mine, "b" * 32, clock, lambda: HELLO)
    nobody = RemoteSource([url], w.connecting, AGENT.node, clock, lambda: HELLO)
    await want(w.store, "web.service")
    await place(w.store, "web.service", AGENT.node)
    try:
        async with asyncio.timeout(DEADLINE_S):
            await w.known.ready()
            while not leading.is_leader:  # noqa: ASYNC110  once, at the start
                await asyncio.sleep(0.01)
            assert (await link.heartbeat(HELLO)).ttl_s == 15
            assert pulse.taken == int(short_way)
            async with aclosing(link.messages()) as messages:
                full = await anext(messages)
            assert isinstance(full, Full)
            assert [a.record.name for a in full.assignments] == ["web.service"]
            report = UnitReport(
                "web.service", AGENT.node, "h", DesiredState.LOADED, "web.service", "", "", ""
            )
            assert await link.report([report], ()) == frozenset()
            for stranger, status in ((other, 403), (nobody, 401)):
                with pytest.raises(ApiError) as caught:
                    await stranger.heartbeat(HELLO)
                assert caught.value.status == status
    finally:
        for one in (link, other, nobody):
            one.close()
        server.should_exit = True
        await asyncio.sleep(0)
        for task in tasks[:-1]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("short_way", [True, False])
def test_a_node_speaks_for_itself_by_its_certificate_and_for_nobody_else(
    tmp_path: Path, short_way: bool
) -> None:
    asyncio.run(story(tmp_path, short_way=short_way))
