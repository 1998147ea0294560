"""Versions of the operating system: whole numbers between dots, compared number by number.

2026.9.0 comes before 2026.10.0, and 2026.01.0 is the same as 2026.1.0. A version is part of file names, so
nothing else is let through.
"""

from __future__ import annotations

import re

from skerry.image.release.errors import DocumentError

FORM = re.compile(r"(0|[0-9]{1,9})(\.[0-9]{1,9}){0,5}", re.ASCII)


def parse(version: str) -> tuple[int, ...]:
    """The numbers of a version, for comparing. Raises DocumentError where it is none."""
    if not FORM.fullmatch(version):
        raise DocumentError(f"{version!r} is not a version", hint="numbers and dots, as in 2026.11.0")
    return tuple(int(number) for number in version.split("."))


def is_newer(version: str, than: str) -> bool:
    """Whether `version` comes after `than`."""
    return parse(version) > parse(than)


def is_older(version: str, than: str) -> bool:
    """Whether `version` comes before `than`."""
    return parse(version) < parse(than)
