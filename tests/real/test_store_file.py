"""The SQLite store and its file: killed while it writes, damaged, truncated, newer, foreign, in use."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fakes.clock import FakeClock
from fakes.stores import seen
from skerry.fleet.store.errors import StoreError, StoreFormatError
from skerry.fleet.store.interface import Entry, Get, Lease, Put
from skerry.fleet.store.sqlite import SqliteStore
from skerry.fleet.store.sqlite_file import FORMAT_VERSION

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Callable

    from skerry.fleet.store.interface import Listing

ROUNDS = 15
WRITER = Path(__file__).parent / "programs" / "store_writer.py"


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    chance = random.Random(2)  # noqa: S311
    acknowledged: dict[str, int] = {}
    for round_number in range(ROUNDS):
        start = round_number * 1_000_000 + 1
        revision = 0
        for line in _killed_writer(path, start, lines=chance.randint(1, 400)):
            writer, n, at = line.split()
            acknowledged[writer] = int(n)
            revision = max(revision, int(at))
        listing = asyncio.run(_listing(path))
        tokens: dict[str, list[int]] = {}
        for entry in listing.entries:
            writer, n = entry.key.split("/")
            tokens.setdefault(writer, []).append(int(n))
        assert listing.revision >= revision
        for writer, n in acknowledged.items():
            of_this_round = [token for token in tokens[writer] if token >= start]
            assert len(of_this_round) <= 1, f"transactions of writer {writer} were broken in two"
            assert max(tokens[writer]) >= n, f"writer {writer} lost {n}, which was acknowledged"


def _killed_writer(path: Path, start: int, *, lines: int) -> list[str]:
    """Every whole line that a writer wrote which was killed at some moment after so many lines."""
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}
    with subprocess.Popen(
        [sys.executable, str(WRITER), str(path), str(start)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    return [line for line in said if line.endswith("\n")]


async def _listing(path: Path) -> Listing:
    async with _open(path) as store:
        return await store.list("")


@contextlib.asynccontextmanager
async def _open(path: Path, clock: FakeClock | None = None) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(path, clock=clock or FakeClock())
    try:
        yield store
    finally:
        await store.close()


def _filled(path: Path, count: int = 200) -> bytes:
    async def fill() -> None:
        async with _open(path) as store:
            for n in range(0, count, 20):
                await store.transact((), [Put(f"{k}", b"x" * 300) for k in range(n, n + 20)])

    asyncio.run(fill())
    return path.read_bytes()


def test_a_store_opens_where_it_was_left(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def story() -> tuple[object, ...]:
        async with _open(path) as store:
            await store.transact((), [Put("a", b"1")])
            await store.transact((), [Put("a", b"2")])
            await store.transact((), [Put("b", b"1")])
            await store.compact(1)
        async with _open(path) as store:
            batches = await seen(store, "", 1, until=3)
            await store.transact((), [Put("c", b"1")])
            return await store.get("a"), [b.revision for b in batches], (await store.list("")).revision

    assert asyncio.run(story()) == (Entry("a", b"2", 1, 2, 2), [2, 3], 4)


def test_a_lease_has_its_full_time_after_a_restart(tmp_path: Path) -> None:
    async def story() -> tuple[object, ...]:
        clock = FakeClock()
        async with _open(tmp_path / "store.db", clock) as store:
            await store.grant(1)
            lease = await store.grant(10)
            await store.transact((), [Put("a", b"", lease.id)])
            await clock.advance(9)
        async with _open(tmp_path / "store.db", clock) as store:
            remaining_s = await store.time_to_live_s(lease.id)
            await clock.advance(10)
            (batch,) = await seen(store, "", 1, until=2)
            fresh = await store.grant(5)
            return remaining_s, batch.events[0].entry.key, fresh

    assert asyncio.run(story()) == (10, "a", Lease(3, 5))


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    async def modes() -> set[int]:
        async with _open(tmp_path / "store.db") as store:
            await store.transact((), [Put("a", b"")])
            return await asyncio.to_thread(
                lambda: {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
            )

    before = os.umask(0)
    try:
        assert asyncio.run(modes()) == {0o600}
    finally:
        os.umask(before)


def test_nothing_else_is_left_beside_the_file(tmp_path: Path) -> None:
    _filled(tmp_path / "store.db")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store.db", "store.db.lock"]


def test_a_creation_that_was_cut_short_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "store.db.new").write_bytes(b"half a")
    assert asyncio.run(_listing(tmp_path / "store.db")).revision == 0


def _flip_a_page(content: bytes) -> bytes:
    return content[:4096] + bytes(4096) + content[8192:]


def _as_newer(content: bytes) -> bytes:
    return content[:60] + (FORMAT_VERSION + 1).to_bytes(4, "big") + content[64:]


DAMAGED: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("zeroed page", _flip_a_page, "is damaged"),
    ("truncated", lambda content: content[: len(content) // 2], "is damaged"),
    ("only the header", lambda content: content[:100], "is damaged"),
    ("less than a header", lambda content: content[:50], "is damaged or no database at all"),
    ("empty", lambda _: b"", "is empty"),
    ("text", lambda content: b"[unit]\n" * (len(content) // 7), "is damaged or no database at all"),
    ("newer", _as_newer, "has format 2, and this version of Skerry reads up to 1"),
    ("older than any", lambda c: c[:60] + bytes(4) + c[64:], "has the unknown format 0"),
    ("foreign", lambda c: c[:68] + bytes(4) + c[72:], "is a database of another program"),
]


@pytest.mark.parametrize(("damage", "said"), [d[1:] for d in DAMAGED], ids=[d[0] for d in DAMAGED])
def test_a_file_that_is_not_good_is_refused_and_left(
    tmp_path: Path, damage: Callable[[bytes], bytes], said: str
) -> None:
    path = tmp_path / "store.db"
    bad = damage(_filled(path))
    path.write_bytes(bad)
    with pytest.raises(StoreFormatError, match=said) as refused:
        asyncio.run(_listing(path))
    assert refused.value.hint is not None
    assert path.read_bytes() == bad


def test_a_log_without_its_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.db-wal").write_bytes(b"x")
    with pytest.raises(StoreFormatError, match=r"is gone, but its log store\.db-wal is there"):
        asyncio.run(_listing(tmp_path / "store.db"))


def test_a_store_without_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file or directory"):
        asyncio.run(_listing(tmp_path / "none" / "store.db"))


def test_a_store_in_use_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        async with _open(tmp_path / "store.db"):
            with pytest.raises(StoreError, match="is in use by another process"):
                await SqliteStore.open(tmp_path / "store.db", clock=FakeClock())

    asyncio.run(story())


def test_a_full_disk_fails_the_change_and_nothing_else(tmp_path: Path) -> None:
    """A limit on the file's size stands for a full disk: SQLite reports both as "full"."""

    async def story() -> tuple[object, ...]:
        async with _open(tmp_path / "store.db") as store:
            await store.transact((), [Put("a", b"1")])
            writing = store._writer._connection
            (pages,) = writing.execute("PRAGMA page_count").fetchone()
            writing.execute(f"PRAGMA max_page_count = {pages}")
            with pytest.raises(StoreError, match="cannot be written: database or disk is full"):
                await store.transact((), [Put("big", b"x" * 100_000)])
            after_failure = (await store.list("")).revision
            writing.execute(f"PRAGMA max_page_count = {pages + 1000}")
            result = await store.transact((), [Put("big", b"x" * 100_000), Get("a")])
            return after_failure, result.revision, [b.revision for b in await seen(store, "", 0, until=2)]

    assert asyncio.run(story()) == (1, 2, [1, 2])


def test_writers_at_once_share_commits(tmp_path: Path) -> None:
    async def story() -> tuple[int, int]:
        async with _open(tmp_path / "store.db") as store:
            said: list[str] = []
            store._writer._connection.set_trace_callback(said.append)
            await asyncio.gather(*(store.transact((), [Put(f"{n}", b"")]) for n in range(300)))
            return said.count("COMMIT"), (await store.list("")).revision

    commits, revision = asyncio.run(story())
    assert revision == 300
    assert commits < 60


def test_reading_alone_writes_nothing(tmp_path: Path) -> None:
    async def story() -> list[str]:
        async with _open(tmp_path / "store.db") as store:
            said: list[str] = []
            store._writer._connection.set_trace_callback(said.append)
            await store.transact((), [Get("a")])
            return [statement.split()[0] for statement in said]

    assert asyncio.run(story()) == ["BEGIN", "SELECT", "COMMIT"]


def test_commits_are_flushed_to_the_disk(tmp_path: Path) -> None:
    async def story() -> tuple[object, ...]:
        async with _open(tmp_path / "store.db") as store:
            connection: sqlite3.Connection = store._writer._connection
            return tuple(
                connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode")
            )

    assert asyncio.run(story()) == (2, "wal")
