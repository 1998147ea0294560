"""Machines let in, renewed and removed: a certificate is in the store before it is given out.

    join     token good, id free ─→ sign ─→ one transaction: token used, member written ─→ certificate
    renew    member, not removed ─→ sign ─→ one transaction: member's newest certificate     ─→ certificate
    remove   one transaction: member gone, revoked written; holds for all its certificates at once

A join whose answer was lost is asked for again with the same key, and costs no second use of the token, nor
does it matter that the token has expired since: a server may take long to receive what the others hold. A
machine whose certificate has run out may join anew under its id; one that lives must be removed first.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from skerry.fleet.access.errors import AccessError, DuplicateNodeError, ForbiddenError, TokenRefusedError
from skerry.fleet.access.records import (
    MEMBERS_PREFIX,
    JoinToken,
    MemberRecord,
    RevokedRecord,
    join_key,
    member_key,
    revoked_key,
)
from skerry.fleet.store.interface import Compare, Delete, Put, absent, unchanged
from skerry.fleet.trust.certificates import Facts, SigningRequest, read_certificate

if TYPE_CHECKING:
    from skerry.fleet.store.interface import Entry, Operation, Store
    from skerry.fleet.trust.identity import Identity, Role
    from skerry.fleet.trust.token_text import Token
    from skerry.kit.clock import Clock

TRIES = 50

Sign = Callable[[SigningRequest, "Identity"], str]
"""Signs a request for an identity: Authority.issue with the addresses filled in."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A certificate given out; `again` where the same machine had asked before."""

    certificate: str
    member: MemberRecord
    again: bool


class Members:
    """Over one store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def check_token(
        self, token: Token, role: Role | None = None, *, expired: bool = False
    ) -> JoinToken:
        """The record of a token that is, or was, good for somebody (in a role). Raises TokenRefusedError.

        One that is used up passes, `expired` also one that was good once: it may be a machine's that asks
        again. `admit` decides.
        """
        entry = await self._store.get(join_key(token.id))
        record = self._good(entry, token, used=True, expired=expired)[0]
        if role is not None:
            _check_role(record, role)
        return record

    async def admit(
        self,
        token: Token,
        identity: Identity,
        request: SigningRequest,
        sign: Sign,
        *,
        address: str = "",
        names: tuple[str, ...] = (),
    ) -> Admission:
        """Let a machine in. Raises TokenRefusedError, DuplicateNodeError, CertificateError."""
        for _ in range(TRIES):
            token_entry = await self._store.get(join_key(token.id))
            member_entry = await self._store.get(member_key(identity.node))
            revoked_entry = await self._store.get(revoked_key(identity.node))
            before = None if member_entry is None else MemberRecord.decode(member_entry.value)
            same = before is not None and hmac.compare_digest(before.key_sha256, request.key_sha256)
            again = same and before is not None and before.token == token.id
            record, compare = self._good(token_entry, token, used=again, expired=again)
            _check_role(record, identity.role)
            if before is not None and not same and before.expires > self._clock.now():
                raise DuplicateNodeError(
                    f"a machine with the id {identity.node} is a member already",
                    hint="if it is this one, made anew: `skerry node remove` it first; if it is a copy, "
                    "give the copy an id of its own with `systemd-machine-id-setup`",
                )
            pem = sign(request, identity)
            facts = read_certificate(pem)
            member = MemberRecord(
                identity.node,
                identity.role,
                facts.serial,
                request.key_sha256,
                self._clock.now(),
                facts.expires,
                address,
                token.id,
                names,
            )
            used = msgspec.structs.replace(record, used=record.used + (not again))
            then: list[Operation] = [
                Put(join_key(token.id), used.encode()),
                Put(member_key(identity.node), member.encode()),
            ]
            compares = [compare, _as_read(member_key(identity.node), member_entry)]
            compares.append(_as_read(revoked_key(identity.node), revoked_entry))
            if revoked_entry is not None:
                then.append(Put(revoked_key(identity.node), _let_in(revoked_entry, facts).encode()))
            if (await self._store.transact(compares, then)).succeeded:
                return Admission(pem, member, again)
        raise AccessError("too many machines join at the same moment", hint="try again")

    async def renew(self, identity: Identity, serial: str, request: SigningRequest, sign: Sign) -> str:
        """A new certificate for a member, whose present one has `serial`. Raises ForbiddenError."""
        for _ in range(TRIES):
            member_entry = await self._store.get(member_key(identity.node))
            revoked_entry = await self._store.get(revoked_key(identity.node))
            if revoked_entry is not None and serial not in RevokedRecord.decode(revoked_entry.value).again:
                raise ForbiddenError(f"node {identity.node} was removed from the cluster")
            pem = sign(request, identity)
            facts = read_certificate(pem)
            if (
                member_entry is None
            ):  # restored from a snapshot older than its join: it is a member all the same
                member = MemberRecord(
                    identity.node, identity.role, facts.serial, request.key_sha256, self._clock.now(), 0.0
                )
            else:
                member = MemberRecord.decode(member_entry.value)
            member = msgspec.structs.replace(member, serial=facts.serial, expires=facts.expires)
            then: list[Operation] = [Put(member_key(identity.node), member.encode())]
            if revoked_entry is not None:
                then.append(Put(revoked_key(identity.node), _let_in(revoked_entry, facts).encode()))
            compares = [
                _as_read(member_key(identity.node), member_entry),
                _as_read(revoked_key(identity.node), revoked_entry),
            ]
            if (await self._store.transact(compares, then)).succeeded:
                return pem
        raise AccessError("this node's membership keeps changing", hint="try again")

    async def write(self, member: MemberRecord) -> None:
        """The first member, at `cluster init`, which signs for itself."""
        await self._store.transact([], [Put(member_key(member.node), member.encode())])

    async def remove(self, node: str, *, by: str) -> int:
        """Refuse all certificates of a node from now on; the store's revision. Also of one never heard of:
        a certificate may be out there that the store, restored from a snapshot, knows nothing of."""
        record = RevokedRecord(node, self._clock.now(), by)
        result = await self._store.transact(
            [], [Put(revoked_key(node), record.encode()), Delete(member_key(node))]
        )
        return result.revision

    async def revoked(self, node: str) -> RevokedRecord | None:
        """What says that a machine was removed; None where it was not."""
        entry = await self._store.get(revoked_key(node))
        return None if entry is None else RevokedRecord.decode(entry.value)

    async def members(self) -> list[MemberRecord]:
        listing = await self._store.list(MEMBERS_PREFIX)
        return [MemberRecord.decode(entry.value) for entry in listing.entries]

    def _good(
        self, entry: Entry | None, token: Token, *, used: bool, expired: bool
    ) -> tuple[JoinToken, Compare]:
        record = None if entry is None else JoinToken.decode(entry.value)
        if entry is None or record is None or not hmac.compare_digest(record.sha256, token.sha256):
            raise TokenRefusedError(
                "this token lets nobody join: it was revoked, or is of another cluster",
                hint="`skerry cluster token create` makes one",
            )
        if record.expires <= self._clock.now() and not expired:
            raise TokenRefusedError("this token has expired", hint="`skerry cluster token create` makes one")
        if record.uses and record.used >= record.uses and not used:
            times = "once" if record.uses == 1 else f"{record.uses} times"
            raise TokenRefusedError(
                f"this token is used up: it was good {times}",
                hint="`skerry cluster token create --uses N` makes one for several machines",
            )
        return record, unchanged(entry)


def _check_role(record: JoinToken, role: Role) -> None:
    if record.role is not role:
        raise TokenRefusedError(f"this token lets a machine join as {record.role}, not as {role}")


def _as_read(key: str, entry: Entry | None) -> Compare:
    return absent(key) if entry is None else unchanged(entry)


def _let_in(entry: Entry, facts: Facts) -> RevokedRecord:
    """The removal, less the certificate just made; the two before it are good until the node has changed."""
    record = RevokedRecord.decode(entry.value)
    return msgspec.structs.replace(record, again=(*record.again, facts.serial)[-3:])
