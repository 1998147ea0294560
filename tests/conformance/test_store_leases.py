"""How leases live and end, whichever the driver of the store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fakes.clock import FakeClock
from fakes.stores import put, seen
from skerry.fleet.store.errors import LeaseNotFoundError
from skerry.fleet.store.interface import (
    Put,
    Store,
)

if TYPE_CHECKING:
    from fakes.stores import Play, StoryClock


def test_an_expired_lease_deletes_its_keys_in_one_revision(play: Play) -> None:
    async def story(store: Store, clock: StoryClock) -> object:
        lease = await store.grant(10)
        await put(store, "b", "x", lease.id)
        await put(store, "a", "y", lease.id)
        await put(store, "c", "z")
        watching = asyncio.create_task(seen(store, "", 3, until=4))
        early_s = 9.9 if isinstance(clock, FakeClock) else 5
        await clock.advance(early_s)
        assert (await store.list("")).revision == 3
        await clock.advance(10 - early_s)
        (batch,) = await watching
        with pytest.raises(LeaseNotFoundError):
            await store.keep_alive(lease.id)
        return [(e.kind.value, e.entry.key) for e in batch.events], batch.revision

    assert play(story) == ([("delete", "a"), ("delete", "b")], 4)


def test_a_lease_kept_alive_does_not_expire(play: Play) -> None:
    async def story(store: Store, clock: StoryClock) -> object:
        kept, lost = await store.grant(10), await store.grant(10)
        await put(store, "kept", "", kept.id)
        await put(store, "lost", "", lost.id)
        watching = asyncio.create_task(seen(store, "", 2, until=3))
        for _n in range(4):
            await clock.advance(6)
            assert await store.keep_alive(kept.id) == kept
        await watching
        left_s = await store.time_to_live_s(kept.id)
        assert left_s == 10 if isinstance(clock, FakeClock) else 0 <= left_s <= 10
        return [entry.key for entry in (await store.list("")).entries]

    assert play(story) == ["kept"]


def test_leases_end_in_the_order_of_their_time(play: Play) -> None:
    async def story(store: Store, clock: StoryClock) -> object:
        for name, ttl_s in (("late", 30), ("early", 10), ("middle", 20), ("none", 5)):
            lease = await store.grant(ttl_s)
            if name != "none":
                await put(store, name, "", lease.id)
        watching = asyncio.create_task(seen(store, "", 3, until=6))
        await clock.advance(30)
        return [batch.events[0].entry.key for batch in await watching]

    assert play(story) == ["early", "middle", "late"]


def test_revoking_deletes_the_keys_and_the_lease(play: Play) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        lease = await store.grant(10)
        await put(store, "a", "", lease.id)
        await put(store, "b", "", lease.id)
        await put(store, "b", "")
        await store.revoke(lease.id)
        for refused in (store.revoke(lease.id), store.keep_alive(lease.id), store.time_to_live_s(lease.id)):
            with pytest.raises(LeaseNotFoundError):
                await refused
        listing = await store.list("")
        return listing.revision, [entry.key for entry in listing.entries]

    assert play(story) == (4, ["b"])


def test_a_key_moves_from_lease_to_lease(play: Play) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        old, new = await store.grant(10), await store.grant(10)
        await put(store, "a", "", old.id)
        await put(store, "a", "", new.id)
        await store.revoke(old.id)
        entry = await store.get("a")
        assert entry is not None
        return entry.lease == new.id, entry.version

    assert play(story) == (True, 2)


@pytest.mark.parametrize("lease", [7, -1, 2**63, 2**70])
def test_a_put_under_an_unknown_lease_changes_nothing(play: Play, lease: int) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        with pytest.raises(LeaseNotFoundError):
            await store.transact((), [Put("a", b""), Put("b", b"", lease)])
        return (await store.list("")).revision

    assert play(story) == 0


@pytest.mark.parametrize("ttl_s", [0, -1, float("nan"), float("inf")])
def test_a_lease_lasts_some_time(play: Play, ttl_s: float) -> None:
    async def story(store: Store, _: StoryClock) -> object:
        with pytest.raises(ValueError, match="a lease cannot last"):
            await store.grant(ttl_s)

    play(story)
