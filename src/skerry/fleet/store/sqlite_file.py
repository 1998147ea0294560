"""The file of the SQLite store: its layout, how it comes into being, and what is checked before it is used.

    state    one row: the newest revision, and the newest one that history has forgotten
    entries  what stands now, by key
    history  every change of the revisions kept, in order; what stood before lies beside it
    leases   id and time; ids are never given twice

PRAGMA application_id says that the file is ours ("Skry"), PRAGMA user_version which format it has. A new
file is made whole under another name and then renamed: a file under the good name is never half made.
A file that is foreign, newer or damaged is refused and left as it is. File format:
https://www.sqlite.org/fileformat2.html#the_database_header
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from typing import TYPE_CHECKING
from urllib.parse import quote

from skerry.fleet.store.errors import StoreError, StoreFormatError
from skerry.kit.files import sync_directory

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION_ID = 0x536B7279
FORMAT_VERSION = 1
FILE_MODE = 0o600
BUSY_TIMEOUT_S = 30.0
CACHE_KIB = 2000
HEADER_BYTES = 100
MAGIC = b"SQLite format 3\0"
KEEP_HINT = "the file was left as it is: move it away to begin anew, or put a copy of a good one in its place"

_SCHEMA = """
    CREATE TABLE state (
        only INTEGER PRIMARY KEY CHECK (only = 1), revision INTEGER NOT NULL, compacted INTEGER NOT NULL
    ) STRICT;
    INSERT INTO state VALUES (1, 0, 0);
    CREATE TABLE entries (
        key TEXT PRIMARY KEY, value BLOB NOT NULL, create_revision INTEGER NOT NULL,
        mod_revision INTEGER NOT NULL, version INTEGER NOT NULL, lease INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX entries_by_lease ON entries (lease) WHERE lease != 0;
    CREATE TABLE history (
        revision INTEGER NOT NULL, place INTEGER NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL,
        value BLOB NOT NULL, create_revision INTEGER NOT NULL, version INTEGER NOT NULL,
        lease INTEGER NOT NULL, old_value BLOB, old_create_revision INTEGER, old_mod_revision INTEGER,
        old_version INTEGER, old_lease INTEGER, PRIMARY KEY (revision, place)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE leases (id INTEGER PRIMARY KEY AUTOINCREMENT, ttl_s REAL NOT NULL) STRICT;
"""


class OwnedFile:
    """The store's file, held by this process alone until `release`."""

    def __init__(self, path: Path) -> None:
        """Make the file where there is none, and check it. Raises StoreError, StoreFormatError."""
        self.path = path
        self._lock = _lock(path)
        try:
            if not path.exists():
                _create(path)
            _check_header(path)
            _check_content(path)
            path.chmod(FILE_MODE)
        except BaseException:
            self.release()
            raise

    def connect(self, *, writing: bool) -> sqlite3.Connection:
        """A connection of ours. What is committed is on the disk, through a power cut (synchronous=FULL)."""
        connection = _connect(self.path, "rw" if writing else "ro")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        return connection

    def release(self) -> None:
        os.close(self._lock)


def _lock(path: Path) -> int:
    # A file of its own: closing any descriptor of the database would drop SQLite's own locks on it.
    lock = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    except OSError as error:
        raise StoreError(f"the store cannot be opened at {path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StoreError(
            f"the store {path} is in use by another process", hint="is skerryd running already?"
        ) from error
    return descriptor


def _create(path: Path) -> None:
    log = path.with_name(path.name + "-wal")
    if log.exists():
        raise StoreFormatError(f"the store {path} is gone, but its log {log.name} is there", hint=KEEP_HINT)
    draft = path.with_name(path.name + ".new")
    try:
        for leftover in (draft, *(draft.with_name(draft.name + end) for end in ("-wal", "-shm", "-journal"))):
            leftover.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
        draft.chmod(FILE_MODE)
        with contextlib.closing(_connect(draft, "rw")) as connection:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)
        draft.rename(path)
        sync_directory(path.parent)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"the store cannot be made at {path}: {error}") from error


def _check_header(path: Path) -> None:
    """What can be told from the first bytes, before SQLite touches the file."""
    try:
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
    except OSError as error:
        raise StoreError(f"the store {path} cannot be read: {error.strerror}") from error
    if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
        what = "is empty" if not header else "is damaged or no database at all"
        raise StoreFormatError(f"the store {path} {what}", hint=KEEP_HINT)
    version = int.from_bytes(header[60:64], "big")
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise StoreFormatError(f"{path} is a database of another program", hint=KEEP_HINT)
    if version > FORMAT_VERSION:
        raise StoreFormatError(
            f"the store {path} has format {version}, and this version of Skerry reads up to {FORMAT_VERSION}",
            hint="start the newer version that wrote it; the file was left as it is",
        )
    if version != FORMAT_VERSION:
        raise StoreFormatError(f"the store {path} has the unknown format {version}", hint=KEEP_HINT)


def _check_content(path: Path) -> None:
    # Read-only, so that closing does not fold the log into a damaged file.
    try:
        with contextlib.closing(_connect(path, "ro")) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            rows = connection.execute("SELECT count(*) FROM state").fetchone()
    except sqlite3.Error as error:
        raise StoreFormatError(f"the store {path} is damaged: {error}", hint=KEEP_HINT) from error
    if found != "ok" or rows != (1,):
        raise StoreFormatError(f"the store {path} is damaged: {found}", hint=KEEP_HINT)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
