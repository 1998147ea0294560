"""A channel: its releases, to whom they go, and which of them no host shall take.

    targets/channels/CHANNEL/SHA256.channel.json

All of it is signed by the channel's own role, so that whoever holds the web server can neither hurry, skip
nor undo any of it. What a host makes of it is decided in offer.py.
"""

from __future__ import annotations

import re

import msgspec

from skerry.image.release import version as versions
from skerry.image.release.errors import DocumentError
from skerry.image.release.manifest import decode_document, encode
from skerry.image.release.rollout import Rollout

FORMAT = 1
NAME = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
RESERVED = frozenset({"root", "targets", "snapshot", "timestamp", "mirrors"})


class ReleaseEntry(msgspec.Struct, frozen=True):
    """A release in a channel. Without a rollout every node may take it at once."""

    version: str
    published: float
    rollout: Rollout | None = None
    minimum_version: str | None = None


class Channel(msgspec.Struct, frozen=True):
    """channel.json. `releases` from the oldest to the newest.

    `withdrawn` maps versions to the reason; no host is to run below `floor`. `paused_at` is when the pause
    began (seconds since 1970): resuming moves the waves on by as much, so that nobody is overrun.
    """

    channel: str
    releases: tuple[ReleaseEntry, ...] = ()
    paused: bool = False
    paused_at: float | None = None
    pause_reason: str = ""
    withdrawn: dict[str, str] = {}
    floor: str | None = None
    format: int = FORMAT

    def __post_init__(self) -> None:
        check_name(self.channel)
        numbers = [versions.parse(release.version) for release in self.releases]
        if sorted(set(numbers)) != numbers:
            raise DocumentError(f"the releases of channel {self.channel} are out of order")
        for version in (*self.withdrawn, *([self.floor] if self.floor else [])):
            versions.parse(version)

    def release(self, version: str) -> ReleaseEntry | None:
        """A release by its version; None where the channel has none."""
        return next((one for one in self.releases if one.version == version), None)

    @property
    def newest(self) -> ReleaseEntry | None:
        """The latest release, withdrawn or not."""
        return self.releases[-1] if self.releases else None

    def encode(self) -> bytes:
        """The document; the same channel always gives the same bytes."""
        return encode(self)


def decode(document: bytes) -> Channel:
    """Read a channel. Raises DocumentError, NewerFormatError."""
    return decode_document(document, Channel, "channel", FORMAT)


def check_name(name: str) -> None:
    """Raise DocumentError where a channel cannot have this name."""
    if not NAME.fullmatch(name) or name in RESERVED:
        raise DocumentError(
            f"{name!r} cannot be the name of a channel", hint="lower-case letters, digits and -, as in stable"
        )


def target_path(channel: str) -> str:
    """What TUF calls a channel's document."""
    return f"channels/{channel}/channel.json"
