"""`skerry unit`: what fleetctl did, for units of systemd and for Quadlet files.

Every command is one request to skerryd, whatever number of units it names. Start cost is a measured
goal: this module imports click, our client and names; what shows things is imported where it is used.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeVar

import click

from skerry.entry.cli.api import client
from skerry.entry.cli.unit_files import asked, offers
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from click.shell_completion import CompletionItem

    from skerry.kit.http import Json

F = TypeVar("F", bound="Callable[..., object]")

# What fleetctl said of a unit that a verb has brought where it was to be.
_REACHED = {
    "submit": "Unit {name} inactive",
    "load": "Unit {name} loaded{where}",
    "start": "Unit {name} launched{where}",
    "stop": "Unit {name} loaded{where}",
    "unload": "Unit {name} inactive",
    "destroy": "Destroyed {name}",
}
_BRINGING = frozenset({"submit", "load", "start"})


class UnitsFailedError(SkerryError):
    """Units did not get where they were to be."""


@click.group()
def unit() -> None:
    """Run units: containers and everything else that systemd runs.

    UNIT is a name (`web` means web.service), the path of a file, or a glob of stored units. A unit is
    looked for in this order: stored under its name, a file here, its stored template, its template here.
    """


def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of stored units, then files; a shell that completes is not to be told of errors."""
    from click.shell_completion import CompletionItem as Item

    try:
        answer = client(timeout_s=1).call("GET", "/v1/units")
    except SkerryError:
        answer = None
    stored = answer.get("units") if isinstance(answer, dict) else None
    names = [str(u["name"]) for u in stored if isinstance(u, dict)] if isinstance(stored, list) else []
    found = [Item(name) for name in names if name.startswith(incomplete)]
    return found or [Item(incomplete, type="file")]


def _nodes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from skerry.entry.cli.node import complete_node

    return complete_node(ctx, param, incomplete)


_several = click.argument("units", metavar="UNIT...", nargs=-1, required=True, shell_complete=complete)
_one = click.argument("name", metavar="UNIT", shell_complete=complete)
_as_json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
_no_block = click.option("--no-block", is_flag=True, help="Do not wait until it is done.")
_replace = click.option("--replace", is_flag=True, help="Replace stored units that differ from the files.")
_no_legend = click.option("--no-legend", is_flag=True, help="Print no line of column names.")
_full = click.option("-l", "--full", is_flag=True, help="Shorten nothing.")
_fields = click.option("--fields", metavar="A,B,...", help="The columns to print.")
_node = click.option(
    "--node", metavar="NODE", default="", shell_complete=_nodes, help="Only what is on this machine."
)
_watch = click.option("--watch", is_flag=True, help="Go on with a line for every change.")


@unit.command()
@_several
@_replace
@_as_json
def submit(units: tuple[str, ...], *, replace: bool, as_json: bool) -> None:
    """Store units without placing them on a machine."""
    _order("submit", units, wait=False, replace=replace, as_json=as_json)


@unit.command()
@_several
@_replace
@_no_block
@_as_json
def load(units: tuple[str, ...], *, replace: bool, no_block: bool, as_json: bool) -> None:
    """Place units on a machine without starting them."""
    _order("load", units, wait=not no_block, replace=replace, as_json=as_json)


@unit.command()
@_several
@_replace
@_no_block
@_as_json
def start(units: tuple[str, ...], *, replace: bool, no_block: bool, as_json: bool) -> None:
    """Start units, and wait until they run."""
    _order("start", units, wait=not no_block, replace=replace, as_json=as_json)


@unit.command()
@_several
@_no_block
@_as_json
def stop(units: tuple[str, ...], *, no_block: bool, as_json: bool) -> None:
    """Stop units; they stay loaded."""
    _order("stop", units, wait=not no_block, as_json=as_json)


@unit.command()
@_several
@_no_block
@_as_json
def unload(units: tuple[str, ...], *, no_block: bool, as_json: bool) -> None:
    """Stop units and take them off their machine; they stay stored."""
    _order("unload", units, wait=not no_block, as_json=as_json)


@unit.command()
@_several
@_no_block
@_as_json
def destroy(units: tuple[str, ...], *, no_block: bool, as_json: bool) -> None:
    """Stop units and forget them."""
    _order("destroy", units, wait=not no_block, as_json=as_json)


@unit.command("list")
@_fields
@_node
@_no_legend
@_full
@_watch
@_as_json
def list_units(
    *, fields: str | None, node: str, no_legend: bool, full: bool, watch: bool, as_json: bool
) -> None:
    """List the units that are on a machine, in systemd's words; one line for each unit and machine.

    Fields: unit, machine, load, active, sub, hash, desc, problem.
    """
    from skerry.entry.cli import unit_list

    listing = unit_list.Listing(fields, node=node, legend=not no_legend, full=full, as_json=as_json)
    listing.show(unit_list.LIST, watch=watch)


@unit.command("list-files")
@_fields
@_node
@_no_legend
@_full
@_watch
@_as_json
def list_files(
    *, fields: str | None, node: str, no_legend: bool, full: bool, watch: bool, as_json: bool
) -> None:
    """List every unit that is stored, with the state that is wanted and the one it is in.

    Fields: unit, hash, dstate, state, target, global, desc, tmachine, problem.
    """
    from skerry.entry.cli import unit_list

    listing = unit_list.Listing(fields, node=node, legend=not no_legend, full=full, as_json=as_json)
    listing.show(unit_list.LIST_FILES, watch=watch)


@unit.command()
@_one
@_as_json
def explain(name: str, *, as_json: bool) -> None:
    """Tell why a unit is on its machine, or why no machine takes it.

    For a unit that waits: each thing that it asks for, and how many machines fail it.
    """
    from skerry.entry.cli import unit_show

    unit_show.explain(asked(name).name, as_json=as_json)


@unit.command()
@_several
@click.option("-n", "--lines", default=10, show_default=True, help="How many lines of the journal.")
@_as_json
def status(units: tuple[str, ...], *, lines: int, as_json: bool) -> None:
    """Show how units are, with the last lines of their journal."""
    from skerry.entry.cli import unit_show

    unit_show.status([asked(word).name for word in units], lines=lines, as_json=as_json)


@unit.command()
@_one
@_as_json
def cat(name: str, *, as_json: bool) -> None:
    """Print a unit's file and its drop-ins as they were submitted."""
    from skerry.entry.cli import unit_show

    unit_show.cat(asked(name).name, as_json=as_json)


@unit.command()
@_one
@click.option("-n", "--lines", default=10, show_default=True, help="How many of the last lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines as they come.")
@click.option("--output", type=click.Choice(["short", "cat"]), default="short", help="With time, or bare.")
@_as_json
def journal(name: str, *, lines: int, follow: bool, output: str, as_json: bool) -> None:
    """Print what a unit wrote."""
    from skerry.entry.cli import unit_show

    form = "json" if as_json else output
    unit_show.journal(asked(name).name, lines=lines, follow=follow, form=form)


@unit.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@_as_json
def verify(files: tuple[str, ...], *, as_json: bool) -> None:
    """Check unit files as systemd and Podman would; nothing is stored."""
    from skerry.entry.cli import unit_show

    unit_show.verify(files, as_json=as_json)


def _order(verb: str, units: Iterable[str], *, wait: bool, replace: bool = False, as_json: bool) -> None:
    """Send one order and tell what came of each unit. Raises UnitsFailedError."""
    wanted = [asked(word) for word in units]
    order: dict[str, Json] = {
        "verb": verb,
        "names": [u.name for u in wanted],
        "replace": replace,
        "wait": wait,
    }
    if verb in _BRINGING:
        order["offers"] = offers(wanted)
    machine = ""
    accepted: dict[str, Json] = {}
    last: dict[str, dict[str, Json]] = {}
    waiting: set[str] = set()
    for line in client(timeout_s=None).lines("POST", "/v1/units", order):
        answer = json.loads(line)
        if not wait or "accepted" in answer:
            accepted = answer if not wait else answer["accepted"]
            machine = str(accepted["machine"])
            waiting = _begin(verb, accepted, wait=wait, as_json=as_json)
        else:
            outcome = answer["outcome"]
            last[outcome["name"]] = outcome
            _tell(verb, outcome, waiting, machine, as_json=as_json)
    if as_json:
        from skerry.entry.cli.output import emit_json

        emit_json({**accepted, "outcomes": list(last.values())})
    _fail(verb, last, waiting)


def _begin(verb: str, accepted: dict[str, Json], *, wait: bool, as_json: bool) -> set[str]:
    """Say what was accepted; the names whose outcome is to be told."""
    warnings, units, global_units = (accepted[key] for key in ("warnings", "units", "global_units"))
    assert isinstance(warnings, list)  # noqa: S101
    assert isinstance(units, list)  # noqa: S101
    assert isinstance(global_units, list)  # noqa: S101
    if warnings:
        from skerry.entry.cli.output import warn

        for warning in warnings:
            warn(str(warning))
    if as_json:
        return {str(name) for name in units}
    for name in units:
        if verb == "submit":
            print(_REACHED[verb].format(name=name))
        elif not wait:
            kind = "global unit" if name in global_units else "unit"
            print(f"Triggered {kind} {name} {verb}")
    return {str(name) for name in units}


def _tell(verb: str, outcome: dict[str, Json], waiting: set[str], machine: str, *, as_json: bool) -> None:
    name = str(outcome["name"])
    if outcome["done"] is True:
        waiting.discard(name)
        if not as_json:
            machine = str(outcome.get("machine") or machine)
            where = f" on {machine}" if machine else ""
            print(_REACHED[verb].format(name=name, where=where), flush=True)
    elif outcome["done"] is None and outcome["said"]:
        import sys

        if sys.stderr.isatty():
            print(f"{name}: {outcome['said']} …", file=sys.stderr)


def _fail(verb: str, last: dict[str, dict[str, Json]], waiting: set[str]) -> None:
    failed = [outcome for outcome in last.values() if outcome["done"] is False]
    if failed:
        said = "\n".join(f"unit {outcome['name']}: {outcome['said']}" for outcome in failed)
        first = failed[0]["name"]
        hint = f"`skerry unit status {first}` and `skerry unit journal {first}` tell more"
        if not failed[0].get("machine"):
            hint = f"`skerry unit explain {first}` tells more"
        raise UnitsFailedError(said, hint=hint)
    open_names = sorted(waiting & last.keys())
    if open_names:
        raise UnitsFailedError(
            f"skerryd stopped before it was known whether {', '.join(open_names)} would {verb}"
        )
