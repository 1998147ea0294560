"""`skerry lab`: nodes on this machine, to try things out; what `up` made, `down` removes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from types import FrameType

    from skerry.kit.http import Json
    from skerry.kit.progress import Reporter
    from skerry_lab.lab import Lab
    from skerry_lab.node import Node, NodeImage

DEFAULT_NAME = "lab"
PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.group()
def lab() -> None:
    """Run nodes on this machine, to try things out.

    A node is a virtual machine that boots the image's disk (qemu), or a container of its tree (nspawn, as
    root, ready in a second). NODE is a node's name, or LAB/NODE where several labs have one of that name.
    """


@lab.command()
@click.option("--name", default=DEFAULT_NAME, show_default=True, help="What the lab is called.")
@click.option("--nodes", type=click.IntRange(1, 50), default=1, show_default=True, help="How many nodes.")
@click.option("--kind", type=click.Choice(["qemu", "nspawn"]), default="qemu", show_default=True)
@click.option(
    "--cloud-config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A document for every node.",
)
@click.option("--image", "label", help="Which image; the newest where none is said.")
@click.option(
    "--memory",
    type=click.IntRange(256),
    default=1024,
    show_default=True,
    help="MiB for each virtual machine.",
)
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def up(
    *,
    name: str,
    nodes: int,
    kind: str,
    cloud_config: Path | None,
    label: str | None,
    memory: int,
    as_json: bool,
) -> None:
    """Start a lab and wait until its nodes are ready.

    A start that fails, or is interrupted, leaves nothing behind.
    """
    from skerry.entry.cli.output import emit_json, progress, say
    from skerry.kit.progress import Phase, Progress
    from skerry_lab.lab import Lab
    from skerry_lab.node import NodeSpec

    signal.signal(signal.SIGTERM, interrupt)
    text = cloud_config.read_text() if cloud_config else ""
    with progress(as_json=as_json) as report:
        source = _image(label, report)
        made = Lab.create(name, report=report)
        try:
            specs = [NodeSpec(f"node{number + 1}", text, memory_mib=memory) for number in range(nodes)]
            started = [made.add(spec, kind, source) for spec in specs]
            for node in started:
                report(Progress(f"node {node.name}", Phase.STARTED, note="booting"))
                node.start()
            for node in started:
                node.wait_ready(timeout_s=120 + 60 * nodes)
                report(Progress(f"node {node.name}", Phase.DONE, note="ready"))
        except BaseException:
            made.down()
            raise
    if as_json:
        emit_json([_facts(made, node) for node in started])
    else:
        say(f"look around: skerry lab ssh {started[0].name}")
        say(f"stop: skerry lab down --name {name}")


@lab.command("list")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def list_(*, as_json: bool) -> None:
    """List the nodes of all labs on this machine."""
    from skerry.entry.cli.output import emit_json, table
    from skerry_lab.lab import labs

    found = [(made, node) for made in labs() for node in made.nodes()]
    if as_json:
        emit_json([_facts(made, node) for made, node in found])
    else:
        rows = [
            [made.name, node.name, node.kind, "running" if node.running() else "off"] for made, node in found
        ]
        table(rows, ["lab", "node", "kind", "state"])


@lab.command(context_settings=PASS_ON)
@click.argument("node")
@click.argument("command", nargs=-1)
def ssh(node: str, command: tuple[str, ...]) -> None:
    """Open a root shell on NODE, or run COMMAND there."""
    words = command[1:] if command[:1] == ("--",) else command
    argv = _find(node)[1].command(words, terminal=True)
    os.execvp(argv[0], argv)  # noqa: S606 - the person's own terminal goes with it


@lab.command()
@click.argument("node")
@click.option("-f", "--follow", is_flag=True, help="Show new output as it comes.")
def console(node: str, *, follow: bool) -> None:
    """Show everything NODE wrote to its console."""
    log = str(_find(node)[1].console_log)
    argv = ["tail", "-n", "+1", *(["-f"] if follow else []), log]
    os.execvp(argv[0], argv)  # noqa: S606


@lab.command(context_settings=PASS_ON)
@click.argument("node")
@click.argument("arguments", nargs=-1)
def logs(node: str, arguments: tuple[str, ...]) -> None:
    """Show NODE's journal; ARGUMENTS are journalctl's (-f, -u UNIT, -p err…)."""
    argv = _find(node)[1].command(["journalctl", "--no-pager", *arguments], terminal=True)
    os.execvp(argv[0], argv)  # noqa: S606


@lab.command()
@click.option("--name", default=DEFAULT_NAME, show_default=True, help="Which lab.")
@click.option("--all", "everything", is_flag=True, help="Every lab on this machine, and the unpacked trees.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def down(*, name: str, everything: bool, as_json: bool) -> None:
    """Stop a lab and remove every process, namespace and file of it."""
    from skerry.entry.cli.output import emit_json, say
    from skerry_lab.lab import Lab, forget_trees, labs

    gone = list(labs()) if everything else [Lab.open(name)]
    for made in gone:
        made.down()
        say(f"lab {made.name} is gone")
    if everything:
        forget_trees()
    if as_json:
        emit_json([made.name for made in gone])


def interrupt(_number: int, _frame: FrameType | None) -> None:
    """What SIGTERM does: the same as Ctrl-C."""
    raise KeyboardInterrupt


def _image(label: str | None, report: Reporter) -> NodeImage:
    """The image to boot; built first where there is none at all."""
    from skerry.image.compose.build import Store, build
    from skerry_lab.node import NodeImage

    store = Store()
    if label is None:
        known = store.list()
        label = known[0].label if known else build(report=report).label
    else:
        store.read(label)
    return NodeImage(store.path(label, "disk.raw"), store.path(label, "tree.tar"))


def _find(name: str) -> tuple[Lab, Node]:
    from skerry_lab.errors import LabError
    from skerry_lab.lab import Lab, labs

    lab_name, slash, node_name = name.rpartition("/")
    if slash:
        made = Lab.open(lab_name)
        return made, made.node(node_name)
    found = [made for made in labs() if name in made.names()]
    if len(found) == 1:
        return found[0], found[0].node(name)
    if not found:
        raise LabError(f"no lab has a node {name}", hint="skerry lab list shows those there are")
    places = ", ".join(f"{made.name}/{name}" for made in found)
    raise LabError(f"several labs have a node {name}", hint=f"say which: {places}")


def _facts(made: Lab, node: Node) -> dict[str, Json]:
    return {"lab": made.name, "name": node.name, "kind": node.kind, "running": node.running()}
