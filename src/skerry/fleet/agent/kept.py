"""The last assignments that this node was told, on its disk: what it goes on with while no server is there.

    /var/lib/skerry/assignments.json   {"version": 1, "full": {Full, as on the wire}}

Written before anything is started by it, so that after a reboot a machine without servers starts what it
had, and nothing that it had given up. A file that cannot be read is as none: it is only a memory.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

import msgspec

from skerry.fleet.assign.assignment import Full, decode_message, encode_message
from skerry.fleet.state.document import RecordError
from skerry.kit.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VERSION = 1
FILE_NAME = "assignments.json"

log = logging.getLogger(__name__)


class Aside(Protocol):
    """asyncio.to_thread, or a test's stand-in."""

    async def __call__(self, work: Callable[[], None], /) -> None: ...


class _Kept(msgspec.Struct, frozen=True):
    version: int
    full: msgspec.Raw


class Kept:
    """The file in `directory` (/var/lib/skerry). `aside` does what waits for a disk beside the loop."""

    def __init__(self, directory: Path, aside: Aside = asyncio.to_thread) -> None:
        self._path = directory / FILE_NAME
        self._aside = aside
        self._refused = False

    def read(self) -> Full | None:
        """What was kept, None where there is nothing."""
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=_Kept)
            if kept.version > VERSION:
                raise RecordError(f"it has version {kept.version}, this program reads up to {VERSION}")
            message = decode_message(bytes(kept.full))
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, RecordError) as error:
            log.warning("the assignments kept in %s cannot be used: %s", self._path, error)
            return None
        return message if isinstance(message, Full) else None

    async def write(self, full: Full) -> bool:
        """Keep these from now on, also through a power cut; whether the disk took them."""
        content = b'{"version":%d,"full":%b}\n' % (VERSION, encode_message(full).rstrip())
        try:
            await self._aside(lambda: write_atomic(self._path, content, mode=0o600))
        except OSError as error:
            if not self._refused:
                log.warning("the assignments cannot be kept: %s", error)
            self._refused = True
            return False
        self._refused = False
        return True

    def forget(self) -> None:
        """For a machine that left its cluster."""
        self._path.unlink(missing_ok=True)
