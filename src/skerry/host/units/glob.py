r"""The globs of Conflicts= and Replaces=, with the meaning that Go's path.Match gave them in fleet.

    *        any characters             ?        any one character
    [a-cx]   one of these               [^a-c]   one that is none of these
    \c       the character c itself

A pattern matches the whole name; unit names hold no slash. A pattern that is not well formed matches
nothing, as it was with fleet. Python's fnmatch differs: it has no escapes and writes [!a] for [^a].
Source: https://pkg.go.dev/path#Match
"""

from __future__ import annotations

import functools
import re

MOST_COMPILED = 16_384
_SPECIAL = re.compile(r"[*?\[\\]")


def glob_matches(pattern: str, name: str) -> bool:
    """Whether `name` as a whole is as `pattern` says."""
    compiled = compile_glob(pattern)
    return compiled is not None and compiled.match(name) is not None


@functools.lru_cache(maxsize=MOST_COMPILED)
def compile_glob(pattern: str) -> re.Pattern[str] | None:
    """The pattern as a regular expression for whole names, None where it is not well formed."""
    pieces: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "*":
            # Several stars are one: a row of `.*` would make the search slow.
            if not pieces or pieces[-1] != "[^/]*":
                pieces.append("[^/]*")
            at += 1
        elif char == "?":
            pieces.append("[^/]")
            at += 1
        elif char == "[":
            found = _range(pattern, at + 1)
            if found is None:
                return None
            piece, at = found
            pieces.append(piece)
        else:
            literal = _literal(pattern, at)
            if literal is None:
                return None
            char, at = literal
            pieces.append(re.escape(char))
    return re.compile("".join(pieces) + r"\Z", re.DOTALL)


def literal_start(pattern: str) -> str:
    """The characters that every match begins with: what stands before the first special one."""
    found = _SPECIAL.search(pattern)
    return pattern if found is None else pattern[: found.start()]


def _literal(pattern: str, at: int) -> tuple[str, int] | None:
    if pattern[at] == "\\":
        at += 1
    return (pattern[at], at + 1) if at < len(pattern) else None


def _range(pattern: str, at: int) -> tuple[str, int] | None:
    """What stands between brackets, from behind the opening one; at least one range, each in order."""
    negated = pattern[at : at + 1] == "^"
    at += negated
    ranges: list[str] = []
    while pattern[at : at + 1] != "]" or not ranges:
        low = _bound(pattern, at)
        if low is None:
            return None
        first, at = low
        last = first
        if pattern[at : at + 1] == "-":
            high = _bound(pattern, at + 1)
            if high is None:
                return None
            last, at = high
        # Go takes a range that runs backwards and matches nothing with it.
        if first <= last:
            ranges.append(f"{re.escape(first)}-{re.escape(last)}")
        else:
            ranges.append("")
    inside = "".join(ranges)
    if not inside:
        return ("[^/]" if negated else "(?!)"), at + 1
    # Unlike a star, Go's negated range takes a slash; no unit name has one.
    return f"[{'^' if negated else ''}{inside}]", at + 1


def _bound(pattern: str, at: int) -> tuple[str, int] | None:
    if at >= len(pattern) or pattern[at] in "-]":
        return None
    found = _literal(pattern, at)
    return found if found is not None and found[1] < len(pattern) else None
