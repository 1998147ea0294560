"""Tokens speak for people: shown once, known by a hash, for a time, for a role, until they are revoked."""

from __future__ import annotations

import asyncio

import pytest

from fakes.access import PIN, AccessWorld
from fakes.clock import settle
from skerry.fleet.access.caller import CallerKind, KeyRight, PersonRole
from skerry.fleet.access.errors import AccessError, NoSuchTokenError, UnauthenticatedError
from skerry.fleet.access.records import PEOPLE_PREFIX, PersonToken
from skerry.fleet.access.tokens import Tokens
from skerry.fleet.store.interface import Put
from skerry.fleet.trust.identity import Identity, Peer, Role
from skerry.fleet.trust.token_text import TokenKind, new_token

NODE = "a" * 32
world = AccessWorld.begin


async def _token_of_a_person() -> None:
    async with world() as w:
        record, token, revision = await w.tokens.create_person("ann", PersonRole.OPERATOR, ttl_s=3600)
        await w.known.saw_people(revision)
        caller = w.known.person(token.text, "10.0.0.9")
        assert (caller.kind, caller.name, caller.role) == (CallerKind.PERSON, "ann", PersonRole.OPERATOR)
        assert (caller.address, w.known.still(caller.principal)) == ("10.0.0.9", True)
        everything = b"".join(e.key.encode() + e.value for e in (await w.store.list("")).entries)
        assert token.secret.encode() not in everything
        assert record.sha256.encode() in everything
        await w.clock.advance(3600)
        assert not w.known.still(caller.principal)
        with pytest.raises(UnauthenticatedError, match="expired"):
            w.known.person(token.text, "")


def test_a_token_is_good_for_its_time_and_only_its_hash_is_kept() -> None:
    asyncio.run(_token_of_a_person())


async def _wrong_tokens() -> None:
    async with world() as w:
        _, token, revision = await w.tokens.create_person("ann", PersonRole.ADMIN, ttl_s=None)
        await w.known.saw_people(revision)
        other = new_token(TokenKind.PERSON, PIN)
        for text in (
            "",
            "x" * 1000,
            other.text,
            token.text[:-1],
            token.text.replace(token.secret, other.secret),
            token.text.replace(token.id, other.id),
            new_token(TokenKind.JOIN, PIN).text,
        ):
            with pytest.raises(UnauthenticatedError) as caught:
                w.known.person(text, "")
            assert token.secret not in f"{caught.value} {caught.value.hint}"


def test_no_other_text_is_taken_for_a_token() -> None:
    asyncio.run(_wrong_tokens())


async def _revoking() -> None:
    async with world() as w:
        _, token, revision = await w.tokens.create_person("ann", PersonRole.ADMIN, ttl_s=None)
        await w.known.saw_people(revision)
        principal = w.known.person(token.text, "").principal
        told: list[str] = []
        w.known.on_change(told.append)
        await w.known.saw_people(await w.tokens.revoke_person("ann"))
        assert (told, w.known.still(principal)) == ([principal], False)
        with pytest.raises(UnauthenticatedError):
            w.known.person(token.text, "")
        with pytest.raises(NoSuchTokenError):
            await w.tokens.revoke_person("ann")


def test_a_revoked_token_ends_at_once_and_its_holder_is_told_of() -> None:
    asyncio.run(_revoking())


async def _alone() -> None:
    w = AccessWorld()
    tokens = Tokens(w.store, w.clock, None)
    assert await tokens.people() == []
    with pytest.raises(AccessError, match="in no cluster"):
        await tokens.create_person("ann", PersonRole.ADMIN, ttl_s=None)
    with pytest.raises(AccessError, match="in no cluster"):
        await tokens.create_join(Role.AGENT, ttl_s=60)


def test_a_machine_alone_has_no_tokens_to_give() -> None:
    asyncio.run(_alone())


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 65, "ann\n", "ä"])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(AccessError, match="no name"):
        asyncio.run(AccessWorld().tokens.create_person(name, PersonRole.VIEWER, ttl_s=None))


async def _refused(ttl_s: float | None, prefix: str) -> None:
    with pytest.raises(AccessError):
        await AccessWorld().tokens.create_person("ann", PersonRole.KEYS, ttl_s=ttl_s, keys=[KeyRight(prefix)])


@pytest.mark.parametrize(
    ("ttl_s", "prefix"),
    [(0, "/a"), (-1, "/a"), (1e12, "/a"), (None, "a"), (None, "//b"), (None, "/a/../b")],
)
def test_what_cannot_be_is_refused(ttl_s: float | None, prefix: str) -> None:
    asyncio.run(_refused(ttl_s, prefix))


async def _twice() -> None:
    w = AccessWorld()
    await w.tokens.create_person("ann", PersonRole.VIEWER, ttl_s=None)
    with pytest.raises(AccessError, match="ann already"):
        await w.tokens.create_person("ann", PersonRole.ADMIN, ttl_s=None)


def test_a_name_is_one_persons() -> None:
    asyncio.run(_twice())


async def _unreadable() -> None:
    async with world() as w:
        await w.store.transact([], [Put(PEOPLE_PREFIX + "x", b'{"version": 99}')])
        record = PersonToken("y", "ann", PersonRole.VIEWER, "0" * 64, 0.0)
        result = await w.store.transact([], [Put(PEOPLE_PREFIX + "y", record.encode())])
        await w.known.saw_people(result.revision)
        assert (w.known.still("token:x"), w.known.still("token:y")) == (False, True)


def test_a_token_that_cannot_be_read_is_nobodys() -> None:
    asyncio.run(_unreadable())


@pytest.mark.parametrize(
    ("prefix", "key", "covered"),
    [
        ("/app", "/app", True),
        ("/app", "/app/x/y", True),
        ("/app/", "/app/x", True),
        ("/app", "/apple", False),
        ("/app", "/", False),
        ("/", "/anything", True),
    ],
)
def test_a_prefix_covers_whole_words(prefix: str, key: str, covered: bool) -> None:
    assert KeyRight(prefix).covers(key) is covered


def test_roles_include_those_below() -> None:
    included = {a: [b.value for b in PersonRole if a.includes(b)] for a in PersonRole}
    assert included == {
        PersonRole.ADMIN: ["admin", "operator", "viewer", "keys"],
        PersonRole.OPERATOR: ["operator", "viewer", "keys"],
        PersonRole.VIEWER: ["viewer", "keys"],
        PersonRole.KEYS: ["keys"],
    }


async def _nodes() -> None:
    async with world() as w:
        peer = Peer(Identity(NODE, Role.AGENT), "abc", w.clock.now() + 60)
        caller = w.known.node(peer, "10.0.0.2")
        assert (caller.kind, caller.name, caller.node_role) == (CallerKind.NODE, NODE, Role.AGENT)
        assert caller.role is None
        await w.clock.advance(60)
        with pytest.raises(UnauthenticatedError, match="expired"):
            w.known.node(peer, "")


def test_a_connection_that_outlives_its_certificate_is_nobodys() -> None:
    asyncio.run(_nodes())


async def _not_ready() -> None:
    known = AccessWorld().known
    assert not known.is_ready
    await settle()
    with pytest.raises(UnauthenticatedError):
        known.person(new_token(TokenKind.PERSON, PIN).text, "")


def test_before_the_store_is_read_nobody_is_known() -> None:
    asyncio.run(_not_ready())
