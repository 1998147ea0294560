"""Three-way merge of one text file, by lines; never writes conflict markers into what a program reads.

What is no text (a NUL byte), or is too long to be compared in the time that a boot has, is not merged: the
policy for conflicts decides about it.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from merge3 import Merge3  # type: ignore[import-untyped]

LONGEST_BYTES = 1 << 20
MOST_LINES = 20_000
# Up to here every line counts; beyond, difflib leaves out lines that come again and again, which is linear.
_EXACT_LINES = 1_000


def is_text(data: bytes) -> bool:
    return b"\0" not in data


def merge(old: bytes, yours: bytes, new: bytes) -> bytes | None:
    """Both changes in one text; None where they touch the same lines, or where it is no text."""
    texts = [data.splitlines(keepends=True) for data in (old, yours, new)]
    if not all(map(_mergeable, (old, yours, new), texts)):
        return None
    parts: list[bytes] = []
    for what, *groups in _merge3(*texts).merge_groups():
        if what == "conflict":
            return None
        parts += groups[0]
    return b"".join(parts)


def with_markers(old: bytes, yours: bytes, new: bytes) -> bytes | None:
    """Both changes in one text for a person to edit, conflicts between markers; None where it is no text."""
    texts = [data.splitlines(keepends=True) for data in (old, yours, new)]
    if not all(map(_mergeable, (old, yours, new), texts)):
        return None
    # A last line without its end must not swallow a marker.
    ended = [[*lines[:-1], lines[-1].rstrip(b"\r\n") + b"\n"] if lines else [] for lines in texts]
    lines = _merge3(*ended).merge_lines(
        name_a="yours", name_b="new default", name_base="old default", base_marker="|||||||"
    )
    return b"".join(lines)


def has_markers(data: bytes) -> bool:
    return any(line.startswith((b"<<<<<<< yours", b">>>>>>> new default")) for line in data.splitlines())


def _mergeable(data: bytes, lines: Sequence[bytes]) -> bool:
    return is_text(data) and len(data) <= LONGEST_BYTES and len(lines) <= MOST_LINES


def _merge3(old: Sequence[bytes], yours: Sequence[bytes], new: Sequence[bytes]) -> Merge3:
    from merge3 import Merge3  # only where two have changed the same file

    return Merge3(old, yours, new, sequence_matcher=_matcher)


def _matcher(junk: None, a: Sequence[bytes], b: Sequence[bytes]) -> difflib.SequenceMatcher[bytes]:
    return difflib.SequenceMatcher(junk, a, b, autojunk=max(len(a), len(b)) > _EXACT_LINES)
