"""A store that can be away for one server, or act and not say so: it shares its state with another one."""

from __future__ import annotations

import contextlib
import enum
from typing import TYPE_CHECKING

from skerry.fleet.store.errors import LeaseNotFoundError, OutcomeUnknownError, UnavailableError
from skerry.fleet.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ASKED = {"transact", "keep_alive", "grant", "revoke", "get", "list"}


class Fault(enum.Enum):
    AWAY = "away"
    """Nothing is done."""

    MUTE = "mute"
    """It is done, and nobody hears of it."""

    LATE = "late"
    """Transactions are carried out at the next `deliver`, when nobody waits for them any more."""


class Cut(MemoryStore):
    """See the module; watches go on."""

    def __init__(self, behind: MemoryStore) -> None:
        self.behind = behind
        self.fault: Fault | None = None
        self._late: list[tuple[object, ...]] = []

    async def deliver(self) -> None:
        late, self._late = self._late, []
        for arguments in late:
            with contextlib.suppress(LeaseNotFoundError):
                await self.behind.transact(*arguments)  # type: ignore[arg-type]

    async def _keep(self, *arguments: object) -> None:
        self._late.append(arguments)
        raise OutcomeUnknownError("no answer came")

    def __getattribute__(self, name: str) -> object:
        if name in {"behind", "fault", "deliver", "_late", "_keep"} or name.startswith("__"):
            return object.__getattribute__(self, name)
        real = getattr(self.behind, name)
        if name in ASKED and self.fault is Fault.AWAY:
            return _away
        if name in ASKED and self.fault is Fault.MUTE:
            return _mute(name, real)
        if name == "transact" and self.fault is Fault.LATE:
            return self._keep
        return real


async def _away(*_: object) -> None:
    raise UnavailableError("the store is away")


def _mute(name: str, real: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
    async def act(*arguments: object) -> None:
        await real(*arguments)
        raise (OutcomeUnknownError if name == "transact" else UnavailableError)("no answer came")

    return act
