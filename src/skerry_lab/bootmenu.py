"""Which entry systemd-boot 257 would start, from the names and versions of the unified kernels it finds.

As in its source, src/boot/boot.c: boot_entry_compare, boot_entry_parse_tries, config_load_type2_entries,
config_select_default_entry, and src/fundamental/string-util-fundamental.c: strverscmp_improved. Pure.

    NAME[+LEFT[-DONE]].efi     no counter: good; +0 or +0-N: bad, sorted behind all others
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T", int, str)
COUNTED = re.compile(r"(?P<name>.*)\+(?P<left>\d+)(-(?P<done>\d+))?", re.DOTALL)
SUFFIX = ".efi"


@dataclass(frozen=True, slots=True)
class Kernel:
    """An entry: its file's name, and of its os-release IMAGE_ID (or ID) and IMAGE_VERSION (or VERSION_ID)."""

    file: str
    sort_key: str
    version: str

    @property
    def identity(self) -> str:
        """The file's name without its counter."""
        return f"{self._parts()[0]}{SUFFIX}"

    @property
    def left(self) -> int | None:
        """The tries that are left; None where they are not counted."""
        return self._parts()[1]

    @property
    def done(self) -> int:
        return self._parts()[2]

    def _parts(self) -> tuple[str, int | None, int]:
        stem = self.file[: -len(SUFFIX)]
        match = COUNTED.fullmatch(stem)
        if match is None:
            return stem, None, 0
        return match["name"], int(match["left"]), int(match["done"] or 0)


def considered(file: str) -> bool:
    """Whether systemd-boot looks at a file in EFI/Linux at all."""
    return not file.startswith((".", "auto-")) and file.lower().endswith(SUFFIX)


def order(kernels: Iterable[Kernel]) -> list[Kernel]:
    """The menu, from top to bottom; the top one is started."""
    return sorted(kernels, key=functools.cmp_to_key(_compare))


def tried(kernel: Kernel) -> Kernel:
    """The entry under the name that it has once systemd-boot started it."""
    if not kernel.left:
        return kernel
    stem = kernel.identity[: -len(SUFFIX)]
    file = f"{stem}+{kernel.left - 1}-{kernel.done + 1}{SUFFIX}"
    return Kernel(file, kernel.sort_key, kernel.version)


def _compare(a: Kernel, b: Kernel) -> int:
    differences = (
        _sign(a.left == 0, b.left == 0),
        _sign(not a.sort_key, not b.sort_key),
        _sign(a.sort_key, b.sort_key),
        -compare_versions(a.version, b.version) if a.sort_key and b.sort_key else 0,
        -compare_versions(a.identity, b.identity),
        0 if a.left is None or b.left is None else -_sign(a.left, b.left),
        0 if a.left is None or b.left is None else _sign(a.done, b.done),
    )
    return next((difference for difference in differences if difference), 0)


def compare_versions(a: str, b: str) -> int:
    """strverscmp_improved: the version format specification of the UAPI group.

    https://uapi-group.org/specifications/specs/version_format_specification/
    """
    while True:
        a, b = _strip(a), _strip(b)
        for mark in "~":
            if a[:1] == mark or b[:1] == mark:
                if a[:1] != b[:1]:
                    return -1 if a[:1] == mark else 1
                a, b = a[1:], b[1:]
        if not a or not b:
            return _sign(a, b)
        for mark in "-^.":
            if a[:1] == mark or b[:1] == mark:
                if a[:1] != b[:1]:
                    return -1 if a[:1] == mark else 1
                a, b = a[1:], b[1:]
        kind = r"\d*" if a[:1].isdigit() or b[:1].isdigit() else r"[A-Za-z]*"
        part_a, part_b = _leading(kind, a), _leading(kind, b)
        a, b = a[len(part_a) :], b[len(part_b) :]
        numbers = kind == r"\d*"
        difference = _sign(int(part_a or -1), int(part_b or -1)) if numbers else _sign(part_a, part_b)
        if difference:
            return difference


def _strip(text: str) -> str:
    """Without the leading characters that no version is made of."""
    return re.sub(r"^[^A-Za-z0-9~^.-]+", "", text)


def _leading(pattern: str, text: str) -> str:
    match = re.match(pattern, text)
    return match[0] if match else ""


def _sign(a: T, b: T) -> int:
    return (a > b) - (a < b)
