"""`skerry release verify|gc|mirror|serve`: the repository as files, here and elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.entry.cli.release_desk import Desk, reading

if TYPE_CHECKING:
    from skerry.kit.http import Json

DEFAULT_ADDRESS = "127.0.0.1:8642"
_root_option = click.option(
    "--root", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The root that hosts trust; else root.json beside the keys.",
)  # fmt: skip


@click.command()
@_root_option
@reading
def verify(desk: Desk, root: Path | None) -> int:
    """Check everything: signatures, thresholds, times, documents, blobs; and then as a host would."""
    from skerry.entry.cli.output import emit_json, progress, say, show_size
    from skerry.image.release.verify import verify as look
    from skerry.kit.clock import SystemClock

    with progress(as_json=desk.as_json) as report:
        verdict = look(desk.repository, SystemClock(), trusted=_trusted(desk, root), report=report)
    if desk.as_json:
        findings: list[Json] = [
            {"weight": one.weight.value, "what": one.what, "hint": one.hint} for one in verdict.findings
        ]
        emit_json(
            {
                "good": verdict.good, "findings": findings, "roots": verdict.roots,
                "signatures": verdict.signatures, "documents": verdict.documents, "blobs": verdict.blobs,
                "blob_bytes": verdict.blob_bytes,
            }
        )  # fmt: skip
        return 0 if verdict.good else 1
    for one in verdict.findings:
        say(f"{one.weight}: {one.what}" + (f"\nhint: {one.hint}" if one.hint else ""))
    if verdict.good:
        click.echo(
            f"good: {verdict.roots} roots, {verdict.signatures} signatures, {verdict.documents} documents, "
            f"{verdict.blobs} blobs ({show_size(verdict.blob_bytes)})"
        )
    return 0 if verdict.good else 1


@click.command()
@click.option("--older-than", metavar="TIME", default="2d", show_default=True, help="Keep what is younger.")
@click.option("--dry-run", is_flag=True, help="Say what would go.")
@reading
def gc(desk: Desk, older_than: str) -> None:
    """Remove files that nothing refers to any more, or not yet."""
    from skerry.entry.cli.output import emit_json, show_size
    from skerry.entry.cli.release_keys import seconds
    from skerry.image.release.collect import collect

    done = collect(desk.repository, desk.now, older_than=seconds(older_than), dry_run=desk.dry_run)
    if desk.as_json:
        emit_json(
            {
                "files": [*done.files],
                "freed_bytes": done.freed_bytes,
                "kept": done.kept,
                "dry_run": desk.dry_run,
            }
        )
        return
    for name in done.files:
        click.echo(name)
    would = "would be " if desk.dry_run else ""
    click.echo(f"{len(done.files)} files, {show_size(done.freed_bytes)}, {would}removed; {done.kept} kept")


@click.command()
@click.argument("url")
@_root_option
@click.option(
    "--check", is_flag=True, help="Read the blobs that are here, too, and fetch damaged ones again."
)
@click.option("--dry-run", is_flag=True, help="Say what would be fetched.")
@reading
def mirror(desk: Desk, url: str, root: Path | None, *, check: bool) -> None:
    """Copy the repository at URL (https, http or file) into the directory of --repository.

    Everything is verified from the trusted root; what is there is not fetched again; the copy can be served
    all the while. Carried on a disk, it is how a site without a network is updated.
    """
    from skerry.entry.cli.output import emit_json, progress, show_size
    from skerry.image.release.mirror import mirror as copy
    from skerry.kit.clock import SystemClock
    from skerry.kit.transport import UrlTransport

    trusted = _trusted(desk, root)
    if trusted is None:
        raise click.UsageError("--root is needed: the root that the copy must descend from")
    with progress(as_json=desk.as_json) as report:
        done = copy(
            desk.repository, UrlTransport(), url, trusted, SystemClock(),
            check=check, dry_run=desk.dry_run, report=report,
        )  # fmt: skip
    if desk.as_json:
        emit_json(
            {
                "releases": done.releases, "blobs": done.blobs, "fetched": done.fetched,
                "fetched_bytes": done.fetched_bytes, "held_bytes": done.held_bytes, "dry_run": desk.dry_run,
            }
        )  # fmt: skip
        return
    would = "to fetch" if desk.dry_run else "fetched"
    click.echo(
        f"{done.releases} releases; {done.fetched} of {done.blobs} blobs {would} "
        f"({show_size(done.fetched_bytes)}), {show_size(done.held_bytes)} were there"
    )


@click.command()
@click.option("--address", default=DEFAULT_ADDRESS, show_default=True, metavar="HOST:PORT")
@click.option("--quiet", is_flag=True, help="Do not tell of every request.")
@reading
def serve(desk: Desk, address: str, *, quiet: bool) -> None:
    """Serve the repository over HTTP until Ctrl-C; for tests and small networks.

    Port 0 takes a free one. The address is the first line of output, or JSON.
    """
    import sys

    from skerry.entry.cli.output import emit_json, say
    from skerry.image.release.errors import PublishError
    from skerry.image.release.serve import Server

    if not desk.repository.exists:
        raise PublishError(f"{desk.repository.directory} holds no repository")
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise click.UsageError(f"{address!r} is not HOST:PORT, as in {DEFAULT_ADDRESS}")
    with Server(desk.repository.directory, host.strip("[]"), int(port), log=None if quiet else say) as server:
        if desk.as_json:
            emit_json({"url": server.url})
        else:
            click.echo(server.url)
        sys.stdout.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("stopped")


def _trusted(desk: Desk, root: Path | None) -> bytes | None:
    if root is not None:
        return root.read_bytes()
    if desk.has_keys and (pinned := desk.keys / "root.json").exists():
        return pinned.read_bytes()
    return None
