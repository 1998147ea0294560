"""What strangers may take of a server: some connections for some time, and no more."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.clock import FakeClock, settle
from fakes.secured import Secured
from fakes.tls import AGENT, credential
from skerry.entry.daemon.places import BOUNDS, Bound, Place, Places, Stage, network_of
from skerry.entry.daemon.tls import Limits
from skerry.fleet.access.caller import PersonRole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest
ROOT = Path(__file__).parents[3]
FILES = 65_536
FEW = {**dict.fromkeys(Stage, Bound(100, 100)), Stage.STRANGER: Bound(2, 3), Stage.SHOWN: Bound(3, 3)}
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def test_all_that_is_let_in_is_less_than_the_files_the_daemon_may_open() -> None:
    unit = "os/rootfs/usr/lib/systemd/system/skerryd.service"
    assert f"LimitNOFILE={FILES}" in (ROOT / unit).read_text().split()
    assert sum(bound.of_all for bound in BOUNDS.values()) < FILES * 3 / 4


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([*Stage, None])), max_size=60))
def test_no_bound_is_passed_and_nothing_is_counted_that_is_gone(
    story: list[tuple[str, Stage | None]],
) -> None:
    places, here = Places(FakeClock().monotonic, dict.fromkeys(Stage, Bound(2, 4))), list[Place]()
    for address, stage in story:
        mine = [place for place in here if place.address == address]
        if stage is None and mine:
            mine[0].leave()
            here.remove(mine[0])
        elif stage is not None:
            place = places.place(address) if stage is not Stage.KNOWN or not mine else mine[-1]
            if place.move(stage) and place not in here:
                here.append(place)
        for each in Stage:
            at = [place.address for place in here if place.stage is each]
            assert places.count(each) == len(at) <= 4
            assert max((at.count(one) for one in "abc"), default=0) <= 2
    for place in here:
        place.leave()
        place.leave()
    assert [places.count(each) for each in Stage] == [0] * 3


def test_a_network_of_ipv6_counts_as_one() -> None:
    assert network_of("fd00:0:0:1::5") == network_of("fd00:0:0:1:2:3:4:5") == "fd00:0:0:1::/64"
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert (network_of("::ffff:10.0.0.1"), network_of("10.0.0.1")) == ("10.0.0.1", "10.0.0.1")


def test_that_connections_are_refused_is_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    async def story() -> int:
        clock = FakeClock()
        places = Places(clock.monotonic, dict.fromkeys(Stage, Bound(1, 9)))
        assert places.place("10.0.0.9").move(Stage.STRANGER)
        for _ in range(3):
            assert not places.place("10.0.0.9").move(Stage.STRANGER)
        await clock.advance(61)
        assert not places.place("10.0.0.9").move(Stage.STRANGER)
        return len(caplog.records)

    assert asyncio.run(story()) == 2
    assert "1 of strangers, 1 of them from 10.0.0.9" in caplog.records[0].getMessage()


@contextlib.asynccontextmanager
async def connected(w: Secured, certificate: Path | None = None) -> AsyncIterator[Ends]:
    reader, writer = await asyncio.open_connection("127.0.0.1", w.port, ssl=w.connecting(certificate))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def status(ends: Ends, *fields: str) -> int:
    """Of one more request on a connection; 0 where the server hung up."""
    reader, writer = ends
    lines = ["GET /v1/whoami HTTP/1.1", "host: x", *fields, "", ""]
    try:
        writer.write("\r\n".join(lines).encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    except (OSError, EOFError):
        return 0
    await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r")[0]))
    return int(head.split()[1])


async def _few(directory: Path) -> None:
    w = Secured(directory, bounds=FEW)
    async with w.running(), asyncio.timeout(60), contextlib.AsyncExitStack() as stack:
        _, token, revision = await w.tokens.create_person("ann", PersonRole.VIEWER, ttl_s=3600)
        await w.known.saw_people(revision)
        path = directory / "agent.pem"
        path.write_text(credential(w.authority, AGENT, w.clock.now()).pem)
        bearer = f"authorization: Bearer {token.text}"

        async def more(certificate: Path | None = None) -> Ends:
            return await stack.enter_async_context(connected(w, certificate))

        first = await more()
        assert await status(first, bearer) == 200  # known from now on, and counted no more as a stranger
        strangers = [await more(), await more()]
        await reached(w, Stage.STRANGER, 2)
        assert await status(await more()) == 0
        assert [await status(await more(path)) for _ in range(5)] == [200] * 5
        assert [await status(one, bearer) for one in (first, *strangers)] == [200] * 3
        assert w.places.count(Stage.KNOWN) == 8
        assert await status(await more(), bearer) == 200
        strangers[0][1].transport.abort()
        await reached(w, Stage.KNOWN, 8)
    assert [w.places.count(stage) for stage in Stage] == [0] * 3


async def reached(w: Secured, stage: Stage, count: int) -> None:
    while w.places.count(stage) != count:
        await settle()


def test_strangers_have_few_connections_and_who_is_known_has_many(tmp_path: Path) -> None:
    asyncio.run(_few(tmp_path))


async def _slow(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    w = Secured(directory, limits=Limits(head_s=0.2, body_s=0.2))
    async with w.running(), asyncio.timeout(60), contextlib.AsyncExitStack() as stack:
        path = directory / "agent.pem"
        path.write_text(credential(w.authority, AGENT, w.clock.now()).pem)
        stream = f"/v1/agents/{AGENT.node}/stream"
        opened = w.opened("POST", stream, {}, context=w.connecting(path))
        answered, _, lines = await stack.enter_async_context(opened)
        assert answered == 200
        for beginning in (
            b"G",
            b"POST /v1/cluster/token HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"content-length: 100\r\n\r\n{",
        ):
            reader, writer = await stack.enter_async_context(connected(w))
            writer.write(beginning)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        kept = await stack.enter_async_context(connected(w, path))
        assert await status(kept) == 200
        kept[1].write(b"GET /v1")
        with contextlib.suppress(ConnectionError):
            assert await kept[0].read() == b""
        assert not lines.at_eof()  # its request came in time; the answer goes on
        await reached(w, Stage.KNOWN, 1)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_who_does_not_finish_a_request_is_cut_off_and_streams_live_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(_slow(tmp_path, caplog))
