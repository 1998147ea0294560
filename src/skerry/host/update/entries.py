"""Boot entries by their names, as systemd-boot counts tries in them.

    EFI/Linux/NAME_VERSION.efi             good: blessed, not counted
    EFI/Linux/NAME_VERSION+LEFT.efi        LEFT tries, none begun
    EFI/Linux/NAME_VERSION+LEFT-DONE.efi   DONE were begun; with LEFT 0 it is sorted behind all others
https://uapi-group.org/specifications/specs/boot_loader_specification/#boot-counting
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from skerry.host.update.machine import Tried

_NAME = re.compile(r"(?P<label>[^+]+?)(\+(?P<left>\d{1,4})(-(?P<done>\d{1,4}))?)?\.efi", re.ASCII)


@dataclass(frozen=True, slots=True)
class Entry:
    """`label` is NAME_VERSION; `left` is None where the entry is not counted."""

    label: str
    left: int | None = None
    done: int = 0

    @property
    def file(self) -> str:
        if self.left is None:
            return f"{self.label}.efi"
        done = f"-{self.done}" if self.done or not self.left else ""
        return f"{self.label}+{self.left}{done}.efi"

    @property
    def version(self) -> str:
        return version_of(self.label)

    @property
    def tried(self) -> Tried:
        if self.left is None:
            return Tried.GOOD
        if not self.left:
            return Tried.OUT
        return Tried.BEGUN if self.done else Tried.NOT_YET


def parse(file: str) -> Entry | None:
    """An entry from its file's name; None where systemd-boot would pass over it."""
    match = _NAME.fullmatch(file)
    if match is None or file.startswith((".", "auto-")):
        return None
    left = match["left"]
    return Entry(match["label"], None if left is None else int(left), int(match["done"] or 0))


def label_of(name: str, version: str) -> str:
    """NAME_VERSION: the label of a version's root, and the stem of its entry."""
    return f"{name}_{version}"


def version_of(label: str) -> str:
    """The version of a label; "" where it has none."""
    return label.partition("_")[2]
