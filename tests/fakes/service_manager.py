"""A systemd in memory over a directory of unit files; passes tests/conformance/test_service_manager.py.

It forgets what the real one forgets: a unit that is neither active nor failed is let go of and read
afresh when it is next named, one that is running keeps its text until a reload, and what Podman's
generator makes of Quadlet files changes only with a reload. A service whose ExecStart= is /bin/false
fails; one of Type=oneshot ends well at once; every other runs until it is stopped.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from skerry.host.units.errors import NoSuchUnitError, ServiceManagerError
from skerry.host.units.interface import UnitState
from skerry.host.units.name import parse_name
from skerry.host.units.quadlet import service_of
from skerry.host.units.unit_file import parse_unit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass
class _Loaded:
    text: str
    active: str = "inactive"
    sub: str = "dead"
    result: str = "success"


@dataclass
class FakeServices:
    """Implements host.units.interface.ServiceManager over the unit files below `root`.

    `calls` is everything that was asked, as "start web.service"; `starts` counts real starts.
    `refuse` may raise for a call; `hold` lets stops wait until the event is set.
    """

    root: Path
    calls: list[str] = field(default_factory=list)
    starts: dict[str, int] = field(default_factory=dict)
    enabled: set[str] = field(default_factory=set)
    refuse: Callable[[str], None] = lambda call: None
    hold: asyncio.Event | None = None
    _memory: dict[str, _Loaded] = field(default_factory=dict)
    _generated: dict[str, str] = field(default_factory=dict)
    _streams: list[FakeChanges] = field(default_factory=list)

    async def reload(self) -> None:
        self._called("reload")
        self._generated = {}
        for path in sorted((self.root / "run/containers/systemd").glob("*.*")):
            if path.is_file():
                unit = parse_unit(path.read_text(), path.name)
                self._generated[service_of(parse_name(path.name), unit)] = path.read_text()
        for name, loaded in self._memory.items():
            loaded.text = self._read(name) or loaded.text
        for stream in self._streams:
            stream.add(*stream.names)

    async def start(self, name: str) -> None:
        self._called(f"start {name}")
        loaded = self._load(name)
        if loaded is None:
            raise NoSuchUnitError(f"Unit {name} not found.")
        if loaded.active == "active":
            return
        self.starts[name] = self.starts.get(name, 0) + 1
        if "ExecStart=/bin/false" in loaded.text:
            loaded.active, loaded.sub, loaded.result = "failed", "failed", "exit-code"
        elif "Type=oneshot" in loaded.text:
            loaded.active, loaded.sub, loaded.result = "inactive", "dead", "success"
        else:
            loaded.active, loaded.sub, loaded.result = "active", "running", "success"
        self._tell(name)

    async def stop(self, name: str) -> None:
        self._called(f"stop {name}")
        if self.hold is not None:
            await self.hold.wait()
        loaded = self._memory.get(name)
        if loaded is not None and loaded.active == "active":
            loaded.active, loaded.sub = "inactive", "dead"
            self._tell(name)

    async def enable(self, name: str) -> None:
        self._called(f"enable {name}")
        if self._read(name) is None:
            raise NoSuchUnitError(f"Unit {name} does not exist")
        self.enabled.add(name)

    async def disable(self, name: str) -> None:
        self._called(f"disable {name}")
        self.enabled.discard(name)

    async def reset_failed(self, name: str) -> None:
        self._called(f"reset-failed {name}")
        loaded = self._memory.get(name)
        if loaded is not None and loaded.active == "failed":
            loaded.active, loaded.sub, loaded.result = "inactive", "dead", "success"
            self._tell(name)

    async def state(self, name: str) -> UnitState:
        return self.look(name)

    def changes(self, names: frozenset[str]) -> FakeChanges:
        stream = FakeChanges(self)
        self._streams.append(stream)
        stream.add(*sorted(names))
        return stream

    async def close(self) -> None:
        for stream in tuple(self._streams):
            await stream.aclose()

    def look(self, name: str) -> UnitState:
        """The state now."""
        self._let_go(name)
        loaded = self._memory.get(name)
        if loaded is None:
            found = self._read(name) is not None
            result = "success" if found and name.endswith(".service") else ""
            return UnitState(name, "loaded" if found else "not-found", "inactive", "dead", name, result)
        return UnitState(name, "loaded", loaded.active, loaded.sub, name, loaded.result)

    def running_text(self, name: str) -> str | None:
        """The text that a running unit was started or last reloaded with; None where it does not run."""
        loaded = self._memory.get(name)
        return loaded.text if loaded is not None and loaded.active == "active" else None

    def end(self, name: str, active: str, sub: str, result: str = "success") -> None:
        """Let a service end by itself."""
        loaded = self._memory[name]
        loaded.active, loaded.sub, loaded.result = active, sub, result
        self._tell(name)

    def reboot(self) -> None:
        """Everything that was in memory is gone; the caller empties /run."""
        self._memory.clear()
        self._generated.clear()
        self.enabled.clear()

    def drop_stream(self, stream: FakeChanges) -> None:
        self._streams.remove(stream)

    def _called(self, call: str) -> None:
        self.calls.append(call)
        self.refuse(call)

    def _load(self, name: str) -> _Loaded | None:
        self._let_go(name)
        if name not in self._memory:
            text = self._read(name)
            if text is None:
                return None
            self._memory[name] = _Loaded(text)
        return self._memory[name]

    def _let_go(self, name: str) -> None:
        if name in self._memory and self._memory[name].active == "inactive":
            del self._memory[name]

    def _read(self, name: str) -> str | None:
        for directory in ("etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system"):
            path = self.root / directory / name
            if path.is_file():
                return path.read_text()
        return self._generated.get(name)

    def _tell(self, name: str) -> None:
        for stream in self._streams:
            stream.tell(name)


class FakeChanges:
    """Implements host.units.interface.Changes."""

    def __init__(self, services: FakeServices) -> None:
        self._services = services
        self._names: dict[str, UnitState | None] = {}
        self._unread: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._closed = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._names)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> UnitState:
        while not self._closed:
            while self._unread:
                name = next(iter(self._unread))
                del self._unread[name]
                state = self._services.look(name)
                if name in self._names and state != self._names[name]:
                    self._names[name] = state
                    return replace(state)
            self._wake.clear()
            await self._wake.wait()
        raise StopAsyncIteration

    def add(self, *names: str) -> None:
        for name in names:
            self._names[name] = None
            self.tell(name)

    def discard(self, name: str) -> None:
        self._names.pop(name, None)

    def tell(self, name: str) -> None:
        if name in self._names:
            self._unread[name] = None
            self._wake.set()

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._services.drop_stream(self)
            self._wake.set()


def refusing(call: str, message: str = "refused") -> Callable[[str], None]:
    """A `refuse` that fails one call."""

    def refuse(asked: str) -> None:
        if asked == call:
            raise ServiceManagerError(message)

    return refuse
