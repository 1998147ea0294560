"""`skerry release client`: our client against any TUF repository, as conformance suites drive one.

    skerry release client --metadata-dir D init TRUSTED_ROOT
    … --metadata-dir D --metadata-url U refresh
    … --metadata-dir D --metadata-url U --target-name N --target-base-url T --target-dir O download

https://github.com/theupdateframework/tuf-conformance
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from skerry.image.release.client import TufClient

TRUSTED = "trusted_root"


@click.group()
@click.option("--metadata-dir", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--metadata-url")
@click.option("--target-name")
@click.option("--target-base-url")
@click.option("--target-dir", type=click.Path(file_okay=False, path_type=Path))
@click.pass_context
def client(
    context: click.Context,
    metadata_dir: Path,
    metadata_url: str | None,
    target_name: str | None,
    target_base_url: str | None,
    target_dir: Path | None,
) -> None:
    """Drive the client of hosts against any TUF repository, for tests from outside.

    `init TRUSTED_ROOT` first; `refresh` brings the metadata up to date, `download` a target, too.
    """
    context.obj = (metadata_dir, metadata_url, target_name, target_base_url, target_dir)


@client.command()
@click.argument("trusted_root", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_context
def init(context: click.Context, trusted_root: Path) -> None:
    """Trust this root from now on."""
    from skerry.kit.files import write_atomic

    directory: Path = context.obj[0]
    directory.mkdir(parents=True, exist_ok=True)
    data = trusted_root.read_bytes()
    write_atomic(directory / TRUSTED, data)
    write_atomic(directory / "root.json", data)


@client.command()
@click.pass_context
def refresh(context: click.Context) -> None:
    """Bring the metadata up to date."""
    _open(context).refresh()


@client.command()
@click.pass_context
def download(context: click.Context) -> None:
    """Bring the metadata up to date, and download a target."""
    from urllib.parse import quote

    from skerry.image.release.errors import NotPublishedError

    _, _, name, base, directory = context.obj
    if name is None or base is None or directory is None:
        raise click.UsageError("download needs --target-name, --target-base-url and --target-dir")
    directory.mkdir(parents=True, exist_ok=True)
    if not _open(context).download(name, base, directory / quote(name, "")):
        raise NotPublishedError(f"nobody signs for a target {name}")


def _open(context: click.Context) -> TufClient:
    from skerry.image.release.client import TufClient
    from skerry.kit.clock import SystemClock
    from skerry.kit.errors import SkerryError
    from skerry.kit.transport import UrlTransport

    directory, url = context.obj[:2]
    if url is None:
        raise click.UsageError("--metadata-url is needed")
    try:
        trusted = (directory / TRUSTED).read_bytes()
    except FileNotFoundError as error:
        raise SkerryError(
            f"{directory} has no trusted root",
            hint="skerry release client --metadata-dir … init TRUSTED_ROOT",
        ) from error
    return TufClient(directory, UrlTransport(), url, trusted, SystemClock())
