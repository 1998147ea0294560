"""Tokens made, listed and revoked. The secret is given out once, here, and never stored."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from skerry.fleet.access.errors import AccessError, NoSuchTokenError
from skerry.fleet.access.records import (
    JOIN_PREFIX,
    PEOPLE_PREFIX,
    JoinToken,
    PersonToken,
    join_key,
    person_key,
)
from skerry.fleet.store.interface import Delete, Put, absent, unchanged
from skerry.fleet.trust.token_text import Token, TokenKind, new_token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skerry.fleet.access.caller import KeyRight, PersonRole
    from skerry.fleet.store.interface import Store
    from skerry.fleet.trust.identity import Role
    from skerry.kit.clock import Clock

MOST_USES = 10_000
LONGEST_JOIN_S = 30 * 86400.0
LONGEST_PERSON_S = 3653 * 86400.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}", re.ASCII)


class Tokens:
    """Over one store; `pin` is that of the cluster's authority, and becomes part of each text.

    A machine alone has none (None): nobody reaches it over the network, so no token is good for anything.
    """

    def __init__(self, store: Store, clock: Clock, pin: str | None) -> None:
        self._store = store
        self._clock = clock
        self._pin = pin

    async def create_person(
        self,
        name: str,
        role: PersonRole,
        *,
        ttl_s: float | None,
        keys: Sequence[KeyRight] = (),
        by: str = "",
    ) -> tuple[PersonToken, Token, int]:
        """The record, the token with its secret, and the store's revision; `ttl_s` None is for ever.

        Raises AccessError for what cannot be, or a name that is taken.
        """
        if not _NAME.fullmatch(name):
            raise AccessError(
                f"{name!r} is no name for a token", hint="letters, digits and . _ @ -, at most 64"
            )
        for right in keys:
            if not right.prefix.startswith("/") or "//" in right.prefix or "/." in right.prefix:
                raise AccessError(f"{right.prefix!r} is no prefix of keys", hint="for example /apps/web")
        if any(record.name == name for record in await self.people()):
            raise AccessError(f"a token is called {name} already", hint=f"`skerry token revoke {name}` first")
        now = self._clock.now()
        expires = 0.0 if ttl_s is None else now + _between(ttl_s, LONGEST_PERSON_S)
        token = new_token(TokenKind.PERSON, self._own_pin())
        record = PersonToken(token.id, name, role, token.sha256, now, expires, tuple(keys), by)
        key = person_key(token.id)
        result = await self._store.transact([absent(key)], [Put(key, record.encode())])
        return record, token, result.revision

    async def people(self) -> list[PersonToken]:
        """All of them, by name."""
        listing = await self._store.list(PEOPLE_PREFIX)
        return sorted((PersonToken.decode(e.value) for e in listing.entries), key=lambda r: r.name)

    async def revoke_person(self, which: str) -> int:
        """By id or name; the store's revision. Raises NoSuchTokenError."""
        for record in await self.people():
            if which in (record.id, record.name):
                return (await self._store.transact([], [Delete(person_key(record.id))])).revision
        raise NoSuchTokenError(f"no token is called {which}", hint="`skerry token list` shows them")

    async def create_join(
        self, role: Role, *, ttl_s: float, uses: int = 1, by: str = ""
    ) -> tuple[JoinToken, Token]:
        """A token with which machines join; `uses` 0 is any number. Raises AccessError."""
        if not 0 <= uses <= MOST_USES:
            raise AccessError(f"a token is good for 1 to {MOST_USES} machines, or 0 for any number")
        await self._forget_old()
        now = self._clock.now()
        token = new_token(TokenKind.JOIN, self._own_pin())
        expires = now + _between(ttl_s, LONGEST_JOIN_S)
        record = JoinToken(token.id, role, token.sha256, now, expires, uses, created_by=by)
        key = join_key(token.id)
        await self._store.transact([absent(key)], [Put(key, record.encode())])
        return record, token

    async def joins(self) -> list[JoinToken]:
        """All of them, the newest first."""
        listing = await self._store.list(JOIN_PREFIX)
        return sorted((JoinToken.decode(e.value) for e in listing.entries), key=lambda r: -r.created)

    async def revoke_join(self, token: str) -> None:
        """Raises NoSuchTokenError."""
        result = await self._store.transact([], [Delete(join_key(token))])
        if not result.found[0]:
            raise NoSuchTokenError(
                f"no token to join with has the id {token}", hint="`skerry cluster token list` shows them"
            )

    def _own_pin(self) -> str:
        if self._pin is None:
            raise AccessError(
                "this machine is in no cluster: nobody could use a token",
                hint="`skerry cluster init` makes it the first server of one",
            )
        return self._pin

    async def _forget_old(self) -> None:
        """Take away tokens that ended a week ago: until then whoever uses one is told why it is refused."""
        listing = await self._store.list(JOIN_PREFIX)
        for entry in listing.entries:
            if JoinToken.decode(entry.value).expires + 7 * 86400 < self._clock.now():
                await self._store.transact([unchanged(entry)], [Delete(entry.key)])


def _between(ttl_s: float, longest_s: float) -> float:
    if not 1 <= ttl_s <= longest_s:
        raise AccessError(f"a token of this kind lives from a second to {longest_s / 86400:.0f} days")
    return ttl_s
