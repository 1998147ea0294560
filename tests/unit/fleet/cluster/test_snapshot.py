"""Snapshots: written and read, damaged ones refused, a few kept."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING

import pytest

from fakes.clock import FakeClock
from skerry.fleet.cluster.errors import SnapshotError
from skerry.fleet.cluster.snapshot import (
    next_snapshot,
    read_snapshot,
    snapshot_now,
    snapshots,
    write_picture,
)
from skerry.fleet.cluster.transfer import before, newest_history, take_picture
from skerry.fleet.store.interface import Delete, Put
from skerry.fleet.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from skerry.fleet.cluster.transfer import Picture


async def filled(*, clock: FakeClock | None = None) -> MemoryStore:
    store = MemoryStore(clock=clock or FakeClock())
    lease = await store.grant(60)
    await store.transact((), [Put("a", b"\x00\xff"), Put("é", b"1", lease.id)])
    await store.transact((), [Put("a", b"2"), Put("b", b"")])
    await store.transact((), [Delete("b"), Put("c", b"3")])
    return store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A snapshot."""

    async def write() -> None:
        store = await filled()
        write_picture(await take_picture(store), tmp_path / "s", "c1", FakeClock())
        await store.close()

    asyncio.run(write())
    return tmp_path / "s"


def test_what_was_written_is_read(path: Path) -> None:
    snapshot = read_snapshot(path)
    assert (snapshot.cluster, snapshot.picture.revision, snapshot.picture.leases) == ("c1", 3, {1: 60})
    assert [(e.key, e.value, e.mod_revision) for e in snapshot.picture.entries] == [
        ("a", b"2", 2),
        ("c", b"3", 3),
        ("é", b"1", 1),
    ]
    assert path.stat().st_mode & 0o777 == 0o600


def lines_without(number: int) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        lines = gzip.decompress(data).splitlines(keepends=True)
        return gzip.compress(b"".join(lines[:number] + lines[number + 1 :]))

    return damage


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: b"", "is damaged"),
        (lambda data: b"nothing of ours", "is no snapshot"),
        (lambda data: data[:-20], "is damaged"),
        (lambda data: gzip.compress(b""), "is damaged"),
        (lines_without(1), "another hash"),
        (lines_without(4), "is damaged"),
        (lambda data: gzip.compress(gzip.decompress(data).replace(b'"Mg=="', b'"Mw=="')), "another hash"),
        (
            lambda data: gzip.compress(gzip.decompress(data).replace(b'"snapshot":1', b'"snapshot":2')),
            "has format 2, this version of Skerry reads up to 1",
        ),
    ],
)
def test_what_is_damaged_is_refused(path: Path, damage: Callable[[bytes], bytes], said: str) -> None:
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SnapshotError, match=said):
        read_snapshot(path)


def test_the_newest_are_kept_and_none_is_taken_twice(tmp_path: Path) -> None:
    async def story() -> None:
        store = await filled()
        for n in range(5):
            await next_snapshot(store, tmp_path, "c1", FakeClock(), keep=3)
            assert await next_snapshot(store, tmp_path, "c1", FakeClock(), keep=3) is None
            await store.transact((), [Put("n", str(n).encode())])
        await store.close()

    asyncio.run(story())
    assert [path.name for path in snapshots(tmp_path)] == [f"skerry-{n}.snapshot" for n in (5, 6, 7)]


def test_two_who_want_one_at_the_same_moment_have_it(tmp_path: Path) -> None:
    # Of a cluster that this machine was in: it goes before ours.
    (tmp_path / "skerry-9999.snapshot").touch()

    async def story() -> None:
        store = await filled()
        taking = [snapshot_now(store, tmp_path, "c1", FakeClock(), keep=1) for _ in range(3)]
        paths = await asyncio.gather(*taking)
        assert {path.name for path in paths} == {"skerry-3.snapshot"}
        assert read_snapshot(paths[0]).picture == await take_picture(store)
        await store.close()

    asyncio.run(story())
    assert [path.name for path in tmp_path.iterdir()] == ["skerry-3.snapshot"]


def test_history_taken_back_from_what_stands_is_what_stood() -> None:
    async def story() -> list[Picture]:
        store = MemoryStore(clock=FakeClock())
        pictures = [await take_picture(store)]
        for n in range(40):
            await store.transact((), [Put(f"{n % 5}", str(n).encode()), Delete(f"{(n + 2) % 5}")])
            pictures.append(await take_picture(store))
        batches = await newest_history(store, 40)
        assert [before(pictures[-1], batches[n:]) for n in range(40)] == pictures[:-1]
        await store.compact(20)
        assert len(await newest_history(store, 40)) == 20
        await store.close()
        return pictures

    asyncio.run(story())
