"""Passing heartbeats on to the leader: POST /v1/presence/heard of its API, over connections that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from skerry.fleet.presence.heartbeat import Answers, Heard
from skerry.kit.http import HttpError
from skerry.kit.wire import Wire

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

HEARD_PATH = "/v1/presence/heard"
TIMEOUT_S = 2.0


class Forwarder:
    """`Registry`'s way to the leader; `tls` gives this server's context."""

    def __init__(self, tls: Callable[[], ssl.SSLContext] | None) -> None:
        self._tls = tls
        self._wire: Wire | None = None

    async def __call__(self, url: str, heard: Heard) -> Answers:
        """Raises HttpError."""
        if self._wire is None or self._wire.url != url.rstrip("/"):
            self.close()
            self._wire = Wire(url, self._tls)
        body = msgspec.json.encode(heard)
        headers = {"Content-Type": "application/json"}
        answer = await self._wire.request("POST", HEARD_PATH, body, headers=headers, timeout_s=TIMEOUT_S)
        try:
            return msgspec.json.decode(answer.checked().body, type=Answers)
        except msgspec.DecodeError as error:
            raise HttpError(f"the leader's answer cannot be read: {error}") from error

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()
