"""`skerry host channel` and `history`: where versions come from, and what became of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from skerry.host.update.engine import Engine
    from skerry.host.update.settings import UpdateSettings

_JSON = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
_ROOT = click.option("--root", type=click.Path(path_type=Path), default=Path("/"), hidden=True)
_LINE = re.compile(r"(?m)^\s*channel\s*=.*$")


@click.group()
def channel() -> None:
    """Show or choose where new versions come from."""


@channel.command()
@_JSON
@_ROOT
def show(*, as_json: bool, root: Path) -> int:
    """Show the channel and the repository."""
    from skerry.host.update.settings import read_settings

    settings = read_settings(root)
    _tell(settings, f"{settings.channel} of {settings.repository or 'no repository'}", as_json=as_json)
    return 0


@channel.command(name="set")
@_JSON
@_ROOT
@click.argument("name")
def set_(*, as_json: bool, root: Path, name: str) -> int:
    """Follow another channel from now on: written to /etc/skerry/update.toml."""
    from skerry.host.update.settings import OWN, read_settings
    from skerry.image.release.channel import check_name
    from skerry.kit.files import write_atomic

    check_name(name)
    path = root / OWN
    try:
        before = path.read_text() if path.exists() else ""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, with_channel(before, name))
    except OSError as error:
        raise SkerryError(f"{path} cannot be written: {error.strerror}", hint="use sudo") from error
    settings = read_settings(root)
    if settings.channel != name:
        raise SkerryError(
            f"{path} says {name} now, but a file in update.toml.d says {settings.channel}",
            hint="a drop-in counts more than the file: change it there",
        )
    _tell(settings, f"Channel {name}.", as_json=as_json)
    return 0


def _tell(settings: UpdateSettings, text: str, *, as_json: bool) -> None:
    from skerry.entry.cli.output import emit_json

    if as_json:
        emit_json({"channel": settings.channel, "repository": settings.repository})
    else:
        print(text)


def with_channel(text: str, name: str) -> str:
    """A settings file that says so; all else, comments too, stays as it is."""
    line = f'channel = "{name}"'
    head, table, rest = text.partition("\n[") if not text.startswith("[") else ("", "", text)
    if _LINE.search(head):
        return _LINE.sub(line, head, count=1) + table + rest
    head = head.rstrip("\n")
    return "\n".join(part for part in (head, line) if part) + "\n" + (table.lstrip("\n") + rest)


@click.command()
@_JSON
@click.option("--last", metavar="N", type=click.IntRange(1), default=30, help="How many at most.")
def history(*, as_json: bool, last: int) -> int:
    """Show what became of the versions that this machine was given."""
    from skerry.entry.cli.host_show import emit, show_time
    from skerry.entry.cli.output import say, table
    from skerry.entry.update import UPDATE
    from skerry.host.update.journal import Journal

    given: Callable[[], Engine] | None = click.get_current_context().find_root().obj
    journal = given().journal if given is not None else Journal(Path("/") / UPDATE)
    events = list(journal.history())[-last:]
    if as_json:
        emit(events)
    elif not events:
        say("nothing has happened yet")
    else:
        rows = [(show_time(one.when), one.what, one.version, one.before, one.why) for one in events]
        table(rows, ("when", "what", "version", "before", "why"))
    return 0


VERBS = (channel, history)
