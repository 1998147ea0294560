"""The store of a single machine, in one SQLite file.

One thread writes. Commands that arrive while a commit runs wait together and share the next one (group
commit), so that many clients cost one flush of the disk and not one each. An answer is given, and watchers
are told, only when the commit is on the disk; reads come from a connection of their own and see nothing
that a power cut could take back. A command that SQLite cannot carry out (disk full, input/output error)
fails together with those that shared its commit; none of them is half done.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Self, TypeAlias

from skerry.fleet.store.commands import KEPT_REVISIONS, Answer, Command, bound_history
from skerry.fleet.store.errors import StoreError
from skerry.fleet.store.feed import Feed, Page
from skerry.fleet.store.local import LocalStore
from skerry.fleet.store.sqlite_file import OwnedFile
from skerry.fleet.store.sqlite_state import SqliteReader, SqliteState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from skerry.fleet.store.interface import Batch, Entry, Listing
    from skerry.kit.clock import Clock

GROUP_LIMIT = 256
"""Commands that share a commit at the most: bounds how long the first of them waits."""

RECENT_BATCHES = 256


class SqliteStore(LocalStore):
    """See the module; made by `open`."""

    def __init__(self, file: OwnedFile, *, clock: Clock, keep: int) -> None:
        connection = file.connect(writing=True)
        state = SqliteState(connection)
        super().__init__(clock, Feed(state.revision, state.compacted, keep=RECENT_BATCHES))
        self._file = file
        self._writer = _Writer(connection, state, keep=keep, published=self._feed.publish)
        self._reader = SqliteReader(file.connect(writing=False))
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        self._found_leases = state.leases()

    @classmethod
    async def open(cls, path: Path, *, clock: Clock, keep: int = KEPT_REVISIONS) -> Self:
        """Open the file, or make it. The directory must be there.

        Raises StoreFormatError for a file that is foreign, newer or damaged, and StoreError where it
        cannot be opened or another process has it open.
        """
        file = await asyncio.to_thread(OwnedFile, path)
        try:
            store = cls(file, clock=clock, keep=keep)
        except sqlite3.Error as error:
            file.release()
            raise StoreError(f"the store {path} cannot be opened: {error}") from error
        store._writer.start(asyncio.get_running_loop())
        store._count(store._found_leases)
        return store

    async def get(self, key: str) -> Entry | None:
        return await self._read(self._reader.get, key)

    async def list(self, prefix: str) -> Listing:
        return await self._read(self._reader.list, prefix)

    async def _submit(self, command: Command[Answer]) -> Answer:
        self._check_open()
        return await self._writer.submit(command)

    async def _page(self, prefix: str, after: int) -> Page:
        return await self._read(self._reader.page, prefix, after)

    async def _let_go(self) -> None:
        await asyncio.to_thread(self._stop)

    async def _read(self, read: Callable[..., Answer], *arguments: str | int) -> Answer:
        self._check_open()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._reading, read, *arguments)
        except sqlite3.Error as error:
            raise StoreError(f"the store {self._file.path} cannot be read: {error}") from error

    def _stop(self) -> None:
        self._reading.shutdown(wait=True)
        self._reader.close()
        self._writer.stop()
        self._file.release()


@dataclass(slots=True, eq=False)
class _Job(Generic[Answer]):
    """A command on its way, and where its answer goes."""

    command: Command[Answer]
    answered: asyncio.Future[Answer]
    answer: Answer | None = None
    refused: Exception | None = None

    def carry_out(self, state: SqliteState, batches: list[Batch]) -> None:
        try:
            done = self.command.carry_out(state)
        except (StoreError, ValueError) as refused:
            self.refused = refused
            return
        self.answer = done.answer
        if done.batch is not None:
            batches.append(done.batch)

    def finish(self) -> None:
        if self.answered.done():
            return
        if self.refused is not None:
            self.answered.set_exception(self.refused)
        else:
            self.answered.set_result(self.answer)  # type: ignore[arg-type] # None is then the answer


_Published: TypeAlias = "Callable[[Sequence[Batch], int], None]"
_AnyJob: TypeAlias = "_Job[object]"


class _Writer:
    """The one thread that writes."""

    def __init__(
        self, connection: sqlite3.Connection, state: SqliteState, *, keep: int, published: _Published
    ) -> None:
        self._connection = connection
        self._state = state
        self._keep = keep
        self._published = published
        self._stale = False
        self._jobs: queue.SimpleQueue[_AnyJob | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread.start()

    async def submit(self, command: Command[Answer]) -> Answer:
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(command, answered))  # type: ignore[arg-type] # the writer looks at no answer
        return await answered

    def stop(self) -> None:
        """Carry out what was submitted, fold the log into the file, and end. Blocks."""
        self._jobs.put(None)
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        more = True
        while more:
            group, more = self._take()
            if group:
                self._carry_out(group)

    def _take(self) -> tuple[list[_AnyJob], bool]:
        """Wait for a command; it and all that came meanwhile, and whether there will be more."""
        group: list[_AnyJob] = []
        job = self._jobs.get()
        while job is not None:
            group.append(job)
            if len(group) == GROUP_LIMIT:
                return group, True
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return group, True
        return group, False

    def _carry_out(self, group: list[_AnyJob]) -> None:
        batches: list[Batch] = []
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            if self._stale:
                self._state.reload()
                self._stale = False
            for job in group:
                job.carry_out(self._state, batches)
            bound_history(self._state, self._keep)
            self._state.save()
            self._connection.execute("COMMIT")
        except Exception as error:
            self._stale = True
            failure = self._undo(error)
            for job in group:
                job.refused = failure
            self._tell(group, [], 0)
        else:
            self._tell(group, batches, self._state.compacted)

    def _undo(self, error: Exception) -> Exception:
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        if not isinstance(error, sqlite3.Error):
            return error
        failure = StoreError(
            f"the store cannot be written: {error}", hint="is the disk full, or failing? Nothing was changed."
        )
        failure.__cause__ = error
        return failure

    def _tell(self, group: list[_AnyJob], batches: list[Batch], compacted: int) -> None:
        def in_loop() -> None:
            self._published(batches, compacted)
            for job in group:
                job.finish()

        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for an answer
                self._loop.call_soon_threadsafe(in_loop)
