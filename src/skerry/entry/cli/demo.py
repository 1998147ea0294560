"""`skerry demo`: compose the system, boot it, run containers on it, fetch their page; leaves it running.

`skerry demo update` and `skerry demo cluster` are stories of their own, in files of their own.

Every command that it runs on the machine is shown as one would type it there.
"""

from __future__ import annotations

import re
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.kit.progress import Phase, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from skerry.kit.progress import Reporter
    from skerry_lab.node import Node

LAB = "demo"
NODE = "one"
EXAMPLES = Path(__file__).parents[4] / "docs" / "examples"
UNITS = ("hello-world.service", "my-service.service", "my-advanced-service.service")
BOOT_TIMEOUT_S = 300
UNIT_TIMEOUT_S = 300
RUNNING = re.compile(r"\sactive\s+running")
FAILED = re.compile(r"\sfailed\s")


@click.group(invoke_without_command=True)
@click.pass_context
def demo(context: click.Context) -> None:
    """Show the whole: compose the system, boot it, run containers, fetch their page.

    Takes some minutes the first time. The machine is left running, to look around.
    """
    if context.invoked_subcommand is None:
        _tell(_show)


@demo.command()
def update() -> None:
    """Show an update, and the way back from one that fails.

    Takes some minutes more the first time. The machine is left running, to look around.
    """
    from skerry.entry.cli import demo_update

    _tell(demo_update.show)


@demo.command()
def cluster() -> None:
    """Show a cluster of three machines that loses one, whose units move.

    Needs root, for the machines are containers. They are left running, to look around.
    """
    from skerry.entry.cli import demo_cluster

    _tell(demo_cluster.show)


def _tell(story: Callable[[Reporter], None]) -> None:
    from skerry.entry.cli.output import progress

    started = time.monotonic()
    with progress() as report:
        story(report)
    click.echo(f"\nDone in {time.monotonic() - started:.0f} s.")


def _show(report: Reporter) -> None:
    from skerry.image.compose.build import Store, build
    from skerry_lab.lab import Lab
    from skerry_lab.node import NodeImage, NodeSpec

    heading("The system, composed from Debian packages")
    image = build(report=report)
    click.echo(
        f"Skerry {image.version}: Debian {image.suite}, {image.packages} packages, Linux {image.kernel}"
    )
    clear(LAB)
    heading("A machine, booted from it through UEFI, with this cloud-config")
    cloud_config = (EXAMPLES / "cloud-config.yaml").read_text()
    click.echo(indented(cloud_config))
    lab = Lab.create(LAB, report=report)
    node = lab.add(
        NodeSpec(NODE, cloud_config=cloud_config),
        "qemu",
        NodeImage(disk=Store().path(image.label, "disk.raw"), tree=None),
    )
    with waiting(report, "boot"):
        node.start()
        node.wait_ready(timeout_s=BOOT_TIMEOUT_S)
    on(node, "skerry host status")
    heading("The units of CoreOS's and fleet's own documentation, as they stand there")
    for name in UNITS:
        node.put(f"/var/roothome/{name}", (EXAMPLES / name).read_text())
    with waiting(report, "units"):
        on(node, f"skerry unit start --no-block {' '.join(UNITS)}")
        _all_running(node)
    on(node, "skerry unit list")
    on(node, "docker ps --format 'table {{.Names}} {{.Image}} {{.Ports}}'")
    on(node, "etcdctl ls --recursive")
    heading("The page that the container serves")
    host, port = node.forward(8081)
    click.echo(f"$ curl http://{host}:{port}/")
    click.echo(indented(_fetch(f"http://{host}:{port}/")))
    farewell(LAB, "skerry unit list`, `docker ps")


def clear(name: str) -> None:
    """Remove what an earlier demo left."""
    from skerry_lab.errors import LabError
    from skerry_lab.lab import Lab

    try:
        earlier = Lab.open(name)
    except LabError:
        return
    earlier.down()


def _all_running(node: Node) -> None:
    """Until every unit runs, bounded; what a failed one has to say is shown."""
    from skerry_lab.errors import LabError

    deadline = time.monotonic() + UNIT_TIMEOUT_S
    while True:
        listed = node.run(["skerry", "unit", "list", "--no-legend"]).text
        lines = [line for line in listed.splitlines() if line.split()[0] in UNITS]
        if len(lines) == len(UNITS) and all(RUNNING.search(line) for line in lines):
            return
        if FAILED.search(listed) or time.monotonic() > deadline:
            journal = node.try_run(["journalctl", "-b", "-n", "40", "--no-pager", "-p", "warning"]).text
            raise LabError(f"the units did not come up\n{listed}\n{journal}")
        time.sleep(1)


def _fetch(address: str) -> str:
    import urllib.error
    import urllib.request

    from skerry_lab.errors import LabError

    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310 - an address of our own
                text: str = answer.read().decode(errors="replace")
                return text
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise LabError(f"{address} does not answer: {error}") from error
            time.sleep(0.5)


def on(node: Node, command: str) -> None:
    """Run a command on the machine, shown as one types it. Raises LabError where it fails."""
    from skerry_lab.errors import LabError

    click.echo(f"{NODE}# {command}")
    done = node.try_run(["sh", "-c", f"cd /root && {command}"], timeout_s=UNIT_TIMEOUT_S)
    click.echo(indented(done.text + done.error_text))
    if done.status != 0:
        raise LabError(f"{command} failed with status {done.status} on {NODE}")


@contextmanager
def waiting(report: Reporter, step: str) -> Iterator[None]:
    """Show that something takes its time."""
    report(Progress(step, Phase.STARTED))
    yield
    report(Progress(step, Phase.DONE))


def heading(text: str) -> None:
    click.echo(f"\n=== {text}\n")


def indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.rstrip().splitlines())


def farewell(name: str, tries: str) -> None:
    """Say how to look around, and how to stop."""
    skerry = Path(sys.argv[0])
    if skerry.is_relative_to(Path.cwd()):
        skerry = skerry.relative_to(Path.cwd())
    heading("It is running. To look around, and to stop:")
    for command, what in (
        (f"{skerry} lab ssh {name}/{NODE}", f"a shell on the machine: try `{tries}`"),
        (f"{skerry} lab console {name}/{NODE}", "its console"),
        (f"{skerry} lab logs {name}/{NODE}", "its journal"),
        (f"{skerry} lab down --name {name}", "stop it, and remove all that the demo made"),
    ):
        click.echo(f"    {command:<40} {what}")
