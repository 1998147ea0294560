"""Where releases come from, as the engine sees it: signed documents, and the parts with what they cost.

image.release and image.content stand behind it (supply.py); they are imported only by what updates. Whatever
`write` returned from is the part that was signed for, byte for byte; what it raised from may be anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from skerry.image.release.channel import Channel
    from skerry.image.release.manifest import Manifest
    from skerry.kit.progress import Reporter


@dataclass(frozen=True, slots=True)
class Have:
    """A version's parts that are on this host, to make newer ones from; `root_size` in bytes.

    `root_sha256` is from its signed manifest, None where that is not known.
    """

    version: str
    root: Path
    verity: Path
    uki: Path
    root_size: int
    root_sha256: str | None = None
    extensions: Path | None = None


class Cost(msgspec.Struct, frozen=True):
    """What a part takes: `kind` is same, patch, blocks or full; sizes in bytes, `size` of the part itself."""

    part: str
    kind: str
    fetch: int
    size: int
    why: str = ""


class Source(Protocol):
    """All may raise SkerryError: TrustError, TransportError, ContentError."""

    def refresh(self) -> None:
        """Bring trust up to date; comes first."""

    def channel(self, name: str) -> Channel:
        """A channel as it is signed."""

    def manifest(self, channel: str, version: str) -> Manifest:
        """A release of a channel."""

    def costs(self, manifest: Manifest, parts: Sequence[str], have: Sequence[Have]) -> tuple[Cost, ...]:
        """The cheapest way to each part, from what is on this host."""

    def fetch(self, manifest: Manifest, parts: Sequence[str], have: Sequence[Have], report: Reporter) -> None:
        """Bring what the parts need here, before anything of the slot is touched. Resumes."""

    def write(
        self,
        manifest: Manifest,
        part: str,
        have: Sequence[Have],
        target: Path,
        verity: Path | None,
        report: Reporter,
    ) -> None:
        """Put a part into a device or file, and its hash tree into another."""

    def etc_defaults(self, manifest: Manifest) -> AbstractContextManager[IO[bytes]] | None:
        """The tar archive of the release's /etc; None where it has none."""

    def clean(self) -> None:
        """Remove what was fetched."""
