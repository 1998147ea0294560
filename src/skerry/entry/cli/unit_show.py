"""What `skerry unit` shows of one unit: status, reasons, texts, journals, and checks."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING

from skerry.entry.cli.api import client
from skerry.entry.cli.output import BOLD, GREEN, RED, colour, emit_json, say, table
from skerry.entry.cli.unit_files import LocalFileError, asked, offers
from skerry.kit.errors import SkerryError
from skerry.kit.http import ApiError, quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from skerry.kit.http import Json


ELSEWHERE = "elsewhere"  # the API's code where a journal is on a machine that it cannot read from


class RefusedError(SkerryError):
    """Files that were to be verified are not acceptable."""


def status(names: Iterable[str], *, lines: int, as_json: bool) -> None:
    """A paragraph for each unit, in the manner of `systemctl status`."""
    answers: list[Json] = []
    for number, name in enumerate(names):
        detail = _mapping(client().call("GET", f"/v1/units/{quote(name)}"))
        unit = _mapping(detail["unit"])
        written, elsewhere = _last_lines(name, lines)
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
        if elsewhere:
            say(f"\nits journal is on that machine: `skerry unit journal {name}` reads it there")
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
    try:
        for line in _journal(name, lines=lines, follow=follow):
            if form == "json":
                print(json.dumps(line, ensure_ascii=False), flush=True)
            else:
                print(str(line["message"]) if form == "cat" else _short(line), flush=True)
    except ApiError as error:
        if error.code != ELSEWHERE:
            raise
        _journal_there(name, lines=lines, follow=follow, form=form)


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


def explain(name: str, *, as_json: bool) -> None:
    """Why a unit is where it is."""
    answer = _mapping(client().call("GET", f"/v1/units/{quote(name)}/explain"))
    if as_json:
        emit_json(dict(answer))
        return
    node = f" on {answer['node']}" if answer.get("node") else ""
    print(f"{name} is {answer['standing']}{node}: {answer['why']}")
    refusals = answer.get("refusals")
    rows = [
        [str(refusal["constraint"]), str(refusal["nodes"]), str(refusal["reason"])]
        for refusal in (refusals if isinstance(refusals, list) else [])
        if isinstance(refusal, dict)
    ]
    if rows:
        print()
        table(rows, ["asks", "failing", "because"])
    if answer.get("nodes"):
        print(f"\n{answer['able']} of {answer['nodes']} machines can take it now")


def _status(unit: Mapping[str, Json]) -> None:
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
        *(("On", text) for text in _elsewhere(unit)),
        ("Hash", str(unit["hash"])),
        ("Drop-In", _joined(unit["drop_ins"])),
        ("Files", _joined(unit["files"])),
        ("Problem", str(unit["problem"] or "")),
    ]
    for name, text in rows:
        if text:
            print(f"{name:>9}: {text}")


def _elsewhere(unit: Mapping[str, Json]) -> list[str]:
    """How the unit is on machines beside its own: a Global one, or one that moves."""
    states = unit.get("states")
    held = [_mapping(state) for state in states] if isinstance(states, list) else []
    return [
        f"{state['machine']}: {state['active']} ({state['sub']})"
        + (f", {state['problem']}" if state["problem"] else "")
        for state in held
        if state["machine"] != unit["machine"]
    ]


def _last_lines(name: str, lines: int) -> tuple[list[Mapping[str, Json]], bool]:
    """The last lines of a unit's journal, and whether that is on a machine where they cannot be read from."""
    if not lines:
        return [], False
    try:
        return list(_journal(name, lines=lines, follow=False)), False
    except ApiError as error:
        if error.code != ELSEWHERE:
            raise
        return [], True


def _journal_there(name: str, *, lines: int, follow: bool, form: str) -> None:
    """Read the journal on the unit's own machine, as fleetctl did; does not return."""
    from skerry.entry.cli import node_ssh

    unit = _mapping(_mapping(client().call("GET", f"/v1/units/{quote(name)}"))["unit"])
    states = unit.get("states")
    held = [_mapping(state) for state in states] if isinstance(states, list) else []
    there = next((state for state in held if state["machine"] == unit["machine"]), held[0])
    output = {"json": "json", "cat": "cat"}.get(form, "short")
    command = [
        "journalctl",
        "--no-pager",
        f"--unit={there['unit']}",
        f"--lines={lines}",
        f"--output={output}",
    ]
    user = os.environ.get("SKERRY_SSH_USER")
    node_ssh.shell(str(there["machine"]), [*command, *(["--follow"] if follow else [])], user=user)


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
