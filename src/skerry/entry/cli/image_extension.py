"""`skerry image extension`: packages on top of an image, which systemd merges into its /usr."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from skerry.image.compose.build import Image
    from skerry.image.compose.extension import Extension
    from skerry.kit.http import Json

of_image = click.option(
    "--image", "label", metavar="LABEL", help="The image that it is for; the newest, where none is named."
)
in_json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")


@click.group()
def extension() -> None:
    """Build system extensions: Debian packages on top of an image.

    An extension is for one version of an image, is published with it, and is updated and rolled back with it:
    `skerry release publish LABEL --extension NAME.raw`.
    """


@extension.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@of_image
@click.option("--refresh", is_flag=True, help="Look for newer packages.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON, progress as JSON lines.")
def build(recipe: Path, label: str | None, *, refresh: bool, as_json: bool) -> None:
    """Build the extension that RECIPE declares, for an image that was built here."""
    from skerry.entry.cli.output import emit_json, progress
    from skerry.image.compose import extension as extensions

    wanted = extensions.load(recipe)
    one = _image(label)
    with progress(as_json=as_json) as report:
        made = extensions.build(wanted, one, report=report, refresh=refresh)
    if as_json:
        emit_json(_facts(made))
    else:
        _describe(made)


@extension.command("list")
@of_image
@in_json
def list_(label: str | None, *, as_json: bool) -> None:
    """List the extensions of an image."""
    from skerry.entry.cli.output import emit_json, show_size, table
    from skerry.image.compose import extension as extensions
    from skerry.image.compose.build import Store

    found = extensions.stored(Store(), _image(label).label)
    if as_json:
        emit_json([_facts(one) for one in found])
        return
    rows = [(one.name, one.image, show_size(one.bytes), str(len(one.packages))) for one in found]
    table(rows, ("extension", "image", "size", "packages"))


@extension.command()
@click.argument("name")
@of_image
@in_json
def show(name: str, label: str | None, *, as_json: bool) -> None:
    """Show one extension: its packages, size, root hash, and where its file is."""
    from skerry.entry.cli.output import emit_json
    from skerry.image.compose import extension as extensions
    from skerry.image.compose.build import Store

    one = extensions.read(Store(), _image(label).label, name)
    if as_json:
        emit_json(_facts(one))
    else:
        _describe(one)


@extension.command()
@click.argument("name")
@of_image
def remove(name: str, label: str | None) -> None:
    """Remove an extension of an image."""
    from skerry.entry.cli.output import say
    from skerry.image.compose import extension as extensions
    from skerry.image.compose.build import Store

    one = _image(label)
    extensions.remove(Store(), one.label, name)
    say(f"removed {name} of {one.label}")


def _image(label: str | None) -> Image:
    from skerry.image.compose.build import Store

    return Store().choose(label)


def _file(one: Extension) -> Path:
    from skerry.image.compose import extension as extensions
    from skerry.image.compose.build import Store

    return extensions.directory_of(Store(), one.image) / f"{one.name}.raw"


def _facts(one: Extension) -> dict[str, Json]:
    import msgspec

    facts: dict[str, Json] = msgspec.to_builtins(one)
    return {**facts, "path": str(_file(one))}


def _describe(one: Extension) -> None:
    from skerry.entry.cli.output import show_size

    rows = [
        ("Extension", f"{one.name}, for {one.image}"),
        ("Packages", ", ".join(f"{package.name} {package.version}" for package in one.packages)),
        ("Root", f"{show_size(one.bytes)}, root hash {one.root_hash}"),
        ("File", str(_file(one))),
    ]
    if one.libraries:
        rows.insert(2, ("Libraries", f"{', '.join(one.libraries)}, which the image left out"))
    if one.left_out:
        rows.append(("Left out", ", ".join(one.left_out)))
    for name, text in rows:
        click.echo(f"{name:>9}: {text}")
