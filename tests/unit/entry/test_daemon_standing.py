"""What a machine knows of its cluster: kept where it is news, and asked for again where it could not be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import msgspec

from fakes.clock import FakeClock, settle
from skerry.entry.daemon.standing import AGENT_AGAIN_S, AGENT_EVERY_S, Standing
from skerry.entry.rest.servers import SERVERS_PATH
from skerry.fleet.cluster.membership import FILE_NAME, Membership, read_membership, write_membership
from skerry.fleet.state.node import Role
from skerry.kit.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from skerry.fleet.store.etcd import EtcdStore

ONE, TWO = "https://10.0.0.1:7443", "https://10.0.0.2:7443"
MEMBER = Membership("c1", "home", "5" * 32, Role.AGENT, "10.0.0.5", (ONE,))


def test_only_news_is_written_and_the_rest_of_the_file_stays(tmp_path: Path) -> None:
    write_membership(tmp_path, MEMBER)
    standing = Standing(tmp_path, MEMBER)
    before = (tmp_path / FILE_NAME).stat().st_ino
    assert not standing.learn([ONE])
    assert (tmp_path / FILE_NAME).stat().st_ino == before
    assert standing.learn([ONE, TWO])
    written = read_membership(tmp_path)
    assert written is not None
    assert (written.servers, written.name, written.address) == ((ONE, TWO), "home", "10.0.0.5")
    assert standing.now() == written


def test_a_damaged_file_ends_nothing_and_is_left_for_a_person_to_see(tmp_path: Path) -> None:
    standing = Standing(tmp_path, MEMBER)
    (tmp_path / FILE_NAME).write_text("{")
    assert not standing.learn([ONE])
    assert standing.now() == MEMBER
    assert (tmp_path / FILE_NAME).read_text() == "{"
    assert standing.learn([ONE, TWO])
    assert standing.now().servers == (ONE, TWO)


class Answering:
    """A server that gives these bodies in turn, the last one again and again."""

    def __init__(self, *bodies: bytes) -> None:
        self._bodies = list(bodies)
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.split()[1].decode())
        body = self._bodies.pop(0) if len(self._bodies) > 1 else self._bodies[0]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()


async def asking(
    directory: Path, *bodies: bytes, pauses: int, every_s: float = AGENT_EVERY_S
) -> tuple[list[Sequence[str]], list[str]]:
    """The news that an agent had after so many pauses, and what it asked."""
    there, clock = Answering(*bodies), FakeClock()
    news: list[Sequence[str]] = []
    async with await asyncio.start_server(there.serve, "127.0.0.1", 0) as server, asyncio.timeout(20):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        task = asyncio.create_task(Standing(directory, MEMBER).ask(lambda: Wire(url), clock, news.append))
        for _ in range(pauses):
            while not (clock.sleeping or task.done()):
                await settle()
            if task.done():
                await task
            await clock.advance(every_s)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return news, there.asked


def test_an_agent_learns_of_servers_and_goes_on_where_an_answer_is_of_no_use(tmp_path: Path) -> None:
    both = b'{"servers": ["%s", "%s"]}' % (ONE.encode(), TWO.encode())
    bodies = (b"what?", b'{"servers": []}', both, both)
    news, asked = asyncio.run(asking(tmp_path, *bodies, pauses=4))
    assert news == [(ONE, TWO)]
    assert asked[:4] == [SERVERS_PATH] * 4


def test_a_disk_that_takes_nothing_does_not_end_it(tmp_path: Path) -> None:
    news, asked = asyncio.run(asking(tmp_path / "gone", b'{"servers": ["%s"]}' % TWO.encode(), pauses=3))
    assert (news, len(asked) >= 3) == ([(TWO,)], True)


def test_after_news_it_asks_again_soon_for_a_server_may_not_know_all(tmp_path: Path) -> None:
    one, both = (b'{"servers": ["%s"]}' % text.encode() for text in (ONE, f'{ONE}", "{TWO}'))
    news, _ = asyncio.run(
        asking(tmp_path, b'{"servers": ["%s"]}' % TWO.encode(), both, pauses=2, every_s=AGENT_AGAIN_S)
    )
    assert news == [(TWO,), (ONE, TWO)]
    _, asked = asyncio.run(asking(tmp_path / "quiet", one, pauses=3, every_s=AGENT_AGAIN_S))
    assert len(asked) == 1


class Members:
    """Of a store, what tells who its members are."""

    def __init__(self) -> None:
        self.urls: list[dict[str, object]] = []

    @property
    def client(self) -> Members:
        return self

    async def ask(self, path: str, body: object, kind: type[object]) -> object:
        return msgspec.convert({"members": self.urls}, kind)


def test_a_server_that_was_let_in_is_known_before_it_begins(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock, etcd = FakeClock(), Members()
        etcd.urls = [{"ID": 1, "name": MEMBER.node, "clientURLs": ["https://10.0.0.5:2379"]}]
        standing = Standing(tmp_path, MEMBER)
        task = asyncio.create_task(standing.follow(cast("EtcdStore", etcd), clock))
        while not clock.sleeping:
            await settle()
        assert standing.now().servers == ("https://10.0.0.5:7443",)
        etcd.urls.append({"ID": 2, "peerURLs": ["https://10.0.0.2:2380"], "isLearner": True})
        standing.more()
        await settle()
        assert standing.now().servers == ("https://10.0.0.5:7443", TWO)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())
