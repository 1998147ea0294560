"""All that skerryd needs to know who may: put together once, from the store and the machine's own files.

    store ─→ Known, Audit, Members, Tokens ─→ routes of tokens, joining and the log; the guard before the app

A machine alone has a guard, too: its audit log is kept, and nobody but root comes in. What signs, and the
library for it, is loaded only where there is a cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.entry.rest.auth import Guard
from skerry.entry.rest.nodes import nothing_more, revoking
from skerry.entry.rest.tokens import TokenRoutes
from skerry.fleet.access.audit import Audit
from skerry.fleet.access.known import Known
from skerry.fleet.access.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.applications import Starlette
    from starlette.routing import Route

    from skerry.entry.rest.join import Enlist, Joining
    from skerry.entry.rest.nodes import Removal
    from skerry.fleet.access.ended import Ended
    from skerry.fleet.cluster.membership import Membership
    from skerry.fleet.store.interface import Store
    from skerry.fleet.trust.files import Pki
    from skerry.kit.clock import Clock


@dataclass(frozen=True, slots=True)
class Access:
    """`routes` and `removal` go into the application, `guard` stands before it, `loops` run beside it.

    `joining` is there on servers of a cluster; its `renew_here` is what the server's own Renewal asks.
    """

    known: Known
    audit: Audit
    routes: tuple[Route, ...]
    removal: Removal
    joining: Joining | None
    clock: Clock
    ended: Ended | None = None

    def guard(self, app: Starlette) -> Guard:
        return Guard(app, self.clock, self.known, self.audit)

    def loops(self, guard: Guard) -> dict[str, Coroutine[object, object, None]]:
        """What is to run for as long as the daemon does, by a name for each."""
        loops = {"who is known": self.known.run(), "audit log": self.audit.run(), "guard": guard.run()}
        return loops if self.ended is None else {**loops, "who was removed": self.ended.run()}


def access_alone(store: Store, clock: Clock) -> Access:
    """For a machine that is in no cluster."""
    known, audit = Known(store, clock), Audit(store, clock)
    tokens = Tokens(store, clock, None)
    routes = TokenRoutes(tokens, known, audit, servers=lambda: (), cluster=lambda: "").routes()
    return Access(known, audit, tuple(routes), nothing_more, None, clock)


def access_of_server(
    store: Store,
    clock: Clock,
    pki: Pki,
    membership: Callable[[], Membership],
    enlist: Enlist | None = None,
    *,
    lifetime_s: float | None = None,
) -> Access:
    """For a server of a cluster; `enlist` None where the store is a file. Raises PkiError."""
    from skerry.entry.rest.join import Joining, Parts
    from skerry.fleet.access.ended import FILE_NAME, Ended
    from skerry.fleet.access.members import Members
    from skerry.fleet.trust.certificates import NODE_LIFETIME_S

    known, audit, members = Known(store, clock), Audit(store, clock), Members(store, clock)
    tokens = Tokens(store, clock, pki.authority().pin)
    joining = Joining(Parts(membership, members, pki, audit, clock, enlist, lifetime_s or NODE_LIFETIME_S))
    people = TokenRoutes(
        tokens,
        known,
        audit,
        servers=lambda: membership().servers,
        cluster=lambda: membership().name,
    )
    routes = (*people.routes(), *joining.routes())
    ended = Ended(pki.directory / FILE_NAME, store, clock, known, audit, membership().node)
    return Access(known, audit, routes, revoking(members, known), joining, clock, ended)
