"""An agent's servers over the network: one of them at a time, the next where it does not answer.

    POST /v1/agents/<id>/stream      Heartbeat → messages, one on each line, for as long as it goes
    POST /v1/agents/<id>/reports     ReportBatch → Taken
    POST /v1/agents/<id>/heartbeat   Heartbeat → Contact
    POST /v1/agents/<id>/goodbye     nothing → nothing

Heartbeats find out first that a server is gone: they are tried with the others at once, and everything moves
to one that answers; after a few times also from a server that is there, but of no use. Pauses between tries
grow, and are spread by chance, so that many agents do not come back in step.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from skerry.fleet.assign.assignment import decode_message
from skerry.fleet.presence.heartbeat import Contact, Heartbeat
from skerry.fleet.state.document import RecordError
from skerry.fleet.state.unit import UnitReport
from skerry.kit.errors import SkerryError
from skerry.kit.http import ApiError, HttpError
from skerry.kit.wire import Wire

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Callable, Sequence

    from skerry.fleet.assign.assignment import Message
    from skerry.kit.clock import Clock
    from skerry.kit.http import Answer

HEARTBEAT_TIMEOUT_S = 2.5
REQUEST_TIMEOUT_S = 15.0
SILENCE_S = 75.0
"""A stream says something twice in this time, be it that there is nothing to say."""

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 20.0
MOST_MISSES = 3
CONFLICT = 409

log = logging.getLogger(__name__)


class ReportBatch(msgspec.Struct, frozen=True, omit_defaults=True):
    """See Source.report."""

    reports: tuple[UnitReport, ...] = ()
    gone: tuple[str, ...] = ()
    whole: bool = False


class Taken(msgspec.Struct, frozen=True, omit_defaults=True):
    """The claims that were refused."""

    refused: tuple[str, ...] = ()


class NoServerError(SkerryError):
    """None of the servers answers as it should."""


class RemoteSource:
    """Implements Source over `servers`, "https://ADDRESS:7443" each. `hello` is what a stream begins with."""

    def __init__(
        self,
        servers: Sequence[str],
        tls: Callable[[], ssl.SSLContext] | None,
        node: str,
        clock: Clock,
        hello: Callable[[], Heartbeat],
        *,
        chance: random.Random | None = None,
    ) -> None:
        if not servers:
            raise ValueError("an agent needs a server")
        self._chance = chance or random.Random()  # noqa: S311  spreads load, keeps no secret
        self._wires = [Wire(url, tls) for url in servers]
        self._chance.shuffle(self._wires)
        self._tls = tls
        self._path = f"/v1/agents/{node}"
        self._clock = clock
        self._hello = hello
        self._limit: asyncio.Timeout | None = None
        self._refused = ""
        self._misses = 0  # heartbeats that the first of the servers could not answer

    @property
    def refused(self) -> str:
        """Why the servers will not have this machine, as they last said; "" where they will."""
        return self._refused

    @property
    def server(self) -> str:
        """The one that is spoken to."""
        return self._wires[0].url

    async def messages(self) -> AsyncGenerator[Message, None]:
        failures, said = 0, ""
        while True:
            wire = self._wires[0]
            try:
                async with aclosing(self._stream(wire)) as messages:
                    async for message in messages:
                        if failures:
                            log.info("%s tells what is to run here", wire.url)
                        failures, said = 0, ""
                        yield message
                error: SkerryError = NoServerError(f"{wire.url} ended its stream")
            except (HttpError, RecordError) as failure:
                error = failure
            if error.message != said:
                log.warning("no assignments for now: %s", error.message)
            said = error.message
            self._leave(wire)
            await self._pause(failures)
            failures += 1

    async def report(
        self, reports: Sequence[UnitReport], gone: Sequence[str], *, whole: bool = False
    ) -> frozenset[str]:
        body = msgspec.json.encode(ReportBatch(tuple(reports), tuple(gone), whole))
        failures = 0
        while True:
            wire = self._wires[0]
            try:
                answer = (await self._ask(wire, "reports", body, REQUEST_TIMEOUT_S)).checked()
                return frozenset(msgspec.json.decode(answer.body, type=Taken).refused)
            except ApiError as error:
                if error.status in (400, 413, 415):
                    log.warning("a server refuses our reports: %s", error.message)
                    return frozenset()
                problem: SkerryError = error
            except (HttpError, msgspec.DecodeError) as error:
                problem = error if isinstance(error, HttpError) else NoServerError(str(error))
            log.debug("reports wait: %s", problem.message)
            await self._pause(failures)
            failures += 1

    async def heartbeat(self, beat: Heartbeat) -> Contact:
        body = msgspec.json.encode(beat)
        problem: SkerryError | None = None
        for wire in tuple(self._wires):
            try:
                answer = (await self._ask(wire, "heartbeat", body, HEARTBEAT_TIMEOUT_S)).checked()
                contact = msgspec.json.decode(answer.body, type=Contact)
            except ApiError as error:
                self._hear(error)
                if error.status < 500:
                    raise
                problem = problem or error
                # It is there, and may only be waiting for a leader, as all of them do then.
                self._misses += wire is self._wires[0]
            except HttpError as error:
                problem = problem or error
                self._misses = MOST_MISSES
            except msgspec.DecodeError as error:
                problem = problem or NoServerError(f"{wire.url} answers what cannot be read: {error}")
            else:
                self._refused = ""
                if wire is self._wires[0] or self._misses >= MOST_MISSES:
                    self._misses = 0
                    self._move_to(wire)
                return contact
        raise problem or NoServerError("no server answers")

    async def goodbye(self) -> None:
        problem: SkerryError | None = None
        for wire in tuple(self._wires):
            try:
                (await self._ask(wire, "goodbye", b"", HEARTBEAT_TIMEOUT_S)).checked()
            except HttpError as error:
                problem = problem or error
            else:
                return
        raise problem or NoServerError("no server answers")

    def use(self, servers: Sequence[str]) -> None:
        """These are the servers from now on; the one that is spoken to stays first where it is among them.

        Where it is not its stream is left: what it tells may be as old as its departure.
        """
        known = {wire.url: wire for wire in self._wires}
        wanted = list(dict.fromkeys(url.rstrip("/") for url in servers))
        fresh = [Wire(url, self._tls) for url in wanted if url not in known]
        self._chance.shuffle(fresh)
        kept = [wire for wire in self._wires if wire.url in wanted]
        if kept or fresh:
            gone = [wire for wire in self._wires if wire.url not in wanted]
            first = self._wires[0]
            self._wires = kept + fresh
            for wire in gone:
                wire.close()
            if first in gone:
                self._misses = 0
                self._cut_stream()

    def close(self) -> None:
        """Close the connections that are kept; those in use are closed with what uses them."""
        for wire in self._wires:
            wire.close()

    async def _stream(self, wire: Wire) -> AsyncGenerator[Message, None]:
        hello = msgspec.json.encode(self._hello())
        headers = {"Content-Type": "application/json"}
        path = f"{self._path}/stream"
        async with wire.stream("POST", path, hello, headers=headers, timeout_s=REQUEST_TIMEOUT_S) as stream:
            if stream.status >= 400:
                error = _error(stream.status, await stream.body())
                self._hear(error)
                raise error
            self._refused = ""
            async with aclosing(stream.lines()) as lines:
                while True:
                    try:
                        async with asyncio.timeout(SILENCE_S) as self._limit:
                            line = await anext(lines, None)
                    except TimeoutError as error:
                        raise HttpError(f"{wire.url} is silent") from error
                    finally:
                        self._limit = None
                    if line is None:
                        return
                    message = decode_message(line)
                    if message is not None:
                        yield message

    async def _ask(self, wire: Wire, what: str, body: bytes, timeout_s: float) -> Answer:
        headers = {"Content-Type": "application/json"}
        return await wire.request("POST", f"{self._path}/{what}", body, headers=headers, timeout_s=timeout_s)

    def _hear(self, error: ApiError) -> None:
        if error.status == CONFLICT and error.message != self._refused:
            log.error("%s", error.message)
            self._refused = error.message

    def _leave(self, wire: Wire) -> None:
        """Try this server last from now on."""
        if self._wires[0] is wire:
            self._wires.append(self._wires.pop(0))

    def _move_to(self, wire: Wire) -> None:
        if self._wires[0] is wire or wire not in self._wires:
            return  # it may have been taken off the list while it was asked
        self._wires.remove(wire)
        self._wires.insert(0, wire)
        log.info("speaking to %s now", wire.url)
        self._cut_stream()

    def _cut_stream(self) -> None:
        """Begin a stream anew, from the server that is the first by now."""
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time())

    async def _pause(self, failures: int) -> None:
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**failures)
        await self._clock.sleep(longest * self._chance.uniform(0.3, 1))


def _error(status: int, body: bytes) -> ApiError:
    from skerry.kit.http import Answer

    try:
        Answer(status, {}, body).checked()
    except ApiError as error:
        return error
    return ApiError(status, str(status), f"the server answered {status}")
