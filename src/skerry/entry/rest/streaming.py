"""Answers that go on: lines or events, until there are no more or the client is gone.

Starlette's own response does not notice, under uvicorn's newer protocol, that a client left before it
has something to send: a journal that is followed and says nothing would be read for ever. This one
listens while it sends, and closes what it reads from at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from starlette.types import Receive, Scope, Send


class Stream(StreamingResponse):
    """Sends what a generator yields; the generator is closed however this ends."""

    def __init__(
        self,
        parts: AsyncGenerator[bytes, None],
        *,
        media_type: str,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(parts, status, headers, media_type)
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(self.stream_response(send))
        leaving = asyncio.create_task(self.listen_for_disconnect(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            leaving.cancel()
            sent, _ = await asyncio.gather(sending, leaving, return_exceptions=True)
            await self._parts.aclose()
        # An OSError is how uvicorn says that the client is gone.
        if isinstance(sent, Exception) and not isinstance(sent, OSError):
            raise sent
