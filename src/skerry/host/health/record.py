"""What is kept of health, as JSON below /var/lib/skerry/update/health.

    before.json       how the machine was when the update was staged: Before
    <boot id>.json    what was found in that boot, and what followed: Record; those of the last boots are kept
    probation.json    how often in a row each check failed since the bless: see probation.py

A reader refuses newer formats by name. A damaged `before.json` counts as none: the unknown forces nothing.
"""

from __future__ import annotations

import contextlib
import enum
from pathlib import Path
from typing import TypeVar

import msgspec

from skerry.host.health.check import Result, Status
from skerry.host.health.decide import Decision
from skerry.host.health.errors import HealthRecordError
from skerry.host.health.network import NetworkLook
from skerry.host.health.units import UnitLook
from skerry.kit.files import write_atomic

FORMAT = 1
DIRECTORY = Path("/var/lib/skerry/update/health")
BEFORE = "before.json"
PROBATION = "probation.json"
KEPT_BOOTS = 20

T = TypeVar("T", bound="Before | Record | Tally")


class Occasion(enum.StrEnum):
    """When it was looked. Of the last a person asked, and it is not kept."""

    STAGING = "staging"
    TRIAL = "trial"
    BOOT = "boot"
    PROBATION = "probation"
    ASKED = "asked"


class Before(msgspec.Struct, frozen=True):
    """The machine when the update was staged: its checks by name, its units, its network."""

    version: str
    at: float
    results: dict[str, Status]
    units: dict[str, UnitLook]
    network: NetworkLook
    format: int = FORMAT


class Record(msgspec.Struct, frozen=True):
    """What was found, and what followed; `at` is when it was finished, `took_s` with all waiting."""

    boot_id: str
    version: str
    occasion: Occasion
    at: float
    took_s: float
    decision: Decision
    reason: str
    results: tuple[Result, ...]
    format: int = FORMAT


class Tally(msgspec.Struct, frozen=True):
    """Of a version's probation: the checks that were well when it was blessed, and failures in a row."""

    version: str
    well: tuple[str, ...]
    failures: dict[str, int] = {}
    format: int = FORMAT


class Records:
    """The files of one directory."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self.directory = directory

    def before(self) -> Before | None:
        """How it was before the update; None where that is not known, or cannot be read."""
        try:
            return self._read(BEFORE, Before)
        except HealthRecordError:
            return None

    def of_boot(self, boot_id: str) -> Record | None:
        """What was found in a boot. Raises HealthRecordError."""
        return self._read(f"{boot_id}.json", Record)

    def latest(self) -> Record | None:
        """The record that was written last, of whichever boot; damaged ones are passed over."""
        for path in reversed(self._boots()):
            with contextlib.suppress(HealthRecordError):
                if (found := self._read(path.name, Record)) is not None:
                    return found
        return None

    def tally(self) -> Tally | None:
        try:
            return self._read(PROBATION, Tally)
        except HealthRecordError:
            return None

    def keep(self, value: Before | Record | Tally) -> None:
        """Write one, on the disk when this returns; of boots the oldest go. Raises OSError."""
        name = BEFORE if isinstance(value, Before) else PROBATION
        if isinstance(value, Record):
            name = f"{value.boot_id}.json"
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(self.directory / name, msgspec.json.encode(value), mode=0o600)
        for path in self._boots()[:-KEPT_BOOTS]:
            path.unlink(missing_ok=True)

    def _boots(self) -> list[Path]:
        """The records of boots, oldest first."""
        paths = [path for path in self.directory.glob("*.json") if path.name not in (BEFORE, PROBATION)]
        return sorted(paths, key=_age)

    def _read(self, name: str, kind: type[T]) -> T | None:
        path = self.directory / name
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise HealthRecordError(f"{path} cannot be read: {error.strerror}") from error
        try:
            found = msgspec.json.decode(data, type=_Format).format
            if found > FORMAT:
                raise HealthRecordError(f"{path} has format {found}, this Skerry reads {FORMAT}")
            return msgspec.json.decode(data, type=kind)
        except msgspec.DecodeError as error:
            raise HealthRecordError(f"{path} is damaged: {error}") from error


class _Format(msgspec.Struct, frozen=True):
    format: int


def _age(path: Path) -> tuple[int, str]:
    try:
        return path.stat().st_mtime_ns, path.name
    except OSError:
        return 0, path.name
