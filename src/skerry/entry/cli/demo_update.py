"""`skerry demo update`: a machine goes to the next version, and comes back by itself from one that panics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from skerry.kit.progress import Reporter
    from skerry_lab.qemu import QemuNode

LAB = "demo-update"
BAD = "panics"
BOOT_TIMEOUT_S = 300


def show(report: Reporter) -> None:
    """The story, from building the releases on; the machine is left running."""
    from skerry.entry.cli.demo import clear, farewell, heading, indented, on, waiting
    from skerry_lab import updates
    from skerry_lab.lab import Lab
    from skerry_lab.node import NodeImage, NodeSpec
    from skerry_lab.qemu import QemuNode
    from skerry_lab.repository import make_releases, serve

    heading("Releases in a signed repository: two that are good, and one whose kernel panics")
    releases = make_releases(bad=(BAD,), report=report)
    for image, what in ((releases.before, "release pocket only"), (releases.after, "with all updates")):
        click.echo(f"stable: Skerry {image.version}, Linux {image.kernel}, Debian {image.suite} {what}")
    click.echo(f"{BAD}: Skerry {releases.bad[BAD]}")
    clear(LAB)
    lab = Lab.create(LAB, report=report)
    cloud_config = updates.settings(serve(lab.state, releases), tries=1)
    heading(f"A machine that runs {releases.before.version}, with this cloud-config")
    click.echo(indented(cloud_config))
    node = lab.add(NodeSpec("one", cloud_config), "qemu", NodeImage(releases.disk, None))
    assert isinstance(node, QemuNode)  # noqa: S101 - by its kind
    with waiting(report, "boot"):
        node.start()
        node.wait_ready(timeout_s=BOOT_TIMEOUT_S)
    on(node, "echo mine > /etc/own-file")
    heading("What an update would do")
    on(node, "skerry host upgrade --plan")
    heading("The update, while everything runs on, and the reboot into it")
    _reboot(node, "skerry host upgrade --reboot", releases.after.version, report)
    _until(node, "blessed")
    on(node, "skerry host status")
    on(node, "cat /etc/own-file")
    heading("A release that fails: its kernel panics, and nobody touches the machine")
    began = len(node.console())
    _reboot(node, f"skerry host upgrade --channel {BAD} --reboot", releases.after.version, report)
    _until(node, "rolled-back")
    said = node.console()[began:].splitlines()
    click.echo("its console:")
    click.echo(indented("\n".join(line for line in said if "panic" in line or "Rebooting in" in line)))
    on(node, "skerry host status")
    on(node, "skerry host history")
    farewell(LAB, "skerry host status")


def _reboot(node: QemuNode, command: str, version: str, report: Reporter) -> None:
    """Run a command that reboots the machine, and wait for the version that is to come of it."""
    from skerry.entry.cli.demo import on, waiting
    from skerry_lab import updates

    before = node.boot_id()
    on(node, command)
    node.ssh.forget()
    with waiting(report, "reboot"):
        seconds = updates.wait_for(node, version, after=before)
    click.echo(f"{seconds:.0f} s later {version} runs.\n")


def _until(node: QemuNode, step: str) -> None:
    """Wait for what follows a boot."""
    from skerry_lab import updates
    from skerry_lab.errors import NotReadyError

    deadline = time.monotonic() + BOOT_TIMEOUT_S
    while updates.seen(node).step != step:
        if time.monotonic() > deadline:
            raise NotReadyError(f"the update did not come to {step}: {updates.seen(node).reason}")
        time.sleep(0.5)
