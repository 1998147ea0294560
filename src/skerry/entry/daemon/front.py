"""What stays while the machine changes its role: who listens on the Unix socket, and the change itself.

role ── verb: init, join, leave, … ──→ end of the role ─→ work between ─→ the role that cluster.json says now
         requests wait meanwhile; units run on, for they are systemd's
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from starlette.types import ASGIApp, Receive, Scope, Send

    from skerry.kit.clock import Clock

AGAIN_S = 1.0


class BusyError(SkerryError):
    """The machine is changing its role already."""


class Front:
    """An ASGI application that is another one, which may be exchanged."""

    def __init__(self) -> None:
        self._app: ASGIApp | None = None
        self._there = asyncio.Event()

    def put(self, app: ASGIApp) -> None:
        """From now on this one answers."""
        self._app = app
        self._there.set()

    def take(self) -> None:
        """From now on requests wait."""
        self._there.clear()

    async def there(self) -> None:
        """Return when somebody answers."""
        await self._there.wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while not self._there.is_set():  # it may be taken again before who waits has its turn
            await self._there.wait()
        assert self._app is not None  # noqa: S101  set before the event
        await self._app(scope, receive, send)


class Turns:
    """Changes of role. `change` is called by a verb, the rest by the daemon's loop."""

    def __init__(self) -> None:
        self.wanted = asyncio.Event()
        self._between: Callable[[], Awaitable[None]] | None = None
        self._begun: asyncio.Future[None] | None = None
        self._taken = False

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """For a verb from its first step on: two that found or mend a store would undo each other.

        Raises BusyError.
        """
        if self._taken or self._begun is not None:
            raise BusyError("another `skerry cluster` is under way here", hint="wait until it has ended")
        self._taken = True
        try:
            yield
        finally:
            self._taken = False

    async def change(self, between: Callable[[], Awaitable[None]] | None = None) -> None:
        """End the present role, do `between`, and begin the role that is then the machine's.

        Returns when that has begun. Raises what `between` raises, BusyError.
        """
        if self._begun is not None:
            raise BusyError("this machine is changing its role", hint="wait until it has")
        self._between = between
        self._begun = asyncio.get_running_loop().create_future()
        self.wanted.set()
        await asyncio.shield(self._begun)

    def again(self) -> None:
        """End the present role, and begin the one that is then the machine's; nobody waits for it."""
        self.wanted.set()

    async def between(self) -> None:
        """Called by the loop between two roles: does what was asked."""
        work, self._between = self._between, None
        self.wanted.clear()
        if work is None:
            return
        try:
            await work()
        except Exception as error:
            begun, self._begun = self._begun, None
            if begun is not None and not begun.done():
                begun.set_exception(error)

    def begun(self) -> None:
        """Called when the new role answers; of a role that is to end it says nothing."""
        if self.wanted.is_set():
            return
        begun, self._begun = self._begun, None
        if begun is not None and not begun.done():
            begun.set_result(None)


class Patient:
    """A clock for what may wait for days to be done, alone while it does anything: `sleep` lets others have
    their turn, and returns when theirs has ended."""

    def __init__(self, clock: Clock, turns: Turns) -> None:
        self._clock = clock
        self._turns = turns
        self._mine = contextlib.ExitStack()

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """As `Turns.alone`, but waits for whoever is there."""
        try:
            await self._enter()
            yield
        finally:
            self._mine.close()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def now(self) -> float:
        return self._clock.now()

    async def sleep(self, seconds: float) -> None:
        self._mine.close()
        await self._clock.sleep(seconds)
        await self._enter()

    async def _enter(self) -> None:
        while True:
            try:
                self._mine.enter_context(self._turns.alone())
            except BusyError:
                await self._clock.sleep(AGAIN_S)
            else:
                return
