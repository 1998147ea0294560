"""The system disk as updates see it: two slots and the boot entries on the ESP.

Every method that changes something has changed it on the disk when it returns; a power cut within one leaves
the state before or the state after it, as far as booting goes. What is written into a slot's devices is the
caller's, and durable only after `settle`. An entry's bytes are first put where nothing boots from
(`write_entry`), and get a name that boots by one rename (`commit_entry`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from skerry.host.update.entries import Entry, version_of

if TYPE_CHECKING:
    from pathlib import Path

EMPTY = "_empty"
VERITY_SUFFIX = "_verity"
NAMES = ("A", "B")


@dataclass(frozen=True, slots=True)
class Slot:
    """`label` is NAME_VERSION; None where the slot holds nothing that may be booted. Sizes in bytes."""

    name: str
    label: str | None
    root: Path
    verity: Path
    root_size: int
    verity_size: int

    @property
    def version(self) -> str | None:
        return version_of(self.label) if self.label else None


class Disk(Protocol):
    """See the module. All may raise DiskError."""

    def slots(self) -> tuple[Slot, ...]:
        """Both slots, A first, with the labels that the next boot will see."""

    def relabel(self, slot: str, label: str | None) -> None:
        """Name a slot's two partitions LABEL and LABEL_verity, or both `_empty`, in one atomic step."""

    def settle(self, slot: str) -> None:
        """Flush what was written to a slot, and drop it from memory, so that it is read from the disk."""

    def entries(self) -> tuple[Entry, ...]:
        """The boot entries, in the order of their names."""

    def entry_path(self, entry: Entry) -> Path:
        """Where the entry's UKI can be read."""

    def esp_free(self) -> int:
        """Bytes that are free on the ESP."""

    def write_entry(self, label: str, source: Path) -> None:
        """Copy a UKI to the ESP under a name that does not boot, and compare. Raises VerifyError."""

    def commit_entry(self, label: str, tries: int) -> None:
        """Rename what `write_entry` left to LABEL+TRIES.efi: from here on it boots."""

    def remove_entries(self, label: str) -> None:
        """Remove all entries of a label, whatever their count."""

    def recount(self, label: str, left: int | None) -> None:
        """Rename a label's entry: None for good, 0 for counted out (the last choice), else so many tries."""

    def strays(self) -> tuple[str, ...]:
        """What an interrupted `write_entry` left on the ESP."""

    def sweep(self) -> None:
        """Remove the strays."""

    def read_only(self) -> str | None:
        """Why nothing can be written, in a sentence; None where it can."""
