"""Machines let in by a token, once each; renewed; removed at once, and let in again."""

from __future__ import annotations

import asyncio

import pytest

from fakes.access import AccessWorld
from fakes.clock import FakeClock
from skerry.fleet.access.errors import (
    AccessError,
    DuplicateNodeError,
    ForbiddenError,
    NoSuchTokenError,
    TokenRefusedError,
    UnauthenticatedError,
)
from skerry.fleet.access.members import Admission, Members
from skerry.fleet.access.records import JOIN_PREFIX, REVOKED_PREFIX, JoinToken
from skerry.fleet.store.interface import Put
from skerry.fleet.trust.certificates import (
    DAY_S,
    Authority,
    SigningRequest,
    make_request,
    new_key,
    read_certificate,
    read_request,
)
from skerry.fleet.trust.identity import Identity, Peer, Role
from skerry.fleet.trust.token_text import Token, TokenKind, new_token

HOUR_S = 3600.0
ONE, TWO = Identity("1" * 32, Role.AGENT), Identity("2" * 32, Role.AGENT)
CA = Authority.create("test", FakeClock().now())


class World(AccessWorld):
    pin = CA.pin

    def __init__(self) -> None:
        super().__init__()
        self.members = Members(self.store, self.clock)

    async def token(self, *, uses: int = 1, role: Role = Role.AGENT) -> Token:
        return (await self.tokens.create_join(role, ttl_s=HOUR_S, uses=uses))[1]

    def sign(self, request: SigningRequest, identity: Identity) -> str:
        return CA.issue(request, identity, self.clock.now())

    async def join(self, token: Token, who: Identity, request: SigningRequest | None = None) -> Admission:
        return await self.members.admit(token, who, request or asking(who), self.sign)

    async def renew(self, who: Identity, serial: str) -> str:
        pem = await self.members.renew(who, serial, asking(who), self.sign)
        return read_certificate(pem).serial

    def peer(self, who: Identity, serial: str) -> Peer:
        return Peer(who, serial, self.clock.now() + DAY_S)


def asking(who: Identity) -> SigningRequest:
    return read_request(make_request(new_key(), who))


world = World.begin


async def _once() -> None:
    async with world() as w:
        token = await w.token()
        admitted = await w.join(token, ONE)
        assert read_certificate(admitted.certificate).identity == ONE
        with pytest.raises(TokenRefusedError, match="used up: it was good once"):
            await w.join(token, TWO)
        assert [m.node for m in await w.members.members()] == [ONE.node]


def test_a_token_lets_one_machine_in() -> None:
    asyncio.run(_once())


async def _several() -> None:
    async with world() as w:
        token = await w.token(uses=5)
        machines = [Identity(f"{n:032x}", Role.AGENT) for n in range(1, 13)]
        came = await asyncio.gather(*(w.join(token, m) for m in machines), return_exceptions=True)
        refused = [c for c in came if isinstance(c, TokenRefusedError)]
        assert (len(refused), len(await w.members.members())) == (7, 5)
        free = await w.token(uses=0)
        await asyncio.gather(*(w.join(free, m) for m, c in zip(machines, came, strict=True) if c in refused))
        assert len(await w.members.members()) == 12


def test_a_token_for_five_lets_five_in_however_many_come_at_once() -> None:
    asyncio.run(_several())


async def _refusals() -> None:
    async with world() as w:
        token = await w.token()
        other = new_token(TokenKind.JOIN, CA.pin)
        for wrong in (other, Token(TokenKind.JOIN, CA.pin, token.id, other.secret)):
            with pytest.raises(TokenRefusedError, match="lets nobody join"):
                await w.join(wrong, ONE)
        with pytest.raises(TokenRefusedError, match="join as agent, not as server"):
            await w.join(token, Identity(ONE.node, Role.SERVER))
        revoked = await w.token()
        await w.tokens.revoke_join(revoked.id)
        with pytest.raises(TokenRefusedError, match="revoked"):
            await w.join(revoked, ONE)
        with pytest.raises(NoSuchTokenError):
            await w.tokens.revoke_join(revoked.id)
        await w.clock.advance(HOUR_S)
        with pytest.raises(TokenRefusedError, match="expired"):
            await w.join(token, ONE)
        assert await w.members.members() == []


def test_wrong_revoked_and_expired_tokens_are_refused_with_the_reason() -> None:
    asyncio.run(_refusals())


async def _lost_answer() -> None:
    async with world() as w:
        token, request = await w.token(), asking(ONE)
        await w.join(token, ONE, request)
        second = await w.join(token, ONE, request)
        assert second.again
        assert (await w.tokens.joins())[0].used == 1
        with pytest.raises(TokenRefusedError, match="used up"):
            await w.join(token, ONE)


def test_a_join_whose_answer_was_lost_is_asked_for_again() -> None:
    asyncio.run(_lost_answer())


async def _duplicate() -> None:
    async with world() as w:
        token = await w.token(uses=0)
        await w.join(token, ONE)
        with pytest.raises(DuplicateNodeError, match="member already"):
            await w.join(token, ONE)
        await w.clock.advance(31 * DAY_S)
        later = await w.token()
        assert not (await w.join(later, ONE)).again


def test_a_second_machine_with_the_same_id_is_refused_while_the_first_is_a_member() -> None:
    asyncio.run(_duplicate())


async def _removal() -> None:
    async with world() as w:
        removed: list[str] = []
        w.known.on_removed(removed.append)
        serial = (await w.join(await w.token(), ONE)).member.serial
        renewed = await w.renew(ONE, serial)
        caller = w.known.node(w.peer(ONE, renewed), "")
        await w.known.saw_revoked(await w.members.remove(ONE.node, by="ann"))
        assert (removed, w.known.still(caller.principal)) == ([ONE.node], False)
        for old in (serial, renewed):
            with pytest.raises(UnauthenticatedError, match="was removed"):
                w.known.node(w.peer(ONE, old), "")
            with pytest.raises(ForbiddenError, match="was removed"):
                await w.renew(ONE, old)
        assert w.known.node(w.peer(TWO, "7"), "").name == TWO.node


def test_removal_holds_at_once_for_every_certificate_of_the_node() -> None:
    asyncio.run(_removal())


async def _again() -> None:
    async with world() as w:
        old = (await w.join(await w.token(), ONE)).member.serial
        await w.members.remove(ONE.node, by="ann")
        new = (await w.join(await w.token(), ONE)).member.serial
        newer = await w.renew(ONE, new)
        revision = (await w.store.list(REVOKED_PREFIX)).revision
        await w.known.saw_revoked(revision)
        assert w.known.node(w.peer(ONE, new), "").name == ONE.node
        assert w.known.node(w.peer(ONE, newer), "").name == ONE.node
        with pytest.raises(UnauthenticatedError):
            w.known.node(w.peer(ONE, old), "")
        await w.known.saw_revoked(await w.members.remove(ONE.node, by="ann"))
        with pytest.raises(UnauthenticatedError):
            w.known.node(w.peer(ONE, newer), "")


def test_a_removed_machine_joins_again_and_its_old_certificates_stay_refused() -> None:
    asyncio.run(_again())


async def _restored() -> None:
    async with world() as w:
        assert await w.renew(TWO, "99")
        assert [m.node for m in await w.members.members()] == [TWO.node]
        result = await w.store.transact([], [Put(REVOKED_PREFIX + ONE.node, b"damaged")])
        await w.known.saw_revoked(result.revision)
        with pytest.raises(UnauthenticatedError):
            w.known.node(w.peer(ONE, "5"), "")


def test_a_store_restored_from_before_keeps_members_and_damage_lets_nobody_in() -> None:
    asyncio.run(_restored())


async def _old_tokens() -> None:
    async with world() as w:
        await w.token()
        await w.clock.advance(HOUR_S + 8 * DAY_S)
        await w.token()
        assert len(await w.tokens.joins()) == 1
        for ttl_s, uses in ((0.0, 1), (1e9, 1), (60.0, -1), (60.0, 10**9)):
            with pytest.raises(AccessError):
                await w.tokens.create_join(Role.AGENT, ttl_s=ttl_s, uses=uses)


def test_old_tokens_are_forgotten_and_impossible_ones_refused() -> None:
    asyncio.run(_old_tokens())


async def _stored() -> None:
    async with world() as w:
        token = await w.token()
        entry = (await w.store.list(JOIN_PREFIX)).entries[0]
        assert token.secret.encode() not in entry.value
        assert JoinToken.decode(entry.value).sha256 == token.sha256


def test_only_the_hash_of_a_join_token_is_kept() -> None:
    asyncio.run(_stored())
