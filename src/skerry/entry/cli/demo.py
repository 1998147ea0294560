"""`skerry demo`: compose the system, boot it, run containers on it, fetch their page; leaves it running.

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
    from collections.abc import Iterator

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


@click.command()
def demo() -> None:
    """Show the whole: compose the system, boot it, run containers, fetch their page.

    Takes some minutes the first time. The machine is left running, to look around.
    """
    from skerry.entry.cli.output import progress

    started = time.monotonic()
    with progress() as report:
        _show(report)
    click.echo(f"\nDone in {time.monotonic() - started:.0f} s.")


def _show(report: Reporter) -> None:
    from skerry.image.compose.build import Store, build
    from skerry_lab.lab import Lab
    from skerry_lab.node import NodeImage, NodeSpec

    _heading("The system, composed from Debian packages")
    image = build(report=report)
    click.echo(
        f"Skerry {image.version}: Debian {image.suite}, {image.packages} packages, Linux {image.kernel}"
    )
    _clear()
    _heading("A machine, booted from it through UEFI, with this cloud-config")
    cloud_config = (EXAMPLES / "cloud-config.yaml").read_text()
    click.echo(_indented(cloud_config))
    lab = Lab.create(LAB, report=report)
    node = lab.add(
        NodeSpec(NODE, cloud_config=cloud_config),
        "qemu",
        NodeImage(disk=Store().path(image.label, "disk.raw"), tree=None),
    )
    with _waiting(report, "boot"):
        node.start()
        node.wait_ready(timeout_s=BOOT_TIMEOUT_S)
    _on(node, "skerry host status")
    _heading("The units of CoreOS's and fleet's own documentation, as they stand there")
    for name in UNITS:
        node.put(f"/var/roothome/{name}", (EXAMPLES / name).read_text())
    with _waiting(report, "units"):
        _on(node, f"skerry unit start --no-block {' '.join(UNITS)}")
        _all_running(node)
    _on(node, "skerry unit list")
    _on(node, "docker ps --format 'table {{.Names}} {{.Image}} {{.Ports}}'")
    _on(node, "etcdctl ls --recursive")
    _heading("The page that the container serves")
    host, port = node.forward(8081)
    click.echo(f"$ curl http://{host}:{port}/")
    click.echo(_indented(_fetch(f"http://{host}:{port}/")))
    _farewell()


def _clear() -> None:
    from skerry_lab.errors import LabError
    from skerry_lab.lab import Lab

    try:
        earlier = Lab.open(LAB)
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


def _on(node: Node, command: str) -> None:
    from skerry_lab.errors import LabError

    click.echo(f"{NODE}# {command}")
    done = node.try_run(["sh", "-c", f"cd /root && {command}"], timeout_s=UNIT_TIMEOUT_S)
    click.echo(_indented(done.text + done.error_text))
    if done.status != 0:
        raise LabError(f"{command} failed with status {done.status} on {NODE}")


@contextmanager
def _waiting(report: Reporter, step: str) -> Iterator[None]:
    report(Progress(step, Phase.STARTED))
    yield
    report(Progress(step, Phase.DONE))


def _heading(text: str) -> None:
    click.echo(f"\n=== {text}\n")


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.rstrip().splitlines())


def _farewell() -> None:
    skerry = Path(sys.argv[0])
    if skerry.is_relative_to(Path.cwd()):
        skerry = skerry.relative_to(Path.cwd())
    _heading("It is running. To look around, and to stop:")
    for command, what in (
        (f"{skerry} lab ssh {NODE}", "a shell on the machine: try `skerry unit list`, `docker ps`"),
        (f"{skerry} lab console {NODE}", "its console"),
        (f"{skerry} lab logs {NODE}", "its journal"),
        (f"{skerry} lab down --name {LAB}", "stop it, and remove all that the demo made"),
    ):
        click.echo(f"    {command:<40} {what}")
