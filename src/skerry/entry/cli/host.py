"""`skerry host`: this machine, as its daemon sees it, and the versions it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from skerry.entry.cli import host_channel, host_update
from skerry.entry.cli.api import client
from skerry.entry.cli.host_health import health

if TYPE_CHECKING:
    from collections.abc import Mapping

    from skerry.kit.http import Json


@click.group()
def host() -> None:
    """Look at this machine, and update it: version, slots, health."""


host.add_command(health)


for _verb in (*host_update.VERBS, *host_channel.VERBS):
    host.add_command(_verb)


@host.command()
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def status(*, as_json: bool) -> int:
    """Show version, slot, how it came up, its units, and what is wrong.

    Exits with 1 where something is wrong.
    """
    from skerry.entry.cli.output import emit_json
    from skerry.kit.errors import SkerryError

    answer = _mapping(client().call("GET", "/v1/host"))
    try:
        units = _mapping(client().call("GET", "/v1/units")).get("units")
    except SkerryError:
        units = None  # the host's own problems say why
    counts = _count(units if isinstance(units, list) else [])
    if as_json:
        emit_json({**answer, "units": dict(counts)})
    else:
        _show(answer, counts)
    return 0 if answer["healthy"] else 1


def _show(answer: Mapping[str, Json], counts: Mapping[str, Json]) -> None:
    from skerry.entry.cli.output import GREEN, RED, colour, show_duration, show_size

    system, boot, memory = (_mapping(answer[key]) for key in ("os", "boot", "memory"))
    uptime, available, total, own = (
        float(str(part[key]))
        for part, key in (
            (boot, "uptime_s"),
            (memory, "available_bytes"),
            (memory, "total_bytes"),
            (memory, "skerryd_bytes"),
        )
    )
    healthy = colour("healthy", GREEN) if answer["healthy"] else colour("not healthy", RED)
    units = ", ".join(f"{number} {state}" for state, number in counts.items() if state != "stored")
    rows = [
        ("Host", f"{answer['hostname']} ({healthy})"),
        ("Machine", str(answer["machine_id"])),
        ("System", str(system["name"])),
        ("Image", str(system["image_version"] or system["version"])),
        ("Kernel", str(system["kernel"])),
        ("Slot", str(boot["slot"])),
        ("Verity", f"{boot['verity']} {str(boot['root_hash'])[:16]}".strip()),
        ("Booted", f"{show_duration(uptime)} ago" + (f" from {boot['entry']}" if boot["entry"] else "")),
        ("Memory", f"{show_size(total - available)} of {show_size(total)} used, skerryd {show_size(own)}"),
        ("Units", f"{counts['stored']} stored" + (f": {units}" if units else "")),
        ("Provision", _provision(answer["provision"])),
        ("Skerry", str(answer["skerry_version"])),
    ]
    from skerry.entry.cli.host_show import status_rows

    rows += status_rows(_mapping(answer.get("update")))
    for name, text in rows:
        if text:
            print(f"{name:>9}: {text}")
    problems = answer["problems"]
    for problem in problems if isinstance(problems, list) else []:
        print(f"{'Problem':>9}: {problem}")
    report = answer["provision"]
    found = report.get("problems") if isinstance(report, dict) else None
    for problem in found if isinstance(found, list) else []:
        shown = problem.get("shown") or problem.get("message") if isinstance(problem, dict) else problem
        print(f"{'':>9}  {shown}")


def _provision(report: Json) -> str:
    """One line of the report that provisioning left."""
    if not isinstance(report, dict):
        return "nothing was handed to this machine"
    problems = report.get("problems")
    count = len(problems) if isinstance(problems, list) else 0
    source = str(report.get("source") or "a document")
    return f"from {source}, {count} problem{'s' if count != 1 else ''}"


def _count(units: list[Json]) -> dict[str, Json]:
    """How many units are stored, and in each of systemd's states."""
    counts: dict[str, int] = {}
    for unit in units:
        state = unit.get("active") if isinstance(unit, dict) else ""
        if state:
            counts[str(state)] = counts.get(str(state), 0) + 1
    return {"stored": len(units), **dict(sorted(counts.items()))}


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}
