"""`skerry unit list` and `list-files`: fleetctl's columns, over pages, and changes as they come."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.entry.cli.api import client
from skerry.entry.cli.output import Lines, emit_json, fields, say, table
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from skerry.kit.http import Json

    Row = Mapping[str, Json]
    Columns = Mapping[str, Callable[[Row, "Machines"], str]]

HASH_DIGITS = 7


class Machines:
    """Machines as the lists show them: `<8 hex>.../IP`, whole ids where nothing is to be shortened."""

    def __init__(self, addresses: Mapping[str, Json], *, full: bool) -> None:
        self._addresses = addresses
        self.full = full

    def show(self, machine: str) -> str:
        """ "-" for none."""
        if not machine:
            return "-"
        address = str(self._addresses.get(machine) or "")
        name = machine if self.full else f"{machine[:8]}..."
        return f"{name}/{address}" if address else name

    def hash(self, text: str) -> str:
        return text if self.full else text[:HASH_DIGITS]


@dataclass(frozen=True, slots=True)
class Kind:
    """A list: its columns, those that are shown unless others are asked for, and the lines of a unit."""

    columns: Columns
    default: str
    rows: Callable[[Row], list[Row]]


def _on_machines(unit: Row) -> list[Row]:
    """A line for each machine that has the unit, in the words of that machine."""
    states = unit.get("states")
    found = [state for state in states if isinstance(state, dict)] if isinstance(states, list) else []
    return [{**unit, **state, "report_hash": state["hash"], "hash": unit["hash"]} for state in found
            if state["current"] != "inactive"]  # fmt: skip


LIST = Kind(
    {
        "unit": lambda u, m: str(u["name"]),
        "machine": lambda u, m: m.show(str(u["machine"])),
        "load": lambda u, m: str(u["load"]),
        "active": lambda u, m: str(u["active"]),
        "sub": lambda u, m: str(u["sub"]),
        "hash": lambda u, m: m.hash(str(u["report_hash"])),
        "desc": lambda u, m: str(u["description"]),
        "problem": lambda u, m: str(u["problem"] or ""),
    },
    "unit,machine,active,sub",
    _on_machines,
)
LIST_FILES = Kind(
    {
        "unit": lambda u, m: str(u["name"]),
        "hash": lambda u, m: m.hash(str(u["hash"])),
        "dstate": lambda u, m: str(u["desired"]),
        "state": lambda u, m: str(u["current"]),
        "target": lambda u, m: "global" if u["is_global"] else m.show(str(u["machine"])),
        "global": lambda u, m: "true" if u["is_global"] else "false",
        "desc": lambda u, m: str(u["description"]),
        "tmachine": lambda u, m: m.show(str(u["machine"])),
        "problem": lambda u, m: str(u["problem"] or ""),
    },
    "unit,hash,dstate,state,target",
    lambda unit: [unit],
)


class Listing:
    """One list as it was asked for; `node` narrows it to what is on a machine."""

    def __init__(self, asked: str | None, *, node: str, legend: bool, full: bool, as_json: bool) -> None:
        self._asked = asked
        self._node = node
        self._legend = legend
        self._as_json = as_json
        self._machines = Machines({}, full=full)

    def show(self, kind: Kind, *, watch: bool) -> None:
        """Print the list; with `watch`, go on with what changes until interrupted."""
        chosen = fields(self._asked, kind.columns, kind.default)
        units, revision = self._units()
        found = [row for unit in units for row in kind.rows(unit)]
        rows = [[kind.columns[name](row, self._machines) for name in chosen] for row in found]
        if self._as_json and not watch:
            emit_json([dict(row) for row in found])
            return
        if self._as_json:
            for row in found:
                emit_json(dict(row))
        else:
            table(rows, chosen, legend=self._legend, full=self._machines.full)
            sys.stdout.flush()
        if watch:
            self._follow(kind, chosen, Lines(rows, chosen, legend=self._legend), revision)

    def _follow(self, kind: Kind, chosen: list[str], lines: Lines, revision: int) -> None:
        for name, unit in self._changes(revision):
            if unit is None and self._as_json:
                emit_json({"name": name, "gone": True})
            elif unit is None:
                say(f"{name} is gone")
            else:
                for row in kind.rows(unit):
                    if self._as_json:
                        emit_json(dict(row))
                    else:
                        lines.add([kind.columns[column](row, self._machines) for column in chosen])

    def _units(self) -> tuple[list[Row], int]:
        """All pages, and the revision of the first: a watch from there misses nothing."""
        units: list[Row] = []
        addresses: dict[str, Json] = {}
        revision = None
        query = {"node": self._node} if self._node else {}
        while True:
            page = _mapping(client().call("GET", "/v1/units", query=query or None))
            found, unreadable = page["units"], _mapping(page["unreadable"])
            for name, why in unreadable.items():
                say(f"warning: unit {name} is not shown: {why}")
            units += [_mapping(u) for u in found] if isinstance(found, list) else []
            addresses |= _mapping(page["machines"])
            revision = int(str(page.get("revision", 0))) if revision is None else revision
            if not page.get("next"):
                self._machines = Machines(addresses, full=self._machines.full)
                return units, revision
            query["token"] = str(page["next"])

    def _changes(self, revision: int) -> Iterator[tuple[str, Row | None]]:
        """Units as they change, None where one is gone; after a reset every unit once more."""
        query = {"after": str(revision), "kinds": "unit"} | ({"node": self._node} if self._node else {})
        kind = ""
        for raw in client(timeout_s=None).lines("GET", "/v1/events", query=query):
            field, _, text = raw.decode().partition(": ")
            if field == "event":
                kind = text
            elif field == "data" and kind == "unit":
                event = _mapping(json.loads(text))
                yield str(event["name"]), None if event["unit"] is None else _mapping(event["unit"])


def _mapping(value: Json) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise SkerryError("skerryd gave an answer that this version does not understand")
    return value
