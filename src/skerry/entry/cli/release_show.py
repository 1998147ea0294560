"""`skerry release list|show`: what is in a repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from skerry.entry.cli.release_desk import Desk, reading

if TYPE_CHECKING:
    from skerry.image.release.channel import Channel, ReleaseEntry
    from skerry.kit.http import Json


@click.command("list")
@click.option("--channel", "only", help="Of this channel only.")
@reading
def list_(desk: Desk, only: str | None) -> None:
    """List the releases of every channel, the newest first, and how far each has gone out."""
    from skerry.entry.cli.output import emit_json, table
    from skerry.image.release.roles import day

    state = desk.state()
    chosen = [state.document(only)] if only else list(state.documents.values())
    facts: list[Json] = []
    rows = []
    for document in chosen:
        for entry in reversed(document.releases):
            share = entry.rollout.fraction_at(desk.now) if entry.rollout else 1.0
            word = _standing(document, entry, share)
            facts.append(
                {
                    "channel": document.channel, "version": entry.version, "published": entry.published,
                    "share": share, "state": word, "minimum_version": entry.minimum_version,
                    "reason": document.withdrawn.get(entry.version),
                }
            )  # fmt: skip
            rows.append((document.channel, entry.version, day(entry.published), f"{share:.0%}", word))
    if desk.as_json:
        emit_json(facts)
    else:
        table(rows, ("channel", "version", "published", "hosts", "state"))


@click.command()
@click.argument("version", required=False)
@click.option("--channel", "only", help="As it is in this channel; else in any that has it.")
@reading
def show(desk: Desk, version: str | None, only: str | None) -> None:
    """Show a release, VERSION, or the channels of the repository."""
    import json

    import msgspec

    from skerry.entry.cli.output import emit_json, show_size
    from skerry.image.release import changes
    from skerry.image.release.roles import day

    state = desk.state()
    if version is None:
        documents = [state.document(only)] if only else list(state.documents.values())
        if desk.as_json:
            emit_json([json.loads(document.encode()) for document in documents])
        else:
            for document in documents:
                _describe(document, desk.now)
        return
    manifest = desk.repository.manifest(state, only or changes.channel_with(state, version), version)
    if desk.as_json:
        emit_json(json.loads(msgspec.json.encode(manifest)))
        return
    click.echo(f"{manifest.name} {manifest.version}, {manifest.suite}, {manifest.architecture}")
    click.echo(f"kernel {manifest.kernel}, {len(manifest.packages)} packages")
    click.echo(f"published {day(manifest.published)}")
    if manifest.minimum_version:
        click.echo(f"installable from {manifest.minimum_version} on")
    for part in manifest.parts:
        click.echo(f"{part.name}: {show_size(part.size)}, whole download {show_size(part.full.size)}")
        for patch in part.patches:
            click.echo(f"  from {patch.from_version}: {show_size(patch.blob.size)}")
    if manifest.notes:
        click.echo(f"\n{manifest.notes}")


def _standing(document: Channel, entry: ReleaseEntry, share: float) -> str:
    from skerry.image.release.version import is_older

    if entry.version in document.withdrawn:
        return "withdrawn"
    if document.floor and is_older(entry.version, document.floor):
        return "below the floor"
    if document.paused and entry is document.newest:
        return "paused"
    return "out" if share >= 1 else "rolling out"


def _describe(document: Channel, now: float) -> None:
    from skerry.image.release.roles import day

    newest = document.newest
    count = len(document.releases)
    releases = "1 release" if count == 1 else f"{count} releases"
    told = f"{newest.version}, {releases}" if newest else "no releases yet"
    click.echo(f"{document.channel}: {told}")
    if document.paused:
        since = f" since {day(document.paused_at)}" if document.paused_at else ""
        click.echo(f"  paused{since}{f': {document.pause_reason}' if document.pause_reason else ''}")
    if document.floor:
        click.echo(f"  floor {document.floor}")
    for version, reason in document.withdrawn.items():
        click.echo(f"  {version} withdrawn: {reason}")
    if newest and newest.rollout:
        for wave in newest.rollout.waves:
            at = newest.rollout.start + wave.after_s
            click.echo(f"  {wave.percent:g} % from {day(at)}{' on' if at > now else ': open'}")
