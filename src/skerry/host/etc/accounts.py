"""passwd, group, shadow, gshadow, subuid and subgid, merged entry by entry.

Users and groups that you added stay; those that a new version brings come. The number of a user or group
that exists never changes, since files in /var belong to numbers: where a new version has another one, that is
said as a conflict, and what it ships in /etc is given to the number here. No account that you changed is
ever removed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Row: TypeAlias = tuple[bytes, ...]
Table: TypeAlias = dict[tuple[bytes, int], Row]
SYSTEM_IDS = range(999, 99, -1)
_Either = TypeVar("_Either", bytes, Row)

_FIELDS = {
    "passwd": ("name", "password", "uid", "gid", "comment", "home", "shell"),
    "group": ("name", "password", "gid", "members"),
    "gshadow": ("name", "password", "administrators", "members"),
}
_SETS = {"members", "administrators"}


@dataclass(frozen=True, slots=True)
class MergedFile:
    data: bytes
    conflicts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Accounts:
    """The files that could be merged. The maps lead from a number in the old or the new defaults to the one
    that the same user or group has here."""

    files: Mapping[str, MergedFile] = field(default_factory=dict)
    uids: Mapping[int, int] = field(default_factory=dict)
    gids: Mapping[int, int] = field(default_factory=dict)
    old_uids: Mapping[int, int] = field(default_factory=dict)
    old_gids: Mapping[int, int] = field(default_factory=dict)


def merge(
    old: Mapping[str, bytes], yours: Mapping[str, bytes], new: Mapping[str, bytes], *, theirs: bool
) -> Accounts:
    """Merge the files that are both in `yours` and in `new`; `theirs` decides about fields that conflict."""
    names = [name for name in _ORDER if name in yours and name in new]
    o, y, n = (
        {name: parse(files.get(name, b"")) for name in _ORDER}  # an absent file has no entries
        for files in (old, yours, new)
    )
    work = _Work(theirs=theirs)
    if "group" in names:
        kept = _primary_groups(o["passwd"], y["passwd"], n["passwd"])
        groups = work.table("group", o["group"], y["group"], n["group"], keep_ids=kept)
        work.gids.update(_renumbered("group", n["group"], groups))
    merged: dict[str, Table] = {}
    for name in names:
        if name == "group":
            merged[name] = groups
            continue
        owner = {"shadow": "passwd", "gshadow": "group"}.get(name)
        keep = {key[0] for key in merged[owner].keys() - n[owner].keys()} if owner in merged else set()
        merged[name] = work.table(name, o[name], y[name], n[name], keep_names=keep)
        if name == "passwd":
            work.uids.update(_renumbered("passwd", n["passwd"], merged[name]))
    files = {}
    for name, table in merged.items():
        data = _print(table, like=new[name] if yours[name] == old.get(name) else yours[name])
        files[name] = MergedFile(data, tuple(work.conflicts.get(name, ())))
    old_uids = _renumbered("passwd", o["passwd"], merged.get("passwd", {}))
    old_gids = _renumbered("group", o["group"], merged.get("group", {}))
    return Accounts(files, work.uids, work.gids, old_uids, old_gids)


_ORDER = ("group", "passwd", "shadow", "gshadow", "subuid", "subgid")


def parse(data: bytes) -> Table:
    """Rows by their name, and by their count where a name comes again, in the order of the file."""
    table: Table = {}
    seen: dict[bytes, int] = {}
    for line in data.split(b"\n"):
        if not line:
            continue
        row = tuple(line.split(b":"))
        number = seen[row[0]] = seen.get(row[0], -1) + 1
        table[row[0], number] = row
    return table


def _print(table: Table, *, like: bytes) -> bytes:
    """The rows as lines, in the order of `like`, those it does not have after them."""
    order = parse(like)
    keys = [key for key in order if key in table] + [key for key in table if key not in order]
    text = b"".join(b":".join(table[key]) + b"\n" for key in keys)
    return like if order == table else text


class _Work:
    """One merge: what was found to conflict, and which numbers differ."""

    def __init__(self, *, theirs: bool) -> None:
        self.theirs = theirs
        self.conflicts: dict[str, list[str]] = {}
        self.uids: dict[int, int] = {}
        self.gids: dict[int, int] = {}

    def table(
        self,
        name: str,
        old: Table,
        yours: Table,
        new: Table,
        *,
        keep_ids: frozenset[bytes] = frozenset(),
        keep_names: set[bytes] | None = None,
    ) -> Table:
        result: Table = {}
        for key, row in yours.items():
            merged = self._row(name, old.get(key), row, new.get(key))
            needed = key[0] in (keep_names or ()) or (name == "group" and _at(row, 2) in keep_ids)
            if merged is None and needed:
                merged = row
            if merged is not None:
                result[key] = merged
        for key, row in new.items():
            if key not in yours and key not in old:
                result[key] = self._added(name, row, yours, new, result)
        return result

    def _row(self, file: str, old: Row | None, yours: Row, new: Row | None) -> Row | None:
        if new is None:
            if old is None:
                return yours
            if old == yours:
                return None
            self._conflict(
                file, f"{_text(yours[0])} is not in the new version; yours, which you changed, stays"
            )
            return yours
        if file == "shadow":
            return new if yours == old else yours  # a password is never merged from two
        names = _FIELDS.get(file)
        if names is None or not len(yours) == len(new) == len(names):
            return self._scalar(file, _text(yours[0]), old, yours, new)
        base: Sequence[bytes | None] = (
            old if old is not None and len(old) == len(names) else [None] * len(names)
        )
        return tuple(
            self._field(file, _text(yours[0]), what, a, b, c)
            for what, a, b, c in zip(names, base, yours, new, strict=True)
        )

    def _field(self, file: str, entry: str, what: str, old: bytes | None, yours: bytes, new: bytes) -> bytes:
        if what in _SETS:
            return _members(old or b"", yours, new)
        if what in ("uid", "gid"):
            if file == "passwd" and what == "gid" and new.isdigit():
                new = b"%d" % self.gids.get(int(new), int(new))
            if new not in (yours, old):
                text = f"{what} of {entry}: {_text(yours)} here, {_text(new)} in the new version; yours stays"
                self._conflict(file, text)
                return yours
            return yours
        return self._scalar(file, f"{what} of {entry}", old, yours, new)

    def _scalar(self, file: str, what: str, old: object, yours: _Either, new: _Either) -> _Either:
        if yours in (new, old):
            return new
        if new == old:
            return yours
        self._conflict(file, f"{what}: changed here and in the new version")
        return new if self.theirs else yours

    def _added(self, file: str, row: Row, yours: Table, new: Table, result: Table) -> Row:
        """A row that only the new version has; its number must not be another's."""
        if file not in ("passwd", "group") or len(row) != len(_FIELDS[file]) or not row[2].isdigit():
            return row
        fields = list(row)
        if file == "passwd" and row[3].isdigit():
            fields[3] = b"%d" % self.gids.get(int(row[3]), int(row[3]))
        own = {_at(mine, 2): key for key, mine in yours.items() if key in result}
        other = own.get(row[2])
        if other is not None and _at(new.get(other, ()), 2) != row[2]:
            used = {_at(one, 2) for one in (*yours.values(), *new.values(), *result.values())}
            free = next((b"%d" % number for number in SYSTEM_IDS if b"%d" % number not in used), row[2])
            what = "uid" if file == "passwd" else "gid"
            whose = f"{_text(row[0])}, which is new, is {_text(other[0])}'s here"
            self._conflict(file, f"{what} {_text(row[2])} of {whose}; it is given {_text(free)}")
            fields[2] = free
        return tuple(fields)

    def _conflict(self, file: str, text: str) -> None:
        self.conflicts.setdefault(file, []).append(text)


def _members(old: bytes, yours: bytes, new: bytes) -> bytes:
    """Names between commas: yours, with those that the new version added, without those that it took away."""
    a, b, c = ([one for one in data.split(b",") if one] for data in (old, yours, new))
    if b in (a, c):
        return new
    kept = [one for one in b if one in c or one not in a]
    return b",".join([*kept, *(one for one in c if one not in a and one not in b)])


def _primary_groups(old: Table, yours: Table, new: Table) -> frozenset[bytes]:
    """The numbers of groups that some user who stays has as the first."""
    stay = (row for key, row in yours.items() if key in new or old.get(key) != row)
    return frozenset(_at(row, 3) for row in stay if len(row) > 3)


def _renumbered(file: str, defaults: Table, result: Table) -> dict[int, int]:
    """From the numbers of the defaults to those of the same names in the result, where they differ."""
    found: dict[int, int] = {}
    for key, row in defaults.items():
        here = result.get(key, ())
        whole = len(row) == len(here) == len(_FIELDS[file])
        if whole and row[2].isdigit() and here[2].isdigit() and row[2] != here[2]:
            found.setdefault(int(row[2]), int(here[2]))
    return found


def _at(row: Sequence[bytes], column: int) -> bytes:
    return row[column] if len(row) > column else b""


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")
