"""Questions to etcd's JSON gateway, asked of one member after the other until one answers.

Whoever asks says whether the question may be asked twice. A member that fails is left alone for a while,
longer each time; the first in the list that is not is asked, so that a server prefers its own member.

    REFUSED     etcd said no, and nothing was done: the caller's to handle (RefusedError)
    not sent    no byte went out, or etcd was too busy to take it: asked again
    perhaps     the connection broke, no answer in time, no leader: asked again, and the next question knows
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import msgspec

from skerry.fleet.store.errors import OutcomeUnknownError, StoreError, UnavailableError
from skerry.fleet.store.etcd_messages import Refusal
from skerry.kit.wire import Wire, WireError

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Sequence

    from skerry.kit.clock import Clock
    from skerry.kit.http import Answer
    from skerry.kit.wire import Stream

ATTEMPT_S = 5.0
URGENT_S = 2.0
"""For what must be in time: a member that passed it on to a leader that is gone tries no other itself."""

PATIENCE_S = 20.0
"""How long a question is asked again: an election takes some two seconds, a restart five."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
LONGEST_PENALTY_S = 15.0
AT_ONCE = 64
"""Questions on their way: more would only open more connections, and wait in etcd instead of here."""

INVALID, NOT_FOUND, EXHAUSTED, PRECONDITION, OUT_OF_RANGE = 3, 5, 8, 9, 11
_REFUSALS = frozenset({INVALID, NOT_FOUND, 6, 7, EXHAUSTED, PRECONDITION, OUT_OF_RANGE, 12, 15, 16})
"""gRPC's codes after which nothing was done and asking again changes nothing."""

_NOT_DONE = ("too many requests", "no leader", "rpc not supported for learner")
"""Said before anything was tried."""
_NEW_LEADER = "leader changed"
"""Said by a member that was waiting, and has a new one now."""

HEADERS = {"Content-Type": "application/json"}
LED = {"Grpc-Metadata-hasleader": "true"}
"""A member that knows of no leader is to say so at once."""


T = TypeVar("T")


class RefusedError(StoreError):
    """etcd's own no, with gRPC's code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"etcd refused: {message.removeprefix('etcdserver: ')}")
        self.code = code
        self.said = message


class _AgainError(Exception):
    """This attempt failed; `perhaps`: it may have been acted upon; `here`: the same member will do."""

    def __init__(self, why: str, *, perhaps: bool, here: bool = False) -> None:
        super().__init__(why)
        self.perhaps = perhaps
        self.here = here


@dataclass(slots=True, eq=False)
class _Place:
    """A member as we see it."""

    wire: Wire
    failures: int = 0
    not_before: float = 0.0


class EtcdClient:
    """Used from one event loop."""

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        tls: Callable[[], ssl.SSLContext] | None = None,
        clock: Clock,
        patience_s: float = PATIENCE_S,
        attempt_s: float = ATTEMPT_S,
        leaderless: bool = False,
    ) -> None:
        """`leaderless` asks members that know of no leader, too: for what they hold themselves."""
        self.clock = clock
        self.patience_s = patience_s
        self.attempt_s = attempt_s
        self._tls = tls
        self._headers = HEADERS if leaderless else HEADERS | LED
        self._places: list[_Place] = []
        self._room = asyncio.Semaphore(AT_ONCE)
        self._chance = random.Random()  # noqa: S311  spreads load, keeps no secret
        self.use(endpoints)

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(place.wire.url for place in self._places)

    def use(self, endpoints: Sequence[str]) -> None:
        """From now on ask these, the first one by preference."""
        if not endpoints:
            raise ValueError("etcd without an endpoint")
        known = {place.wire.url: place for place in self._places}
        self._places = []
        for url in dict.fromkeys(endpoints):
            place = (
                known.pop(url.rstrip("/"))
                if url.rstrip("/") in known
                else _Place(Wire(url, self._tls, idle_limit=AT_ONCE))
            )
            self._places.append(place)
        for place in known.values():
            place.wire.close()

    async def ask(self, path: str, question: object, kind: type[T], *, urgent: bool = False) -> T:
        """Ask what may be asked twice. Raises RefusedError, UnavailableError.

        What is `urgent` waits for no other question, and no longer than URGENT_S for a member.
        """
        answer, _ = await self.tell(path, lambda _: question, kind, harmless=True, urgent=urgent)
        return answer

    async def tell(
        self,
        path: str,
        question: Callable[[bool], object],
        kind: type[T],
        *,
        harmless: bool = False,
        urgent: bool = False,
    ) -> tuple[T, bool]:
        """Ask until there is an answer; the answer, and whether an earlier attempt may have been heard.

        `question` is given the same. Raises RefusedError, UnavailableError, OutcomeUnknownError.
        """
        room = contextlib.nullcontext() if urgent else self._room
        attempt_s = min(URGENT_S, self.attempt_s) if urgent else self.attempt_s
        perhaps = False
        tries = 0
        end = self.clock.monotonic() + self.patience_s
        while True:
            place = self._choose()
            try:
                async with room:
                    body = msgspec.json.encode(question(perhaps))
                    answer = await self._attempt(place, path, body, attempt_s)
                decoded = _decode(answer.body, kind)
            except _AgainError as failure:
                perhaps = perhaps or (failure.perhaps and not harmless)
                if not failure.here:
                    self.mark_failed(place.wire.url, forget=not urgent)
                tries += 1
                pause_s = self._pause_s(tries)
                if self.clock.monotonic() + pause_s >= end:
                    raise self._given_up(failure, perhaps=perhaps) from failure
                await self.clock.sleep(pause_s)
            else:
                place.failures = 0
                return decoded, perhaps

    @contextlib.asynccontextmanager
    async def stream(self, path: str, question: object) -> AsyncIterator[tuple[str, Stream]]:
        """A streamed answer, and the URL of who gives it: one attempt. Raises WireError, RefusedError."""
        place = self._choose()
        body = msgspec.json.encode(question)
        try:
            async with place.wire.stream(
                "POST", path, body, headers=self._headers, timeout_s=self.attempt_s
            ) as stream:
                if stream.status != 200:
                    raise WireError(f"{place.wire.url} answered {stream.status}", sent=True)
                yield place.wire.url, stream
        except WireError:
            self.mark_failed(place.wire.url)
            raise

    def mark_failed(self, url: str, *, forget: bool = True) -> None:
        """Ask others first for a while; `forget` the connections to it, too."""
        for place in self._places:
            if place.wire.url == url:
                penalty_s = min(FIRST_PAUSE_S * 2**place.failures, LONGEST_PENALTY_S)
                place.failures = min(place.failures + 1, 20)
                place.not_before = self.clock.monotonic() + penalty_s
                if forget:
                    place.wire.forget()

    def close(self) -> None:
        for place in self._places:
            place.wire.close()

    def _choose(self) -> _Place:
        now = self.clock.monotonic()
        ready = (place for place in self._places if place.not_before <= now)
        return next(ready, None) or min(self._places, key=lambda place: place.not_before)

    def _pause_s(self, tries: int) -> float:
        """Nothing while there are others that were not asked yet; then longer and longer."""
        rounds, within = divmod(tries, len(self._places))
        if within:
            return 0.0
        longest_s: float = min(FIRST_PAUSE_S * 2**rounds, LONGEST_PAUSE_S)
        return longest_s * (0.5 + self._chance.random() / 2)

    async def _attempt(self, place: _Place, path: str, body: bytes, attempt_s: float) -> Answer:
        try:
            answer = await place.wire.request("POST", path, body, headers=self._headers, timeout_s=attempt_s)
        except WireError as error:
            raise _AgainError(error.message, perhaps=error.sent) from error
        if answer.status == 200:
            return answer
        try:
            refusal = msgspec.json.decode(answer.body, type=Refusal)
        except msgspec.DecodeError as error:
            said = f"{place.wire.url} answered {answer.status}: {answer.text.strip()[:100]}"
            raise _AgainError(said, perhaps=True) from error
        said = refusal.message or refusal.error
        if any(word in said for word in _NOT_DONE):
            raise _AgainError(said, perhaps=False)
        if refusal.code in _REFUSALS:
            raise RefusedError(refusal.code, said)
        raise _AgainError(said, perhaps=True, here=_NEW_LEADER in said)

    def _given_up(self, failure: _AgainError, *, perhaps: bool) -> UnavailableError:
        hint = "is a majority of the servers up? `skerry cluster status` tells"
        if perhaps:
            return OutcomeUnknownError(f"the change may or may not have been made: {failure}", hint=hint)
        return UnavailableError(f"the servers' etcd cannot be asked: {failure}", hint=hint)


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind, strict=False)
    except msgspec.DecodeError as error:
        raise _AgainError(f"etcd's answer cannot be read: {error}", perhaps=True) from error
