"""A way to a server on which answers get lost: the request arrives, is acted upon, and nobody hears of it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class LossyWay:
    """Listens on a port of its own. `lose` is how many of the next answers (of any connection) are dropped.

    Only requests whose path holds `only` count.
    """

    def __init__(self, target: str, only: bytes = b"/v3/kv/txn") -> None:
        host, _, port = target.removeprefix("http://").partition(":")
        self._target = (host, int(port))
        self._only = only
        self.lose = 0
        self.lost = 0
        self.url = ""
        self._serving: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[LossyWay]:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._serving.add(asyncio.create_task(self._serve(reader, writer)))

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._target)
        dropping = asyncio.Event()

        async def requests() -> None:
            while data := await reader.read(65536):
                if self.lose and self._only in data:
                    self.lose -= 1
                    dropping.set()
                back.write(data)
                await back.drain()

        async def answers() -> None:
            while data := await there.read(65536):
                if dropping.is_set():
                    self.lost += 1
                    return
                writer.write(data)
                await writer.drain()

        tasks = [asyncio.create_task(requests()), asyncio.create_task(answers())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            back.close()
            writer.close()
