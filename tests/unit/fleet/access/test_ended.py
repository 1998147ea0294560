"""What was removed or revoked stays so, also where the store is restored from before."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.clock import FakeClock, settle
from skerry.fleet.access.audit import Audit
from skerry.fleet.access.caller import PersonRole
from skerry.fleet.access.ended import RETRY_S, Ended, later, union
from skerry.fleet.access.errors import UnauthenticatedError
from skerry.fleet.access.known import Known
from skerry.fleet.access.members import Members
from skerry.fleet.access.records import MemberRecord, RevokedRecord, member_key, person_key, revoked_key
from skerry.fleet.access.tokens import Tokens
from skerry.fleet.store.interface import Put
from skerry.fleet.store.memory import MemoryStore
from skerry.fleet.trust.identity import Role

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NODE, OTHER, HERE = "a" * 32, "b" * 32, "5" * 32
MEMBER = MemberRecord(NODE, Role.AGENT, "1", "k", 0.0, 2e9)


@contextlib.asynccontextmanager
async def serving(store: MemoryStore, clock: FakeClock, path: Path, node: str = HERE) -> AsyncIterator[Known]:
    """A server over this store, that has compared what it keeps with it."""
    known = Known(store, clock)
    ended = Ended(path, store, clock, known, Audit(store, clock), node)
    tasks = [asyncio.create_task(known.run()), asyncio.create_task(ended.run())]
    try:
        await known.ready()
        await settle()
        yield known
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _restored(path: Path) -> None:
    clock = FakeClock()
    before, restored = MemoryStore(clock=clock), MemoryStore(clock=clock)
    async with serving(before, clock, path):
        for node in (NODE, HERE):
            await Members(before, clock).remove(node, by="ann")
        await settle()
    await restored.transact([], [Put(member_key(NODE), MEMBER.encode())])
    async with serving(restored, clock, path) as known:
        assert (known.is_revoked(NODE), known.is_revoked(HERE)) == (True, False)
        assert await restored.get(member_key(NODE)) is None
        audited = [(r.who, r.what) for _, r in await Audit(restored, clock).newest()]
        assert audited == [("skerryd", f"DELETE /v1/nodes/{NODE}")]
        revision = (await restored.list("")).revision
        await clock.advance(10 * RETRY_S)
        assert (await restored.list("")).revision == revision


def test_a_restored_store_learns_who_was_removed_and_a_server_never_removes_itself(tmp_path: Path) -> None:
    asyncio.run(_restored(tmp_path / "removed.json"))


async def _revoked(path: Path) -> None:
    clock = FakeClock()
    before, restored = MemoryStore(clock=clock), MemoryStore(clock=clock)
    tokens = Tokens(before, clock, "0" * 64)
    async with serving(before, clock, path):
        made = {
            name: await tokens.create_person(name, PersonRole.ADMIN, ttl_s=ttl_s)
            for name, ttl_s in (("eve", None), ("ann", None), ("bob", 60.0))
        }
        await settle()
        for name in ("eve", "bob"):
            await tokens.revoke_person(name)
        await settle()
    for record, _, _ in made.values():
        await restored.transact([], [Put(person_key(record.id), record.encode())])
    await clock.advance(61)
    async with serving(restored, clock, path) as known:
        left = [record.name for record in await Tokens(restored, clock, "0" * 64).people()]
        assert left == ["ann", "bob"]  # bob's has expired: nobody needs to keep that it was revoked
        known.person(made["ann"][1].text, "")
        for name in ("eve", "bob"):
            with pytest.raises(UnauthenticatedError):
                known.person(made[name][1].text, "")
        audited = [r.what for _, r in await Audit(restored, clock).newest()]
        assert audited == [f"DELETE /v1/tokens/{made['eve'][0].id}"]


def test_a_restored_store_learns_which_tokens_were_revoked(tmp_path: Path) -> None:
    asyncio.run(_revoked(tmp_path / "removed.json"))


async def _begun_anew(path: Path) -> None:
    clock = FakeClock()
    before = MemoryStore(clock=clock)
    record, token, _ = await Tokens(before, clock, "0" * 64).create_person(
        "ann", PersonRole.ADMIN, ttl_s=None
    )
    async with serving(before, clock, path):
        pass
    async with serving(MemoryStore(clock=clock), clock, path):
        pass
    await before.transact([], [Put(person_key(record.id), record.encode())])
    async with serving(before, clock, path) as known:
        known.person(token.text, "")


def test_a_store_that_is_empty_until_it_is_restored_revokes_nothing(tmp_path: Path) -> None:
    asyncio.run(_begun_anew(tmp_path / "removed.json"))


async def _let_in(path: Path) -> None:
    clock = FakeClock()
    before, restored = MemoryStore(clock=clock), MemoryStore(clock=clock)
    removed = RevokedRecord(NODE, 5.0, "ann")
    let_in = RevokedRecord(NODE, 5.0, "ann", ("77",))
    async with serving(before, clock, path):
        await before.transact([], [Put(revoked_key(NODE), removed.encode())])
        await settle()
        await before.transact([], [Put(revoked_key(NODE), let_in.encode())])
        await settle()
    then = [Put(revoked_key(NODE), removed.encode()), Put(member_key(NODE), MEMBER.encode())]
    await restored.transact([], then)
    async with serving(restored, clock, path) as known:
        assert known.revocations[NODE] == let_in
        assert await restored.get(member_key(NODE)) is not None


def test_a_machine_that_was_let_in_again_is_not_put_out_by_a_restore(tmp_path: Path) -> None:
    asyncio.run(_let_in(tmp_path / "removed.json"))


async def _damaged(path: Path) -> None:
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    await Members(store, clock).remove(NODE, by="ann")
    async with serving(store, clock, path) as known:
        assert known.is_revoked(NODE)
    async with serving(store, clock, path / "no" / "directory") as known:
        assert known.is_revoked(NODE)


def test_a_file_that_cannot_be_read_or_written_ends_nothing(tmp_path: Path) -> None:
    path = tmp_path / "removed.json"
    path.write_text("{")
    asyncio.run(_damaged(path))
    assert NODE in path.read_text()


def test_there_is_a_list_from_the_first_start_on(tmp_path: Path) -> None:
    async def story() -> None:
        clock = FakeClock()
        async with serving(MemoryStore(clock=clock), clock, tmp_path / "removed.json"):
            pass

    asyncio.run(story())
    assert (tmp_path / "removed.json").stat().st_mode & 0o777 == 0o600


SERIALS = st.integers(0, 8).map(lambda last: tuple("abcdefgh"[max(last - 3, 0) : last]))
RECORDS = st.none() | st.builds(
    RevokedRecord, st.just(NODE), st.sampled_from([1.0, 2.0]), st.just("ann"), SERIALS
)


@given(RECORDS, RECORDS)
def test_of_two_records_none_is_forgotten_and_the_outcome_stays(
    kept: RevokedRecord | None, stored: RevokedRecord | None
) -> None:
    found = later(kept, stored)
    assert (found is None) == (kept is None and stored is None)
    assert later(kept, found) == later(found, found) == found
    if found is not None:
        assert found.at == max(record.at for record in (kept, stored) if record is not None)


def test_what_only_one_side_knows_is_in_the_union() -> None:
    one, two = RevokedRecord(NODE, 1.0), RevokedRecord(OTHER, 2.0)
    assert union({NODE: one}, {OTHER: two}) == {NODE: one, OTHER: two}
