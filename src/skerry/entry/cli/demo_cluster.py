"""`skerry demo cluster`: three nodes become a cluster, units are placed, one node is lost, its units move."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from skerry.kit.progress import Reporter
    from skerry_lab.nspawn import NspawnNode

LAB = "demo-cluster"
NODES = ("one", "two", "three")
UNITS = tuple(f"app-{n}.service" for n in range(1, 7))
TEXT = """[Unit]
Description=An app that prints the time
[Service]
ExecStart=/bin/sh -c 'while :; do date; sleep 5; done'
"""
WAIT_S = 120


def show(report: Reporter) -> None:
    """The story, from building the image on; the nodes are left running."""
    from skerry.entry.cli.demo import clear, heading, indented, waiting
    from skerry.image.compose.build import Store, build
    from skerry_lab.cluster import form, ready
    from skerry_lab.lab import Lab
    from skerry_lab.node import NodeImage, NodeSpec
    from skerry_lab.nspawn import NspawnNode

    heading("The system, composed from Debian packages")
    image = build(report=report)
    click.echo(f"Skerry {image.version}: Debian {image.suite}, {image.packages} packages")
    clear(LAB)
    lab = Lab.create(LAB, report=report)
    heading("Three machines that boot it, as containers")
    nodes = []
    with waiting(report, "boot"):
        for name in NODES:
            node = lab.add(NodeSpec(name), "nspawn", NodeImage(None, Store().path(image.label, "tree.tar")))
            assert isinstance(node, NspawnNode)  # noqa: S101 - by its kind
            node.start()
            nodes.append(node)
        for node in nodes:
            node.wait_ready(timeout_s=WAIT_S)
    heading("One becomes the first server of a cluster, the others join")
    form(nodes, name="demo", told=lambda node, command: click.echo(f"{node.name}# {command}"))
    ready(nodes[0], len(nodes))
    _on(nodes[0], "skerry cluster status")
    heading("Units are submitted to any of them, and placed")
    for name in UNITS:
        nodes[0].put(f"/root/{name}", TEXT)
    _on(nodes[0], f"skerry unit start {' '.join(UNITS)}")
    _on(nodes[0], "skerry unit list")
    lost = nodes[-1]
    heading(f"The machine {lost.name} loses its power")
    lost.kill_power()
    with waiting(report, "failover"):
        took_s = _until_all_run(nodes[0], lost)
    click.echo(f"{took_s:.1f} s later all units run on the two others:")
    _on(nodes[0], "skerry unit list")
    _on(nodes[0], "skerry node list")
    heading("It comes back")
    with waiting(report, "boot"):
        lost.start()
        lost.wait_ready(timeout_s=WAIT_S)
        ready(nodes[0], len(nodes))
    _on(nodes[0], "skerry node list")
    heading("They are running. To look around, and to stop:")
    click.echo(
        indented(
            f"skerry lab ssh {LAB}/one     a shell on a machine: try `skerry node drain two`\n"
            f"skerry lab down --name {LAB}     stop them, and remove all that the demo made"
        )
    )


def _until_all_run(server: NspawnNode, lost: NspawnNode) -> float:
    """Seconds until every unit runs on another machine than the lost one."""
    from skerry_lab.errors import NotReadyError

    begun = time.monotonic()
    gone = next(
        n["id"]
        for n in json.loads(server.run(["skerry", "node", "list", "--json"]).text)
        if n["hostname"] == lost.name
    )
    while time.monotonic() - begun < WAIT_S:
        units = json.loads(server.run(["skerry", "unit", "list", "--json"]).text)
        if all(u["active"] == "active" and u["machine"] not in ("", gone) for u in units):
            return time.monotonic() - begun
        time.sleep(0.3)
    raise NotReadyError(f"the units of {lost.name} did not come up elsewhere")


def _on(node: NspawnNode, command: str) -> None:
    from skerry.entry.cli.demo import indented

    click.echo(f"{node.name}# {command}")
    done = node.run(["sh", "-c", f"cd /root && {command}"], timeout_s=WAIT_S)
    click.echo(indented(done.text + done.error_text))
