"""A repository as it stands: its metadata, verified from the root down, and the channels' documents.

A value. What it becomes next is decided in changes.py, and brought about in publisher.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.image.release import roles
from skerry.image.release.errors import PublishError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuf.api.metadata import (  # type: ignore[attr-defined]
        Metadata,
        Root,
        Snapshot,
        Targets,
        Timestamp,
    )

    from skerry.image.release.channel import Channel


@dataclass(frozen=True, slots=True)
class State:
    """Everything that is signed. `documents` has each channel's channel.json, parsed."""

    root: Metadata[Root]
    targets: Metadata[Targets]
    channels: Mapping[str, Metadata[Targets]]
    snapshot: Metadata[Snapshot]
    timestamp: Metadata[Timestamp]
    documents: Mapping[str, Channel]

    def document(self, channel: str) -> Channel:
        """A channel's document. Raises PublishError where there is no such channel."""
        if channel not in self.documents:
            raise PublishError(
                f"this repository has no channel {channel}",
                hint=f"it has {', '.join(self.documents) or 'none'}; `skerry release channel add` makes one",
            )
        return self.documents[channel]

    def metadata(self, role: str) -> Metadata[Root] | Metadata[Targets]:
        """The metadata of root, targets or a channel."""
        if role == roles.ROOT:
            return self.root
        return self.targets if role == roles.TARGETS else self.channels[role]

    def delegator(self, role: str) -> Root | Targets:
        """Who says which keys sign for a role."""
        return self.root.signed if role in roles.TOP_LEVEL else self.targets.signed

    def every(
        self,
    ) -> dict[str, Metadata[Root] | Metadata[Targets] | Metadata[Snapshot] | Metadata[Timestamp]]:
        """All metadata by role, in the order of trust."""
        return {
            roles.ROOT: self.root,
            roles.TARGETS: self.targets,
            **self.channels,
            roles.SNAPSHOT: self.snapshot,
            roles.TIMESTAMP: self.timestamp,
        }
