"""What `skerry node` shows: the list with fleet's columns, one machine, a drain as it goes."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import msgspec

from skerry.entry.cli.api import connect
from skerry.entry.cli.output import (
    BOLD,
    GREEN,
    RED,
    YELLOW,
    Lines,
    colour,
    emit_json,
    fields,
    say,
    show_duration,
    show_size,
    table,
)
from skerry.entry.rest.views import NodeEvent
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from skerry.entry.rest.views import NodeView, UnitView
    from skerry.kit.http import Json

    Columns = Mapping[str, Callable[[NodeView, bool], str]]

DEFAULT_FIELDS = "machine,ip,metadata,name,state,units"
_COLOURS = {"ready": GREEN, "lost": RED, "left": YELLOW}


class DrainError(SkerryError):
    """A drain ended before the machine was empty."""


def state(node: NodeView) -> str:
    """In one word or two: how it is, and what people want of it."""
    wanted = "draining" if node.draining else "cordoned" if node.cordoned else ""
    return f"{node.liveness},{wanted}" if wanted else str(node.liveness)


def metadata(node: NodeView) -> str:
    return ",".join(f"{key}={value}" for key, value in node.metadata.items())


_COLUMNS: Columns = {
    "machine": lambda n, full: n.id if full else f"{n.id[:8]}...",
    "ip": lambda n, full: n.address,
    "metadata": lambda n, full: metadata(n),
    "name": lambda n, full: n.hostname,
    "state": lambda n, full: state(n),
    "units": lambda n, full: str(n.units),
    "role": lambda n, full: n.role.value,
    "cpus": lambda n, full: str(n.cpus or ""),
    "memory": lambda n, full: show_size(n.memory_bytes) if n.memory_bytes else "",
    "disk": lambda n, full: show_size(n.disk_free_bytes) if n.disk_bytes else "",
    "os": lambda n, full: n.os_version,
    "version": lambda n, full: n.skerry_version,
    "kernel": lambda n, full: n.kernel,
    "since": lambda n, full: _when(n.since),
}


def list_nodes(
    labels: Sequence[str], asked: str | None, *, legend: bool, full: bool, watch: bool, as_json: bool
) -> None:
    """Every machine, or those with all of the labels; with `watch` the changes as they come."""
    chosen = fields(asked, _COLUMNS, DEFAULT_FIELDS)
    skerry = connect()
    # The revision first: what changes while the list is read is told twice rather than never.
    revision = skerry.cluster().revision if watch else 0
    nodes = list(skerry.nodes(*labels))
    rows = [[_COLUMNS[name](node, full) for name in chosen] for node in nodes]
    if as_json and not watch:
        emit_json([_plain(node) for node in nodes])
        return
    if as_json:
        for node in nodes:
            emit_json(_plain(node))
    else:
        table(rows, chosen, legend=legend, full=full)
        sys.stdout.flush()
    if not watch:
        return
    lines = Lines(rows, chosen, legend=legend)
    for event in skerry.watch(revision, kinds="node"):
        change = event.change
        if not isinstance(change, NodeEvent) or change.node is None:
            continue
        if any(change.node.metadata.get(k) != v for k, _, v in (label.partition("=") for label in labels)):
            continue
        if as_json:
            emit_json(_plain(change.node))
        else:
            lines.add([_COLUMNS[name](change.node, full) for name in chosen])


def show(word: str, *, as_json: bool) -> None:
    """A paragraph on one machine, then its units."""
    skerry = connect()
    node = skerry.node(word)
    units = list(skerry.units(node=node.id))
    if as_json:
        emit_json({**_plain(node), "units": [msgspec.to_builtins(unit) for unit in units]})
        return
    code = _COLOURS.get(node.liveness)
    dot = colour("●", code) if code else "○"
    print(f"{dot} {colour(node.hostname or node.id, BOLD)}")
    since = f" for {_when(node.since)}" if node.since else ""
    rows = [
        ("Machine", node.id),
        ("State", (colour(state(node), code) if code else state(node)) + since),
        ("Role", node.role.value),
        ("Address", ", ".join(node.addresses)),
        ("Metadata", metadata(node)),
        ("Processors", str(node.cpus or "")),
        ("Memory", show_size(node.memory_bytes) if node.memory_bytes else ""),
        ("Disk", _disk(node)),
        ("System", " ".join(word for word in (node.os_version, node.kernel, node.architecture) if word)),
        ("Skerry", node.skerry_version),
    ]
    for name, text in rows:
        if text:
            print(f"{name:>10}: {text}")
    if units:
        print()
        table([_unit(unit, node.id) for unit in units], ["unit", "active", "sub", "wanted"])


def tell(node: NodeView, *, as_json: bool) -> None:
    """What a machine is after a change."""
    if as_json:
        emit_json(_plain(node))
    else:
        labels = metadata(node)
        print(f"{node.hostname or node.id}: {state(node)}" + (f", {labels}" if labels else ""))


def drain(word: str, *, wait: bool, as_json: bool) -> None:
    """Follow a drain to its end. Raises DrainError where it is called off, or breaks off."""
    last = None
    for last in connect().drain(word, wait=wait):
        if as_json:
            plain: Json = msgspec.to_builtins(last)
            emit_json(plain)
        elif last.done or not wait:
            print(f"{word}: {last.said}", flush=True)
        else:
            left = ", ".join(last.left[:5]) + (" …" if len(last.left) > 5 else "")
            say(f"{word}: {last.said}: {left}")
    if wait and (last is None or not last.done):
        said = "skerryd stopped before it was known how the drain went" if last is None else last.said
        raise DrainError(f"{word}: {said}", hint="`skerry node show` tells what is left there")


def _unit(unit: UnitView, node: str) -> list[str]:
    """The unit in the words of this machine."""
    there = next((state for state in unit.states if state.machine == node), None)
    if there is None:
        return [unit.name, "", "", unit.desired.value]
    return [unit.name, there.active, there.sub, unit.desired.value]


def _disk(node: NodeView) -> str:
    if not node.disk_bytes:
        return ""
    return f"{show_size(node.disk_bytes)}, {show_size(node.disk_free_bytes)} free"


def _when(since: float) -> str:
    if not since:
        return ""
    return show_duration(max(0.0, time.time() - since))


def _plain(node: NodeView) -> dict[str, Json]:
    plain: dict[str, Json] = msgspec.to_builtins(node)
    return plain
