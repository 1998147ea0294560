"""Which servers an agent speaks to while they come and go."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from skerry.fleet.agent.link import RemoteSource
from skerry.fleet.assign.assignment import Full, encode_message
from skerry.fleet.presence.heartbeat import Contact, Heartbeat
from skerry.fleet.state.node import Facts
from skerry.kit.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

HELLO = Heartbeat("1", 0, Facts(boot_id="1"))
NOBODY = "http://127.0.0.1:1"
DEADLINE_S = 20
URLS = [f"http://10.0.0.{number}:7443" for number in range(1, 6)]


def link_to(servers: Sequence[str]) -> RemoteSource:
    return RemoteSource(servers, None, "a", SystemClock(), lambda: HELLO)


def order(link: RemoteSource) -> list[str]:
    return [wire.url for wire in link._wires]


@given(
    st.lists(st.sampled_from(URLS), min_size=1, unique=True),
    st.lists(st.lists(st.sampled_from([*URLS, *(f"{url}/" for url in URLS)]))),
)
def test_the_servers_are_those_last_named_each_once_and_who_is_spoken_to_stays(
    first: list[str], news: list[list[str]]
) -> None:
    link = link_to(first)
    known = set(first)
    for named in news:
        before = order(link)
        link.use(named)
        known = {url.rstrip("/") for url in named} or known
        after = order(link)
        assert sorted(after) == sorted(known)
        stay = [url for url in before if url in known]
        assert after[: len(stay)] == stay
    link.close()


class Slow:
    """A server that answers heartbeats when it is let, and whose streams say one thing."""

    def __init__(self) -> None:
        self.url = ""
        self.asked, self.let = asyncio.Event(), asyncio.Event()
        self.streaming, self.left = asyncio.Event(), asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if "/stream" in head:
            line = encode_message(Full((), 1))
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            writer.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.streaming.set()
            while await reader.read(1 << 16):
                pass
            self.left.set()
        else:
            self.asked.set()
            await self.let.wait()
            body = msgspec.json.encode(Contact(15.0))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()


@asynccontextmanager
async def slow() -> AsyncIterator[Slow]:
    made = Slow()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield made


def test_a_server_may_go_while_it_is_asked() -> None:
    async def story() -> None:
        async with asyncio.timeout(DEADLINE_S), slow() as going:
            link = link_to([NOBODY])
            link.use([NOBODY, going.url])
            beat = asyncio.create_task(link.heartbeat(HELLO))
            await going.asked.wait()
            link.use([NOBODY])
            going.let.set()
            assert (await beat).ttl_s == 15
            assert order(link) == [NOBODY]
            link.close()

    asyncio.run(story())


def test_the_stream_of_a_server_that_went_is_left_for_one_that_is_there() -> None:
    async def story() -> None:
        async with asyncio.timeout(DEADLINE_S), slow() as gone, slow() as there:
            link = link_to([gone.url])
            told = asyncio.Event()

            async def listen() -> None:
                async with aclosing(link.messages()) as messages:
                    async for _ in messages:
                        told.set()

            listening = asyncio.create_task(listen())
            await told.wait()
            link.use([there.url])
            await gone.left.wait()
            await there.streaming.wait()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            link.close()

    asyncio.run(story())
