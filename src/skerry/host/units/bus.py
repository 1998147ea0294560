"""The door to systemd's manager object on the system bus: one connection, made again when it is lost.

    call(member, signature, *values)   one method of org.freedesktop.systemd1.Manager
    on_signal(message)                 every signal of systemd's that we asked for
    on_return()                        signals may have been missed: look at everything again

The connection is lost when the bus restarts; systemd itself comes back under its name after a
daemon-reexec. Both end in on_return. Nothing here polls. Interface: org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from dbus_fast.aio.message_bus import MessageBus
from dbus_fast.constants import BusType, MessageType
from dbus_fast.errors import AuthError
from dbus_fast.message import Message

from skerry.host.units.errors import NoSuchUnitError, ServiceManagerError
from skerry.kit.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from skerry.kit.clock import Clock

SYSTEMD = "org.freedesktop.systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
UNIT = "org.freedesktop.systemd1.Unit"
SERVICE = "org.freedesktop.systemd1.Service"
PROPERTIES = "org.freedesktop.DBus.Properties"
MANAGER_PATH = "/org/freedesktop/systemd1"
UNIT_PATHS = "/org/freedesktop/systemd1/unit"
BUS = "org.freedesktop.DBus"

MOST_CALLS = 64  # at once: the bus refuses the 129th of a connection
CALL_DEADLINE_S = 25.0  # what D-Bus libraries wait by default
FIRST_RETRY_S, LAST_RETRY_S = 0.1, 5.0

_MATCHES = (
    f"type='signal',sender='{SYSTEMD}',interface='{MANAGER}',path='{MANAGER_PATH}'",
    f"type='signal',sender='{SYSTEMD}',interface='{PROPERTIES}',path_namespace='{UNIT_PATHS}'",
    f"type='signal',sender='{BUS}',interface='{BUS}',member='NameOwnerChanged',arg0='{SYSTEMD}'",
)
_NO_SUCH_UNIT = ("org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.DBus.Error.FileNotFound")

_IN_WORDS = {
    "StartUnit": "start it",
    "StopUnit": "stop it",
    "EnableUnitFiles": "enable it",
    "DisableUnitFiles": "disable it",
    "ResetFailedUnit": "reset it",
    "Reload": "reload",
    "ListUnitsByNames": "list units",
}

log = logging.getLogger(__name__)


class ManagerBus:
    """See the module. `open` before the first call; `close` ends it for good."""

    def __init__(
        self,
        on_signal: Callable[[Message], None],
        on_return: Callable[[], None],
        *,
        address: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._on_signal = on_signal
        self._on_return = on_return
        self._address = address
        self._clock = clock or SystemClock()
        self._bus: MessageBus | None = None
        self._calls = asyncio.Semaphore(MOST_CALLS)
        self._connecting = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None
        self._again: set[asyncio.Task[None]] = set()
        self._closed = False

    async def open(self) -> None:
        """Connect. Raises ServiceManagerError."""
        await self._connected()
        self._keeper = asyncio.create_task(self._keep(), name="systemd's bus")

    async def close(self) -> None:
        self._closed = True
        if self._bus is not None and self._bus.connected:
            self._bus.disconnect()
        tasks = [task for task in (self._keeper, *self._again) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        _close_stream(self._bus)

    async def call(
        self, member: str, signature: str = "", *values: object, deadline_s: float = CALL_DEADLINE_S
    ) -> list[object]:
        """Call the manager and return what it answers. Raises ServiceManagerError, NoSuchUnitError."""
        bus = await self._connected()
        return await self._call(bus, SYSTEMD, MANAGER_PATH, MANAGER, member, signature, values, deadline_s)

    async def get_property(self, path: str, interface: str, name: str) -> object:
        """One property of a systemd object, without its variant. Raises ServiceManagerError."""
        bus = await self._connected()
        args = (interface, name)
        answer = await self._call(bus, SYSTEMD, path, PROPERTIES, "Get", "ss", args, CALL_DEADLINE_S)
        return getattr(answer[0], "value", None)

    async def _connected(self) -> MessageBus:
        if self._closed:
            raise ServiceManagerError("the connection to systemd is closed")
        if self._bus is not None and self._bus.connected:
            return self._bus
        async with self._connecting:
            if self._bus is None or not self._bus.connected:
                self._bus = await self._connect()
        return self._bus

    async def _connect(self) -> MessageBus:
        hint = "is dbus running? Skerry talks to systemd over the system bus, as root"
        try:
            bus = await MessageBus(bus_address=self._address, bus_type=BusType.SYSTEM).connect()
        except (OSError, AuthError, ValueError, EOFError) as error:
            raise ServiceManagerError(f"cannot reach the system bus: {error}", hint=hint) from error
        bus.add_message_handler(self._received)
        for rule in _MATCHES:
            await self._call(
                bus, BUS, "/org/freedesktop/DBus", BUS, "AddMatch", "s", (rule,), CALL_DEADLINE_S
            )
        await self._subscribe(bus)
        return bus

    async def _subscribe(self, bus: MessageBus) -> None:
        try:
            await self._call(bus, SYSTEMD, MANAGER_PATH, MANAGER, "Subscribe", "", (), CALL_DEADLINE_S)
        except ServiceManagerError as error:
            if "AlreadySubscribed" not in str(error):
                raise

    async def _call(
        self,
        bus: MessageBus,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str,
        values: tuple[object, ...],
        deadline_s: float,
    ) -> list[object]:
        message = Message(
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(values),
        )
        try:
            async with self._calls:
                reply = await asyncio.wait_for(bus.call(message), deadline_s)
        except TimeoutError as error:
            raise ServiceManagerError(f"systemd did not answer {member} within {deadline_s:g} s") from error
        except (OSError, EOFError) as error:
            raise ServiceManagerError(f"the bus went away during {member}: {error}") from error
        if reply is None:
            raise ServiceManagerError(f"the bus went away during {member}")
        if reply.message_type is MessageType.ERROR:
            said = reply.body[0] if reply.body else "no reason given"
            refused = f"systemd refuses to {_IN_WORDS.get(member, member)}: {said}"
            if reply.error_name in _NO_SUCH_UNIT:
                raise NoSuchUnitError(refused)
            raise ServiceManagerError(f"{refused} ({reply.error_name})")
        return list(reply.body)

    def _received(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL:
            return
        if message.member == "NameOwnerChanged":
            if message.body[0] == SYSTEMD and message.body[2]:
                self._soon(self._resubscribe())
            return
        self._on_signal(message)

    def _soon(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._again.add(task)
        task.add_done_callback(self._again.discard)

    async def _resubscribe(self) -> None:
        with contextlib.suppress(ServiceManagerError):
            await self._subscribe(await self._connected())
            log.info("systemd is back on the bus; looking at all units again")
            self._on_return()

    def _ended(self) -> bool:
        return self._closed

    async def _keep(self) -> None:
        """Wait for the connection to end, and make it again until that succeeds."""
        wait_s = FIRST_RETRY_S
        while not self._closed:
            if self._bus is not None and self._bus.connected:
                with contextlib.suppress(Exception):
                    await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
                if self._ended():
                    return
                log.warning("the system bus went away; connecting again")
                _close_stream(self._bus)
            try:
                await self._connected()
            except ServiceManagerError:
                await self._clock.sleep(wait_s)
                wait_s = min(wait_s * 2, LAST_RETRY_S)
            else:
                wait_s = FIRST_RETRY_S
                self._on_return()


def _close_stream(bus: MessageBus | None) -> None:
    """dbus-fast 2.44 closes its socket and forgets the file that it made over it, which holds it open."""
    stream = getattr(bus, "_stream", None)
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):
            stream.close()
