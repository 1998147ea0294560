"""The files of units on this machine, and the markers that say which of them are Skerry's.

    /run/skerry/units/<name>   Marker, as JSON: what was placed, how far it got, and when it was started

A marker is written before the first file it speaks of and removed after the last, so a file without a
marker is never ours and a kill at any moment leaves nothing unknown. Everything lies in /run: after a
reboot nothing is placed and nothing has been started.
"""

from __future__ import annotations

import contextlib
import enum
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from skerry.host.units.errors import UnitError, UnitNameError, UnitNotOursError
from skerry.host.units.name import parse_name
from skerry.host.units.place import placement, refuse_foreign
from skerry.kit.errors import Problem
from skerry.kit.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterable

    from skerry.host.units.place import Placement

MARKERS = Path("run/skerry/units")
VERSION = 1

log = logging.getLogger(__name__)


class Stage(enum.StrEnum):
    """How far a unit has got. Anything but LOADED was interrupted and is done again."""

    PLACING = "placing"
    LOADED = "loaded"
    REMOVING = "removing"


class Marker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What this machine holds of one unit.

    `identity` names the content that was placed; `launch` is the number of the launch that was begun,
    None before any, and `launched` whether systemd has taken it on. `fenced`: its files bind it to the lease
    that this machine has of the servers.
    """

    name: str
    service: str
    identity: str
    hash: str
    stage: Stage
    paths: tuple[str, ...]
    enabled: bool = False
    launch: int | None = None
    launched: bool = False
    fenced: bool = False
    version: int = VERSION

    def replace(self, **changes: object) -> Marker:
        """The same marker with some fields changed."""
        return msgspec.structs.replace(self, **changes)


class PlacedUnits:
    """The files below one root; `root` is "/" on a machine and a scratch directory in tests."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._markers = root / MARKERS

    def read(self) -> dict[str, Marker]:
        """Every marker. One whose files are not all there any more is shown as being placed."""
        found = {}
        for path in sorted(self._markers.glob("*")) if self._markers.is_dir() else ():
            if path.name.startswith("."):
                path.unlink(missing_ok=True)  # left by a kill while it was being written
            elif marker := self._read(path):
                found[marker.name] = marker
        return found

    def read_one(self, name: str) -> Marker | None:
        """The marker of one unit, None where there is none."""
        path = self._markers / parse_name(name).full
        return self._read(path) if path.exists() else None

    def write_marker(self, marker: Marker) -> None:
        """Note how far a unit has got. Raises UnitError."""
        try:
            self._markers.mkdir(parents=True, exist_ok=True)
            write_atomic(self._markers / parse_name(marker.name).full, msgspec.json.encode(marker))
        except OSError as error:
            raise UnitError(f"the marker of {marker.name} cannot be written: {error}") from error

    def place(self, placed: Placement, marker: Marker) -> None:
        """Write the marker, then the files. Raises UnitNotOursError, UnitError."""
        before = self.read_one(marker.name)
        refuse_foreign(placed, self.root, before.paths if before is not None else ())
        try:
            for stale in sorted(set(before.paths if before is not None else ()) - set(marker.paths)):
                (self.root / stale).unlink(missing_ok=True)
        except OSError as error:
            raise UnitError(f"{marker.name} cannot be written: {error}") from error
        self.write_marker(marker)
        try:
            for file in placed.files:
                path = self.root / file.path
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(path, file.text)
        except OSError as error:
            raise UnitError(f"{marker.name} cannot be written: {error}") from error

    def clash(self, name: str, text: str, drop_ins: Iterable[tuple[str, str]] = ()) -> Problem | None:
        """What stands in the way of placing a unit: one of the host's own of that name. Changes nothing."""
        try:
            before = self.read_one(name)
            refuse_foreign(
                placement(parse_name(name), text, drop_ins),
                self.root,
                before.paths if before is not None else (),
            )
        except UnitNotOursError as error:
            return Problem(name, None, error.message, hint=error.hint)
        except UnitError:
            return None  # a text that cannot be read is the checks' to tell, on its own lines
        return None

    def delete(self, marker: Marker) -> None:
        """Remove the files that a marker names, and the drop-in directories that are empty then."""
        self.write_marker(marker)
        try:
            for relative in marker.paths:
                path = self.root / relative
                path.unlink(missing_ok=True)
                if path.parent.name.endswith(".d"):
                    with contextlib.suppress(OSError):
                        path.parent.rmdir()
        except OSError as error:
            raise UnitError(f"{marker.name} cannot be removed: {error}") from error

    def forget(self, name: str) -> None:
        """Remove a marker: nothing of the unit is left."""
        (self._markers / parse_name(name).full).unlink(missing_ok=True)

    def _read(self, path: Path) -> Marker | None:
        try:
            marker = msgspec.json.decode(path.read_bytes(), type=Marker)
            parse_name(marker.name)
        except (OSError, msgspec.DecodeError, UnitNameError) as error:
            log.warning("marker %s cannot be read and is left alone: %s", path, error)
            return None
        if marker.stage is Stage.LOADED and not all((self.root / p).is_file() for p in marker.paths):
            return marker.replace(stage=Stage.PLACING)
        return marker
