"""The verbs of `skerry cluster` that concern this machine: in each role some fit, and some do not."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from skerry.entry.daemon.anew import begin_anew, running_others
from skerry.entry.daemon.build import etcd_here, forget, init, join_cluster, migrate, tell_others
from skerry.entry.daemon.front import BusyError
from skerry.entry.rest.codec import RequestError
from skerry.entry.rest.here import HereView, not_here
from skerry.fleet.cluster import build
from skerry.fleet.cluster.snapshot import read_snapshot, snapshot_now
from skerry.fleet.state.unit import UNITS_PREFIX
from skerry.fleet.store.errors import StoreError
from skerry.fleet.store.gate import Gate
from skerry.fleet.trust import identity
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from skerry.entry.daemon.machine import Machine
    from skerry.entry.rest.here import HereOrder
    from skerry.fleet.cluster.membership import Membership
    from skerry.fleet.store.interface import Store
    from skerry.kit.wire import Wire

ALONE_HINT = "`skerry cluster init` or `skerry cluster join` first"

T = TypeVar("T")

log = logging.getLogger("skerry.daemon")


def view(membership: Membership | None, *, file: str = "") -> HereView:
    if membership is None:
        return HereView(file=file)
    return HereView(
        membership.cluster,
        membership.name,
        membership.node,
        membership.role.value,
        membership.address,
        membership.servers,
        file,
    )


async def take_snapshot(machine: Machine, store: Store, cluster: str) -> str:
    """The path of a snapshot as of now."""
    return str(await said(snapshot_now(store, machine.paths.snapshots, cluster, machine.clock)))


class SingleVerbs:
    """Of a machine alone."""

    def __init__(self, machine: Machine, store: Gate) -> None:
        self._machine = machine
        self._store = store

    async def do(self, verb: str, asked: HereOrder) -> HereView:
        with one_at_a_time(self._machine):
            return await self._do(verb, asked)

    async def _do(self, verb: str, asked: HereOrder) -> HereView:
        machine = self._machine
        if verb == "init":
            membership = await said(init(machine, self._store, asked.name, asked.address, etcd=asked.etcd))
        elif verb == "join":
            await self._no_units(force=asked.force)
            if not asked.token or not asked.servers:
                raise RequestError(400, "bad-request", "to join takes a token, and a server to join through")
            role = None if asked.role is None else identity.Role(asked.role.value)
            membership = await said(join_cluster(machine, asked.token, asked.servers, role, asked.address))
        elif verb == "snapshot":
            return view(None, file=await take_snapshot(machine, self._store, ""))
        elif verb == "leave" and machine.pki.directory.exists():
            # What an init, a join or a leave that was cut short has left.
            async with etcd_here(machine) as server:
                await said(server.end())
            await asyncio.to_thread(shutil.rmtree, machine.pki.directory)
            return view(None)
        else:
            raise not_here(verb, "a member of no cluster", hint=ALONE_HINT)

        async def aside() -> None:
            if not membership.is_server or membership.store:
                build.set_aside(machine.paths.state)

        await machine.turns.change(aside)
        return view(membership)

    async def _no_units(self, *, force: bool) -> None:
        listing = await self._store.list(UNITS_PREFIX)
        names = [entry.key.removeprefix(UNITS_PREFIX) for entry in listing.entries]
        if names and not force:
            count = f"{len(names)} unit{'s' if len(names) != 1 else ''}"
            raise RequestError(
                409,
                "refused",
                f"this machine has {count} that the cluster knows nothing of: {', '.join(names[:5])}",
                hint="destroy them and submit them to the cluster; --force stops them here and joins",
            )


class ServerVerbs:
    """Of a server; `store` is None while it does not answer."""

    def __init__(self, machine: Machine, membership: Callable[[], Membership], store: Store | None) -> None:
        self._machine = machine
        self._membership = membership
        self._opened = store

    @property
    def _store(self) -> Store:
        if self._opened is None:
            raise RequestError(
                503,
                "degraded",
                "the store of the cluster does not answer",
                hint="where a majority of the servers is lost for good: `skerry cluster restore`",
            )
        return self._opened

    async def do(self, verb: str, asked: HereOrder) -> HereView:
        with one_at_a_time(self._machine):
            return await self._do(verb, asked)

    async def _do(self, verb: str, asked: HereOrder) -> HereView:
        machine, membership = self._machine, self._membership()
        if verb == "migrate":
            if not isinstance(self._store, Gate):
                raise not_here(verb, "a server whose store is in etcd already")
            moved = await said(migrate(machine, self._store, membership))

            async def aside() -> None:
                build.set_aside(machine.paths.state)

            await machine.turns.change(aside)
            return view(moved)
        if verb == "snapshot":
            return view(membership, file=await take_snapshot(machine, self._store, membership.cluster))
        if verb == "leave":
            await self._leave(force=asked.force)
            return view(None)
        if verb == "member":
            await self._take_vote(asked.node)
            return view(membership)
        if verb == "restore":
            return await self._anew(Path(asked.file), force=asked.force)
        if verb == "rescue":
            return await self._anew(None, force=asked.force)
        raise not_here(verb, f"a server of {membership.name} already", hint="`skerry cluster leave` first")

    async def _leave(self, *, force: bool) -> None:
        machine, membership = self._machine, self._membership()
        if not membership.store:
            raise not_here(
                "leave",
                "the only server, with it the cluster would end",
                hint="`skerry cluster migrate`, and add one",
            )
        if not force:
            await self._holds_nothing(membership.node)

        async def leaving() -> None:
            async with etcd_here(machine) as server:
                try:
                    await tell_others(machine, server, await build.part(server, membership))
                except StoreError as error:
                    if not force or len(membership.store) == 1:
                        raise
                    log.warning("leaving though the other servers do not know: %s", error.message)
                await server.end()
            await forget(machine)

        await said(
            machine.turns.change(leaving),
            hint="--force leaves all the same; then `skerry node remove` it there",
        )

    async def _holds_nothing(self, node: str) -> None:
        if self._opened is None:
            raise RequestError(
                503,
                "degraded",
                "the store of the cluster does not answer",
                hint="--force leaves all the same",
            )
        placed = await self._store.list(f"/skerry/v1/placements/{node}/")
        if placed.entries:
            count = f"{len(placed.entries)} unit{'s' if len(placed.entries) != 1 else ''}"
            raise RequestError(
                409,
                "refused",
                f"this machine holds {count}",
                hint=f"`skerry node drain {node[:8]}` first, or --force",
            )

    async def _take_vote(self, node: str) -> None:
        machine = self._machine
        if node == machine.node.id:
            raise not_here("member remove", "that member", hint="`skerry cluster leave`")
        async with etcd_here(machine) as server:
            client = server.client()
            try:
                await said(build.remove_server(client, node))
            finally:
                client.close()

    async def _anew(self, file: Path | None, *, force: bool) -> HereView:
        """Begin anew with this server alone, from a snapshot or from what it holds itself."""
        machine, membership = self._machine, self._membership()
        if file is not None:
            await said(_checked(file))
        if isinstance(self._opened, Gate):
            raise not_here(
                "restore", "a server with its store in a file", hint="`skerry cluster migrate` first"
            )
        if not force and (others := await running_others(membership)):
            raise RequestError(
                409,
                "refused",
                f"other servers run: {', '.join(others)}",
                hint="on each, `systemctl stop skerryd skerry-etcd`; what is fenced would run twice else",
            )

        async def anew() -> None:
            await begin_anew(machine, membership, file)

        await said(machine.turns.change(anew))
        return view(self._membership())


class AgentVerbs:
    """Of an agent: it may only leave."""

    def __init__(self, machine: Machine, membership: Membership, ask: Callable[[], Wire]) -> None:
        self._machine = machine
        self._membership = membership
        self._ask = ask

    async def do(self, verb: str, asked: HereOrder) -> HereView:
        with one_at_a_time(self._machine):
            return await self._do(verb, asked)

    async def _do(self, verb: str, asked: HereOrder) -> HereView:
        membership = self._membership
        if verb != "leave":
            servers = ", ".join(membership.servers)
            raise not_here(verb, f"an agent of {membership.name}", hint=f"its servers are {servers}")
        force = "true" if asked.force else "false"
        wire = self._ask()
        try:
            answer = await wire.request(
                "DELETE", f"/v1/nodes/{membership.node}?force={force}", b"", timeout_s=15.0
            )
            # 401: it was removed already, on a server or by a leave that was cut short.
            if answer.status not in (401, 404):
                answer.checked()
        except SkerryError as error:
            if not asked.force:
                raise RequestError(
                    409,
                    "refused",
                    f"the servers do not let this machine go: {error.message}",
                    hint=error.hint
                    or "--force leaves all the same; then `skerry node remove` it on a server",
                ) from error
            log.warning("leaving though the servers do not know: %s", error.message)
        finally:
            wire.close()

        async def part() -> None:
            await forget(self._machine)

        await self._machine.turns.change(part)
        return view(None)


@contextlib.contextmanager
def one_at_a_time(machine: Machine) -> Iterator[None]:
    """Whoever comes second is refused before anything is touched. Raises RequestError."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(machine.turns.alone())
        except BusyError as error:
            raise RequestError(409, "refused", error.message, hint=error.hint) from error
        yield


async def _checked(file: Path) -> None:
    read_snapshot(file)


async def said(work: Awaitable[T], *, hint: str | None = None) -> T:
    """Refusals of ours as answers that say what is wrong, not as failures of the daemon."""
    try:
        return await work
    except RequestError:
        raise
    except SkerryError as error:
        raise RequestError(409, "refused", error.message, hint=error.hint or hint) from error
