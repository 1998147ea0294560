"""What is so on this host now: one frozen value, from which everything else is decided."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from skerry.host.update.entries import label_of
from skerry.host.update.machine import Tried

if TYPE_CHECKING:
    from collections.abc import Mapping

    from skerry.host.update.disk import Slot
    from skerry.host.update.entries import Entry
    from skerry.host.update.journal import State
    from skerry.host.update.settings import UpdateSettings


@dataclass(frozen=True, slots=True)
class Machine:
    """What does not change while it runs. `built` is the image's own time (seconds since 1970)."""

    name: str  # of the image
    running: str
    node: str
    boot_id: str
    architecture: str = "amd64"
    built: float = 0.0


@dataclass(frozen=True, slots=True)
class Situation:
    """Sizes in bytes; `now` in seconds since 1970. `trouble`: why the disk takes no writes, in a sentence."""

    machine: Machine
    state: State
    settings: UpdateSettings
    slots: tuple[Slot, ...]
    entries: tuple[Entry, ...]
    strays: tuple[str, ...]
    esp_free: int
    var_free: int
    now: float
    trouble: str | None = None
    kept: frozenset[str] = frozenset()  # versions whose extensions are all here
    entry_sizes: Mapping[str, int] = field(default_factory=dict)  # by the name of the file

    def label(self, version: str) -> str:
        return label_of(self.machine.name, version)

    @property
    def here(self) -> Slot | None:
        """The slot that runs."""
        mine = self.label(self.machine.running)
        return next((slot for slot in self.slots if slot.label == mine), None)

    @property
    def there(self) -> Slot:
        """The slot that does not."""
        here = self.here
        return next(slot for slot in reversed(self.slots) if here is None or slot.name != here.name)

    def entry(self, version: str) -> Entry | None:
        """The version's entry on the ESP; of two the one that is good."""
        mine = [entry for entry in self.entries if entry.label == self.label(version)]
        return min(mine, key=lambda entry: entry.left is not None, default=None)

    def tried(self, version: str | None) -> Tried:
        entry = self.entry(version) if version else None
        return Tried.ABSENT if entry is None else entry.tried
