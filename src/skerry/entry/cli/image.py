"""`skerry image`: compose images of the operating system, look at them, take them away."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.entry.cli.image_extension import extension

if TYPE_CHECKING:
    from types import FrameType

    from skerry.image.compose.build import Image
    from skerry.kit.http import Json
    from skerry_lab.node import Node


@click.group()
def image() -> None:
    """Compose images of the operating system.

    `skerry image build` makes one from Debian packages, without root; `skerry image boot` starts it as a
    virtual machine. Images and the steps on the way to them are kept in $SKERRY_CACHE.
    """


image.add_command(extension)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@image.command()
@click.argument("recipe", required=False, type=click.Path(path_type=Path))
@click.option(
    "--refresh", is_flag=True, help="Look for newer packages; else those of the last build are used."
)
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON, progress as JSON lines.")
def build(recipe: Path | None, *, refresh: bool, as_json: bool) -> None:
    """Build the image that RECIPE declares (the one Skerry ships, where none is given).

    What has not changed since the last build is not done again. An interrupted build leaves nothing behind.
    """
    from skerry.entry.cli.output import emit_json, progress
    from skerry.image.compose.build import DEFAULT_RECIPE
    from skerry.image.compose.build import build as compose

    signal.signal(signal.SIGTERM, _interrupt)
    with progress(as_json=as_json) as report:
        made = compose(recipe or DEFAULT_RECIPE, report=report, refresh=refresh)
    if as_json:
        emit_json(_facts(made))
    else:
        _describe(made)


@image.command("list")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def list_(*, as_json: bool) -> None:
    """List the images built on this machine, the newest first."""
    from skerry.entry.cli.output import emit_json, show_size, table
    from skerry.image.compose.build import Store

    images = Store().list()
    if as_json:
        emit_json([_facts(one) for one in images])
        return
    rows = [
        (
            one.label,
            one.suite,
            one.kernel,
            show_size(one.root_bytes),
            show_size(one.uki_bytes),
            _when(one.built),
        )
        for one in images
    ]
    table(rows, ("image", "suite", "kernel", "root", "uki", "built"))


@image.command()
@click.argument("label", required=False)
@click.option("--packages", is_flag=True, help="List the Debian packages in it.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def show(label: str | None, *, packages: bool, as_json: bool) -> None:
    """Show one image (the newest, where none is named): its parts, sizes, root hash, packages."""
    import json

    from skerry.entry.cli.output import emit_json, table
    from skerry.image.compose.build import Store

    one = _choose(label)
    inventory = json.loads(Store().path(one.label, "packages.json").read_text())
    if as_json:
        emit_json({**_facts(one), **({"inventory": inventory} if packages else {})})
    elif packages:
        table(
            [(p["name"], p["version"], p["architecture"]) for p in inventory], ("package", "version", "arch")
        )
    else:
        _describe(one)


@image.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.argument("label", required=False)
@click.option(
    "--format", "disk_format", type=click.Choice(["raw", "qcow2"]), help="Else told by TARGET's name."
)
@click.option("--compress", is_flag=True, help="zstd around a raw disk, or within a qcow2 one.")
def export(target: Path, label: str | None, disk_format: str | None, *, compress: bool) -> None:
    """Write an image's disk to TARGET, for a machine or a hypervisor."""
    from skerry.entry.cli.output import progress
    from skerry.image.compose.export import DiskFormat
    from skerry.image.compose.export import export as write

    told = "qcow2" if target.suffix == ".qcow2" else "raw"
    with progress() as report:
        write(
            _choose(label), target, DiskFormat(disk_format or told),
            compress=compress or target.suffix == ".zst", report=report,
        )  # fmt: skip


@image.command()
@click.argument("label")
@click.option("--prune-days", type=float, help="Also drop build steps that nobody used for so many days.")
def remove(label: str, *, prune_days: float | None) -> None:
    """Remove an image."""
    from skerry.entry.cli.output import say, show_size
    from skerry.image.compose.build import Store
    from skerry.image.compose.workshop import Workshop
    from skerry.kit.progress import silent

    store = Store()
    store.remove(label)
    say(f"removed {label}")
    if prune_days is not None:
        say(f"{show_size(Workshop(store.cache, silent).prune(prune_days))} of build steps dropped")


@image.command()
@click.argument("label", required=False)
@click.option(
    "--cloud-config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A document for its first boot.",
)
@click.option("--memory", type=click.IntRange(256), default=1024, show_default=True, help="MiB.")
def boot(label: str | None, *, cloud_config: Path | None, memory: int) -> None:
    """Boot an image as a virtual machine, and show its console until it ends, or Ctrl-C ends it.

    Nothing of the machine is kept. `skerry lab ssh boot` opens a shell on it from another terminal; `skerry
    lab up` is for machines that stay.
    """
    from skerry.entry.cli.output import progress, say
    from skerry.image.compose.build import Store
    from skerry_lab.lab import Lab
    from skerry_lab.node import NodeImage, NodeSpec

    signal.signal(signal.SIGTERM, _interrupt)
    one = _choose(label)
    spec = NodeSpec("boot", cloud_config.read_text() if cloud_config else "", memory_mib=memory)
    with progress() as report, Lab.create("boot", report=report) as lab:
        node = lab.add(spec, "qemu", NodeImage(Store().path(one.label, "disk.raw"), tree=None))
        node.start()
        say(f"{one.label} is booting; a shell on it: skerry lab ssh boot; Ctrl-C ends it")
        with contextlib.suppress(KeyboardInterrupt):
            _show_console(node)


def _show_console(node: Node) -> None:
    """What the machine writes to its console, as it comes, until it is off."""
    shown = 0
    while node.running():
        data = node.console_log.read_bytes() if node.console_log.exists() else b""
        click.echo(data[shown:], nl=False)
        shown = len(data)
        time.sleep(0.1)


def _choose(label: str | None) -> Image:
    from skerry.image.compose.build import Store

    return Store().choose(label)


def _facts(one: Image) -> dict[str, Json]:
    import msgspec

    from skerry.image.compose.build import Store

    facts: dict[str, Json] = msgspec.to_builtins(one)
    return {**facts, "label": one.label, "path": str(Store().path(one.label))}


def _describe(one: Image) -> None:
    from skerry.entry.cli.output import show_size
    from skerry.image.compose.build import Store

    rows = (
        ("Image", one.label),
        ("From", f"Debian {one.suite}, {one.packages} packages as of {_when(one.packages_as_of)}"),
        ("Kernel", one.kernel),
        ("Root", f"{show_size(one.root_bytes)}, root hash {one.root_hash}"),
        ("Boot", f"{show_size(one.uki_bytes)} (kernel, initrd and command line, one EFI program)"),
        ("Disk", str(Store().path(one.label, "disk.raw"))),
    )
    for name, text in rows:
        click.echo(f"{name:>7}: {text}")


def _when(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
