"""A machine's systemd, over D-Bus: the real ServiceManager.

States come from systemd's own signals: PropertiesChanged carries the active and sub state, so
following five hundred units costs nothing while nothing happens. Whole lists are read in one call
(ListUnitsByNames), only when a unit is first followed, after a reload, and when signals may have been missed.
While systemd reloads it tells of every unit as it builds it up anew, running ones as inactive first;
nothing is believed until it says that it is done.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from skerry.host.units.bus import MANAGER, PROPERTIES, SERVICE, UNIT, UNIT_PATHS, ManagerBus
from skerry.host.units.errors import NoSuchUnitError, ServiceManagerError
from skerry.host.units.interface import UnitState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dbus_fast.message import Message

    from skerry.kit.clock import Clock

RELOAD_DEADLINE_S = 90.0
STOP_DEADLINE_S = 660.0  # a unit's own TimeoutStopSec= ends it long before
KEPT_JOBS = 256


def object_path(name: str) -> str:
    """The D-Bus path of a unit: every byte but ASCII letters and digits becomes _xx, a leading digit too."""
    escaped = "".join(
        chr(byte)
        if chr(byte).isalnum() and byte < 128 and not (index == 0 and chr(byte).isdigit())
        else f"_{byte:02x}"
        for index, byte in enumerate(name.encode())
    )
    return f"{UNIT_PATHS}/{escaped or '_'}"


def unknown(name: str) -> UnitState:
    """The state of a unit that systemd does not know."""
    return UnitState(name, "not-found", "inactive", "dead")


class Systemd:
    """See the module and host.units.interface.ServiceManager."""

    def __init__(self, *, address: str | None = None, clock: Clock | None = None) -> None:
        self._bus = ManagerBus(self._signal, self._returned, address=address, clock=clock)
        self._streams: set[SystemdChanges] = set()
        self._jobs: dict[str, asyncio.Future[str]] = {}
        self._removed_jobs: dict[str, str] = {}
        self._reloading = False

    @classmethod
    async def connect(cls, *, address: str | None = None, clock: Clock | None = None) -> Self:
        """Connect to the system bus, or the bus at `address`. Raises ServiceManagerError."""
        manager = cls(address=address, clock=clock)
        await manager._bus.open()
        return manager

    async def reload(self) -> None:
        await self._bus.call("Reload", deadline_s=RELOAD_DEADLINE_S)

    async def start(self, name: str) -> None:
        await self._bus.call("StartUnit", "ss", name, "replace")

    async def stop(self, name: str) -> None:
        try:
            answer = await self._bus.call("StopUnit", "ss", name, "replace")
        except NoSuchUnitError:
            return
        result = await self._job_done(str(answer[0]), name)
        if result not in ("done", "skipped"):
            raise ServiceManagerError(f"{name} did not stop: the job ended with {result!r}")

    async def enable(self, name: str) -> None:
        await self._bus.call("EnableUnitFiles", "asbb", [name], True, False)

    async def disable(self, name: str) -> None:
        with contextlib.suppress(NoSuchUnitError):
            await self._bus.call("DisableUnitFiles", "asb", [name], True)

    async def reset_failed(self, name: str) -> None:
        with contextlib.suppress(NoSuchUnitError):
            await self._bus.call("ResetFailedUnit", "s", name)

    async def state(self, name: str) -> UnitState:
        return (await self.states([name]))[name]

    async def states(self, names: Iterable[str]) -> dict[str, UnitState]:
        """The states of many units in one call."""
        answer = await self._bus.call("ListUnitsByNames", "as", list(names))
        found = {}
        for row in answer[0]:  # type: ignore[attr-defined]
            name, description, load, active, sub = row[:5]
            found[name] = UnitState(
                name, load, active, sub, description, await self._result(name, load, active, sub)
            )
        return {name: found.get(name, unknown(name)) for name in names}

    def changes(self, names: frozenset[str]) -> SystemdChanges:
        stream = SystemdChanges(self, self._streams)
        stream.add(*sorted(names))
        return stream

    async def close(self) -> None:
        for stream in tuple(self._streams):
            await stream.aclose()
        for waiting in self._jobs.values():
            waiting.cancel()
        await self._bus.close()

    async def _result(self, name: str, load: str, active: str, sub: str) -> str:
        if not name.endswith(".service") or load != "loaded":
            return ""
        if active != "failed" and sub != "auto-restart":
            return "success"
        try:
            return str(await self._bus.get_property(object_path(name), SERVICE, "Result"))
        except ServiceManagerError:
            return ""

    async def _job_done(self, job: str, name: str) -> str:
        if job in self._removed_jobs:  # it ended before we knew its name
            return self._removed_jobs.pop(job)
        waiting = self._jobs.setdefault(job, asyncio.get_running_loop().create_future())
        try:
            return await asyncio.wait_for(asyncio.shield(waiting), STOP_DEADLINE_S)
        except TimeoutError as error:
            raise ServiceManagerError(f"{name} did not stop within {STOP_DEADLINE_S:g} s") from error
        finally:
            self._jobs.pop(job, None)

    def _signal(self, message: Message) -> None:
        if message.interface == PROPERTIES:
            if self._reloading:
                return
            interface, changed = message.body[0], message.body[1]
            for stream in self._streams:
                stream.properties_changed(str(message.path), interface, changed)
        elif message.interface != MANAGER:
            return
        elif message.member == "JobRemoved":
            self._job_removed(message.body[1], message.body[3])
        elif message.member == "UnitRemoved" and not self._reloading:
            for stream in self._streams:
                stream.unit_removed(message.body[0])
        elif message.member == "Reloading":
            self._reloading = bool(message.body[0])
            if not self._reloading:
                self._returned(jobs=False)

    def _job_removed(self, job: str, result: str) -> None:
        if waiting := self._jobs.get(job):
            if not waiting.done():
                waiting.set_result(result)
            return
        self._removed_jobs[job] = result
        while len(self._removed_jobs) > KEPT_JOBS:
            self._removed_jobs.pop(next(iter(self._removed_jobs)))

    def _returned(self, *, jobs: bool = True) -> None:
        self._reloading = False
        for stream in self._streams:
            stream.look_again()
        if jobs:  # their signals may have been missed; whoever waits must ask anew
            for waiting in self._jobs.values():
                if not waiting.done():
                    waiting.set_exception(ServiceManagerError("systemd went away while a job was running"))


@dataclass(slots=True)
class _Followed:
    """What is known of one unit: the last state told, and how many signals have come so far."""

    state: UnitState | None = None
    signals: int = 0


@dataclass(slots=True, eq=False)
class SystemdChanges:
    """host.units.interface.Changes over systemd's signals."""

    _manager: Systemd
    _siblings: set[SystemdChanges]
    _units: dict[str, _Followed] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)  # by object path
    _unread: dict[str, None] = field(default_factory=dict)  # changed, to be told; in order
    _unlooked: set[str] = field(default_factory=set)  # to be asked of systemd
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _closed: bool = False

    def __post_init__(self) -> None:
        self._siblings.add(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> UnitState:
        while not self._closed:
            if self._unlooked:
                await self._look()
            while self._unread:
                name = next(iter(self._unread))
                del self._unread[name]
                followed = self._units.get(name)
                if followed is not None and followed.state is not None:
                    return followed.state
            if not self._unlooked:
                self._wake.clear()
                await self._wake.wait()
        raise StopAsyncIteration

    def add(self, *names: str) -> None:
        for name in names:
            self._units[name] = _Followed()
            self._names[object_path(name)] = name
            self._unlooked.add(name)
        self._wake.set()

    def discard(self, name: str) -> None:
        self._units.pop(name, None)
        self._names.pop(object_path(name), None)
        self._unread.pop(name, None)
        self._unlooked.discard(name)

    async def aclose(self) -> None:
        self._closed = True
        self._siblings.discard(self)
        self._wake.set()

    def look_again(self) -> None:
        """Ask systemd about every unit: signals may have been missed, or files have changed."""
        self._unlooked.update(self._units)
        self._wake.set()

    def properties_changed(self, path: str, interface: str, changed: Mapping[str, object]) -> None:
        """A signal; what it does not mention has not changed."""
        name = self._names.get(path)
        if name is None or interface not in (UNIT, SERVICE):
            return
        words = {key: str(getattr(value, "value", "")) for key, value in changed.items() if key in _FIELDS}
        followed = self._units[name]
        if interface == UNIT and "ActiveState" in words:
            followed.signals += 1
        state = followed.state or unknown(name)
        self._told(name, replace(state, **{_FIELDS[key]: word for key, word in words.items()}))

    def unit_removed(self, name: str) -> None:
        """systemd let go of a unit that is neither active nor failed. Asking would load it again."""
        if name in self._units and self._units[name].state is not None:
            state = self._units[name].state or unknown(name)
            self._told(name, replace(state, active="inactive", sub="dead"))

    def _told(self, name: str, state: UnitState) -> None:
        followed = self._units[name]
        if state != followed.state:
            followed.state = state
            self._unread[name] = None
            self._wake.set()

    async def _look(self) -> None:
        asked = {name: self._units[name].signals for name in self._unlooked if name in self._units}
        self._unlooked.clear()
        try:
            states = await self._manager.states(asked)
        except ServiceManagerError:
            # The bus is away; its return wakes every stream.
            self._unlooked.update(asked)
            self._wake.clear()
            if not self._closed:
                await self._wake.wait()
            return
        for name, state in states.items():
            followed = self._units.get(name)
            if followed is None:
                continue
            known = followed.state
            if known is not None and followed.signals != asked[name]:
                # A signal overtook the answer: its words are the newer ones.
                state = replace(state, active=known.active, sub=known.sub, result=known.result)
            self._told(name, state)


_FIELDS = {
    "ActiveState": "active",
    "SubState": "sub",
    "LoadState": "load",
    "Result": "result",
    "Description": "description",
}
