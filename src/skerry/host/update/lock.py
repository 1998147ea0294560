"""One update at a time: a lock that the kernel lets go of when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.host.update.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK = Path("/run/skerry/update.lock")


@contextlib.contextmanager
def held(path: Path = LOCK) -> Iterator[None]:
    """Hold the lock. Raises BusyError where another process does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(
                "another update is at work on this host",
                hint="`journalctl -fu skerry-update` follows the one that the timer started",
            ) from error
        yield
    finally:
        os.close(descriptor)
