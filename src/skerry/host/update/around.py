"""What the engine asks of its neighbours: the merge of /etc, the record of health, the reboot.

host.etc and host.health implement the first two; entry/update.py puts them together.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection


class EtcChange(msgspec.Struct, frozen=True):
    """One path below /etc that the merge changes, and how it came to that."""

    path: str
    result: str
    why: str = ""


class EtcPreview(msgspec.Struct, frozen=True):
    """What the first boot of a version would do to /etc; `refused` where the policy says to leave it."""

    changes: tuple[EtcChange, ...] = ()
    conflicts: tuple[EtcChange, ...] = ()
    policy: str = "mine"
    refused: bool = False


class EtcStager(Protocol):
    def preview(self, defaults: IO[bytes], version: str, from_version: str) -> EtcPreview:
        """The merge with these new defaults, tried; changes nothing."""

    def stage(self, version: str, from_version: str) -> None:
        """Have the first boot of `version` merge. Durable on return; again is the same."""

    def unstage(self, version: str) -> None:
        """Take that back."""

    def prune(self, keep: Collection[str]) -> None:
        """Remove what is kept of versions other than these."""


class HealthRecorder(Protocol):
    def before(self) -> None:
        """Write down how this machine is now, so that the new version is compared with it."""


class Power(Protocol):
    def reboot(self, reason: str) -> None:
        """Have the machine reboot in good order; returns when that is on its way."""

    def come_back(self, seconds: float) -> None:
        """Have the updater started again in so many seconds, besides its timer."""


class NoEtc:
    """For machines whose /etc nobody merges."""

    def preview(self, defaults: IO[bytes], version: str, from_version: str) -> EtcPreview:
        return EtcPreview()

    def stage(self, version: str, from_version: str) -> None:
        return None

    def unstage(self, version: str) -> None:
        return None

    def prune(self, keep: Collection[str]) -> None:
        return None
