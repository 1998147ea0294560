"""What `skerry unit` shows: lists with fleetctl's columns, status, texts, journals, and checks."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

from skerry.entry.cli.api import client
from skerry.entry.cli.output import BOLD, GREEN, RED, colour, emit_json, fields, say, table
from skerry.entry.cli.unit_files import LocalFileError, asked, offers
from skerry.kit.errors import SkerryError
from skerry.kit.http import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from skerry.kit.http import Json

    Row = Mapping[str, Json]
    Columns = Mapping[str, Callable[[Row, "Machines"], str]]

HASH_DIGITS = 7


class RefusedError(SkerryError):
    """Files that were to be verified are not acceptable."""


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


_LIST: Columns = {
    "unit": lambda u, m: str(u["name"]),
    "machine": lambda u, m: m.show(str(u["machine"])),
    "load": lambda u, m: str(u["load"]),
    "active": lambda u, m: str(u["active"]),
    "sub": lambda u, m: str(u["sub"]),
    "hash": lambda u, m: m.hash(str(u["report_hash"])),
    "desc": lambda u, m: str(u["description"]),
}
_LIST_FILES: Columns = {
    "unit": lambda u, m: str(u["name"]),
    "hash": lambda u, m: m.hash(str(u["hash"])),
    "dstate": lambda u, m: str(u["desired"]),
    "state": lambda u, m: str(u["current"]),
    "target": lambda u, m: "global" if u["is_global"] else m.show(str(u["machine"])),
    "global": lambda u, m: "true" if u["is_global"] else "false",
    "desc": lambda u, m: str(u["description"]),
    "tmachine": lambda u, m: m.show(str(u["machine"])),
    "problem": lambda u, m: str(u["problem"] or ""),
}


def list_units(asked_fields: str | None, *, legend: bool, full: bool, as_json: bool) -> None:
    """Units that are on a machine."""
    chosen = fields(asked_fields, _LIST, "unit,machine,active,sub")
    units, machines = _units(full=full)
    _show(
        [u for u in units if u["current"] != "inactive"],
        machines,
        _LIST,
        chosen,
        legend=legend,
        as_json=as_json,
    )


def list_files(asked_fields: str | None, *, legend: bool, full: bool, as_json: bool) -> None:
    """Every stored unit."""
    chosen = fields(asked_fields, _LIST_FILES, "unit,hash,dstate,state,target")
    units, machines = _units(full=full)
    _show(units, machines, _LIST_FILES, chosen, legend=legend, as_json=as_json)


def status(names: Iterable[str], *, lines: int, as_json: bool) -> None:
    """A paragraph for each unit, in the manner of `systemctl status`."""
    answers: list[Json] = []
    for number, name in enumerate(names):
        detail = _mapping(client().call("GET", f"/v1/units/{quote(name)}"))
        unit = _mapping(detail["unit"])
        written = list(_journal(name, lines=lines, follow=False)) if lines else []
        if as_json:
            answers.append({**unit, "journal": [dict(line) for line in written]})
            continue
        if number:
            print()
        _status(unit)
        if written:
            print()
        for line in written:
            print(_short(line))
    if as_json:
        emit_json(answers)


def cat(name: str, *, as_json: bool) -> None:
    """The texts; drop-ins and companions under a line that names them."""
    detail = _mapping(client().call("GET", f"/v1/units/{quote(name)}"))
    if as_json:
        emit_json({key: detail[key] for key in ("text", "drop_ins", "files")})
        return
    sys.stdout.write(_ended(str(detail["text"])))
    for kind, prefix in (("drop_ins", f"{name}.d/"), ("files", "")):
        attachments = detail[kind]
        for attachment in attachments if isinstance(attachments, list) else []:
            part = _mapping(attachment)
            sys.stdout.write(f"\n# {prefix}{part['name']}\n{_ended(str(part['text']))}")


def journal(name: str, *, lines: int, follow: bool, form: str) -> None:
    """The lines of a unit's journal, until interrupted where it is followed."""
    for line in _journal(name, lines=lines, follow=follow):
        if form == "json":
            print(json.dumps(line, ensure_ascii=False), flush=True)
        else:
            print(str(line["message"]) if form == "cat" else _short(line), flush=True)


def verify(files: Iterable[str], *, as_json: bool) -> None:
    """All problems of unit files. Raises RefusedError where a unit would not be accepted."""
    wanted = [asked(file if "/" in file else f"./{file}") for file in files]
    offered = offers(wanted)
    if not offered:
        raise LocalFileError("there is nothing to verify")
    answer = _mapping(client().call("POST", "/v1/verify", {"offers": offered}))
    refused, problems = answer["refused"], answer["problems"]
    if as_json:
        emit_json(dict(answer))
    else:
        for problem in problems if isinstance(problems, list) else []:
            print(_mapping(problem)["shown"])
    if isinstance(refused, list) and refused:
        raise RefusedError(f"not acceptable: {', '.join(str(name) for name in refused)}")
    if not as_json and not problems:
        say("no problems found")


def _units(*, full: bool) -> tuple[list[Row], Machines]:
    answer = _mapping(client().call("GET", "/v1/units"))
    units = answer["units"]
    unreadable = _mapping(answer["unreadable"])
    for name, why in unreadable.items():
        say(f"warning: unit {name} is not shown: {why}")
    rows = [_mapping(u) for u in units] if isinstance(units, list) else []
    return rows, Machines(_mapping(answer["machines"]), full=full)


def _show(
    units: list[Row], machines: Machines, columns: Columns, chosen: list[str], *, legend: bool, as_json: bool
) -> None:
    if as_json:
        emit_json([dict(u) for u in units])
        return
    rows = [[columns[name](u, machines) for name in chosen] for u in units]
    table(rows, chosen, legend=legend, full=machines.full)


def _status(unit: Row) -> None:
    active, sub = str(unit["active"] or "inactive"), str(unit["sub"] or "dead")
    code = {"active": GREEN, "failed": RED}.get(active)
    dot = colour("●", code) if code else "○"
    words = colour(f"{active} ({sub})", code) if code else f"{active} ({sub})"
    title = str(unit["name"])
    print(f"{dot} {colour(title, BOLD)}" + (f" - {unit['description']}" if unit["description"] else ""))
    rows = [
        ("Loaded", f"{unit['load'] or 'not loaded'} (wanted {unit['desired']}, is {unit['current']})"),
        ("Active", words + (f", result {unit['result']}" if unit["result"] not in {"", "success"} else "")),
        ("Unit", str(unit["unit"]) if unit["unit"] != unit["name"] else ""),
        ("Machine", str(unit["machine"])),
        ("Hash", str(unit["hash"])),
        ("Drop-In", _joined(unit["drop_ins"])),
        ("Files", _joined(unit["files"])),
        ("Problem", str(unit["problem"] or "")),
    ]
    for name, text in rows:
        if text:
            print(f"{name:>9}: {text}")


def _journal(name: str, *, lines: int, follow: bool) -> Iterable[Mapping[str, Json]]:
    query = {"lines": str(lines), "follow": "true" if follow else "false"}
    path = f"/v1/units/{quote(name)}/journal"
    for raw in client(timeout_s=None).lines("GET", path, query=query):
        line: Json = json.loads(raw)
        if isinstance(line, dict) and isinstance(line.get("error"), dict):
            error = _mapping(line["error"])
            raise SkerryError(str(error["message"]), hint=str(error["hint"]) if error.get("hint") else None)
        yield _mapping(line)


def _short(line: Mapping[str, Json]) -> str:
    """journalctl's short form: time, machine, who, what."""
    when = time.strftime("%b %d %H:%M:%S", time.localtime(int(str(line["time_us"])) / 1e6))
    pid = f"[{line['pid']}]" if line["pid"] is not None else ""
    message = str(line["message"]).rstrip()
    return f"{when} {line['host'] or '-'} {line['identifier'] or '-'}{pid}: {message}"


def _joined(value: Json) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list) else ""


def _ended(text: str) -> str:
    return text if text.endswith("\n") or not text else text + "\n"


def _mapping(value: Json) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise SkerryError("skerryd gave an answer that this version does not understand")
    return value
