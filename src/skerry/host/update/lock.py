"""One update at a time: a lock that the kernel lets go of when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.host.update.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOCK = Path("/run/skerry/update.lock")


_PAUSE_S = 0.25


@contextlib.contextmanager
def held(
    path: Path = LOCK, *, patience_s: float = 0.0, sleep: Callable[[float], None] = time.sleep
) -> Iterator[None]:
    """Hold the lock. Raises BusyError where another process does, for longer than `patience_s`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        left = patience_s
        while not _taken(descriptor):
            if left <= 0:
                raise BusyError(
                    "another update is at work on this host",
                    hint="`journalctl -fu skerry-update -u skerry-settle` follows what starts by itself",
                )
            sleep(_PAUSE_S)
            left -= _PAUSE_S
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
