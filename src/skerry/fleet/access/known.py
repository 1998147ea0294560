"""Who is known: people by their tokens, nodes by their certificates less those that were removed.

Answers from memory. A change in the store reaches it within a watch's delay, on every server, and whoever is
not known any more is told to `on_gone`: their open streams are to be cut.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from typing import TYPE_CHECKING

from skerry.fleet.access.caller import Caller, CallerKind
from skerry.fleet.access.errors import UnauthenticatedError
from skerry.fleet.access.mirror import Mirror
from skerry.fleet.access.records import PEOPLE_PREFIX, REVOKED_PREFIX, PersonToken, RevokedRecord
from skerry.fleet.state.document import RecordError
from skerry.fleet.trust.errors import TokenTextError
from skerry.fleet.trust.token_text import TokenKind, parse_token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from skerry.fleet.store.interface import Entry, Store
    from skerry.fleet.trust.identity import Peer
    from skerry.kit.clock import Clock

log = logging.getLogger("skerry.access")

NODE, TOKEN = "node:", "token:"
_NO_HASH = "0" * 64


class Known:
    """Run `run` beside the API; `on_gone` is called with a node id when a node was removed, and with nothing
    else: it is for those who keep something of a node in memory, and may be called again for the same one."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._clock = clock
        self._people = Mirror(store, clock, PEOPLE_PREFIX, _person, lambda key: self._tell(TOKEN + key))
        self._revoked = Mirror(store, clock, REVOKED_PREFIX, _revoked, self._node_changed)
        self._on_removed: list[Callable[[str], None]] = []
        self._on_change: list[Callable[[str], None]] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._people.run())
            group.create_task(self._revoked.run())

    @property
    def is_ready(self) -> bool:
        """Whether the store was read once; before that nobody but root is known."""
        return self._people.is_ready and self._revoked.is_ready

    async def ready(self) -> None:
        await self._people.reached()
        await self._revoked.reached()

    async def saw_people(self, revision: int) -> None:
        """Return when a change of people's tokens, made here, holds here."""
        await self._people.reached(revision)

    async def saw_revoked(self, revision: int) -> None:
        await self._revoked.reached(revision)

    def on_removed(self, call: Callable[[str], None]) -> None:
        """`call` with the id of each node that is removed from the cluster."""
        self._on_removed.append(call)

    def on_change(self, call: Callable[[str], None]) -> None:
        """`call` with the beginning of the principals that may not be known any more."""
        self._on_change.append(call)

    def person(self, text: str, address: str) -> Caller:
        """Whoever holds this token. Raises UnauthenticatedError, which does not repeat it."""
        try:
            token = parse_token(text, TokenKind.PERSON)
        except TokenTextError as error:
            raise UnauthenticatedError(error.message, hint=error.hint) from error
        record = self._people.content.get(token.id)
        good = hmac.compare_digest(token.sha256, _NO_HASH if record is None else record.sha256)
        if record is None or not good:
            raise UnauthenticatedError(
                "nobody has this token", hint="it may have been revoked: an admin can `skerry token create`"
            )
        self._check_expiry(record)
        return Caller(
            CallerKind.PERSON,
            record.name,
            record.role,
            address=address,
            principal=TOKEN + record.id,
            keys=record.keys,
        )

    def node(self, peer: Peer, address: str) -> Caller:
        """The node with this verified certificate. Raises UnauthenticatedError."""
        identity = peer.identity
        self._check_node(identity.node, peer.serial)
        if peer.expires <= self._clock.now():
            raise UnauthenticatedError("the certificate of this connection has expired")
        return Caller(
            CallerKind.NODE,
            identity.node,
            node_role=identity.role,
            address=address,
            principal=f"{NODE}{identity.node}:{peer.serial}",
            expires=peer.expires,
        )

    def still(self, principal: str, expires: float = 0.0) -> bool:
        """Whether a caller who was known by this principal, and until then, is known yet."""
        if expires and expires <= self._clock.now():
            return False
        try:
            if principal.startswith(NODE):
                node, _, serial = principal.removeprefix(NODE).partition(":")
                self._check_node(node, serial)
            elif principal.startswith(TOKEN):
                record = self._people.content.get(principal.removeprefix(TOKEN))
                if record is None:
                    return False
                self._check_expiry(record)
        except UnauthenticatedError:
            return False
        return True

    @property
    def people(self) -> Mapping[str, PersonToken]:
        """Whose token is good, unless it has expired, by the token's id."""
        return self._people.content

    @property
    def revocations(self) -> Mapping[str, RevokedRecord]:
        """Who was removed, by node id."""
        return self._revoked.content

    def is_revoked(self, node: str) -> bool:
        """Whether a node was removed, and not let in again."""
        record = self._revoked.content.get(node)
        return record is not None and not record.again

    def _check_node(self, node: str, serial: str) -> None:
        revoked = self._revoked.content.get(node)
        if revoked is not None and serial not in revoked.again:
            raise UnauthenticatedError(
                f"node {node} was removed from the cluster",
                hint="it can join again with a new token: `skerry cluster token create`",
            )

    def _check_expiry(self, record: PersonToken) -> None:
        if record.expires and record.expires <= self._clock.now():
            raise UnauthenticatedError("this token has expired", hint="an admin can `skerry token create`")

    def _node_changed(self, node: str) -> None:
        self._tell(f"{NODE}{node}:")
        if self.is_revoked(node):
            for call in self._on_removed:
                call(node)

    def _tell(self, principal: str) -> None:
        for call in self._on_change:
            call(principal)


def _person(entry: Entry) -> PersonToken | None:
    try:
        return PersonToken.decode(entry.value)
    except RecordError as error:
        log.warning("%s is not used: %s", entry.key, error.message)
        return None


def _revoked(entry: Entry) -> RevokedRecord:
    """What cannot be read is taken for a removal: the safe way to be wrong."""
    try:
        return RevokedRecord.decode(entry.value)
    except RecordError:
        return RevokedRecord(entry.key.removeprefix(REVOKED_PREFIX), 0.0)
