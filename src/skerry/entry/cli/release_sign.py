"""`skerry release prepare|sign|assemble`: signing where the keys are, on a machine without a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.entry.cli.release_desk import Desk, changing, reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skerry.image.release.offline import Signed
    from skerry.kit.http import Json

_directory = click.argument("directory", type=click.Path(file_okay=False, path_type=Path))


@click.command()
@_directory
@click.argument("roles", metavar="ROLE...", nargs=-1, required=True)
@reading
def prepare(desk: Desk, directory: Path, roles: tuple[str, ...]) -> None:
    """Write to DIRECTORY what is needed to sign ROLEs (root, targets, channels) again, elsewhere.

    Every other change can be written out, too, by the option --prepare of its verb. Carry the directory to
    the keys, `skerry release sign` it there, with each key that is asked for, and `assemble` it back here.
    """
    from skerry.image.release import changes

    desk.prepare = directory
    desk.carry_out(changes.renew(desk.state(), roles, desk.now))


@click.command()
@_directory
@changing
def sign(desk: Desk, directory: Path) -> None:
    """Sign the change in DIRECTORY with every key here that may; only the keys are needed.

    With --dry-run, show what would be signed, and which signatures are missing.
    """
    from skerry.image.release import offline

    _show(desk, offline.look(directory) if desk.dry_run else offline.sign(directory, desk.keyring()))


@click.command()
@_directory
@changing
def assemble(desk: Desk, directory: Path) -> None:
    """Put a signed change in place. Every threshold is checked; snapshot and timestamp are signed here."""
    from skerry.image.release import offline

    desk.carry_out(offline.read(directory))


def _show(desk: Desk, signed: Sequence[Signed]) -> None:
    from skerry.entry.cli.output import emit_json

    if desk.as_json:
        facts: list[Json] = [
            {
                "role": one.role,
                "version": one.version,
                "have": one.have,
                "needed": one.needed,
                "says": [*one.says],
            }
            for one in signed
        ]
        emit_json(facts)
        return
    for one in signed:
        missing = "complete" if one.have >= one.needed else f"{one.needed - one.have} more needed"
        click.echo(f"{one.role} version {one.version}: {one.have} of {one.needed} signatures, {missing}")
        for line in one.says:
            click.echo(f"  {line}")
