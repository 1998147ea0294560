"""Mode, owner and extended attributes of one path, merged apart from its content."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from skerry.host.etc.tree import Entry

_Value = TypeVar("_Value")


def merge_attributes(old: Entry | None, yours: Entry, new: Entry, *, theirs: bool) -> tuple[Entry, list[str]]:
    """Yours with the attributes that three sides make, and a sentence for each that conflicts."""
    conflicts: list[str] = []

    def choose(what: str, before: _Value | None, mine: _Value, other: _Value) -> _Value:
        if mine in (other, before):
            return other
        if other == before:
            return mine
        conflicts.append(f"{what}: {_show(mine)} here, {_show(other)} in the new version")
        return other if theirs else mine

    base = None if old is None else dict(old.xattrs)
    mine, other = dict(yours.xattrs), dict(new.xattrs)
    attributes: list[tuple[str, bytes]] = []
    for name in sorted({*mine, *other}):
        absent = "absent" if base is None else base.get(name)
        value = choose(f"attribute {name}", absent, mine.get(name), other.get(name))
        if isinstance(value, bytes):
            attributes.append((name, value))
    mode = choose("mode", None if old is None else _Mode(old.mode), _Mode(yours.mode), _Mode(new.mode))
    uid = choose("owner", None if old is None else old.uid, yours.uid, new.uid)
    gid = choose("group", None if old is None else old.gid, yours.gid, new.gid)
    return replace(yours, mode=int(mode), uid=uid, gid=gid, xattrs=tuple(attributes)), conflicts


class _Mode(int):
    """An int that shows itself as modes are shown."""

    def __str__(self) -> str:
        return f"{int(self):04o}"


def _show(value: object) -> str:
    if value is None:
        return "none"
    return f"{len(value)} bytes" if isinstance(value, bytes) else str(value)
