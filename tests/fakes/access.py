"""Tokens, joining and the audit log over a store in memory: as parts, and as routes without a guard."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from fakes.clock import FakeClock
from fakes.tls import SERVER
from skerry.entry.rest.join import Joining, Parts
from skerry.entry.rest.tokens import TokenRoutes
from skerry.fleet.access.audit import Audit
from skerry.fleet.access.known import Known
from skerry.fleet.access.members import Members
from skerry.fleet.access.tokens import Tokens
from skerry.fleet.cluster.membership import Membership
from skerry.fleet.store.memory import MemoryStore
from skerry.fleet.trust.certificates import Authority
from skerry.fleet.trust.identity import Role

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.routing import Route

    from skerry.fleet.store.interface import Store
    from skerry.kit.clock import Clock


PIN = "1" * 64


class AccessWorld:
    """Tokens in a store, and what is known of them."""

    pin = PIN

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock)
        self.tokens = Tokens(self.store, self.clock, self.pin)
        self.known = Known(self.store, self.clock)

    @classmethod
    @contextlib.asynccontextmanager
    async def begin(cls) -> AsyncIterator[Self]:
        """A world whose store is followed."""
        made = cls()
        following = asyncio.create_task(made.known.run())
        await made.known.ready()
        try:
            yield made
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


@functools.cache
def authority(name: str) -> Authority:
    """One for all tests of a process."""
    return Authority.create(name, FakeClock().now())


@dataclass(frozen=True)
class MemoryPki:
    """What Joining asks of a Pki, without files."""

    cluster: Authority = field(default_factory=lambda: authority("cluster"))

    def read_ca(self) -> str:
        return self.cluster.pem

    def authority(self) -> Authority:
        return self.cluster

    def store_authority(self) -> Authority:
        return authority("store")


async def enlist(node: str, address: str) -> dict[str, str]:
    return {}


def access_routes(store: Store, clock: Clock) -> tuple[list[Route], Known]:
    """The routes, and what is to run for them."""
    pki, known, audit = MemoryPki(), Known(store, clock), Audit(store, clock)
    membership = Membership("c1", "home", SERVER.node, Role.SERVER, "127.0.0.1", ("https://127.0.0.1:7443",))
    parts = Parts(lambda: membership, Members(store, clock), pki, audit, clock, enlist)  # type: ignore[arg-type]
    tokens = TokenRoutes(
        Tokens(store, clock, pki.cluster.pin),
        known,
        audit,
        servers=lambda: membership.servers,
        cluster=lambda: membership.name,
    )
    return [*tokens.routes(), *Joining(parts).routes()], known
