"""`skerry release publish|promote|rollout|pause|resume|withdraw|retire|floor`: a channel's releases."""

from __future__ import annotations

from pathlib import Path

import click

from skerry.entry.cli.release_desk import Desk, changing

WAVES = "default, immediate, or waves as in 1%@0h,25%@12h,100%@3d"
channel_option = click.option("--channel", required=True, help="The channel.")
rollout_option = click.option(
    "--rollout", "waves", default="default", show_default=True, metavar="WAVES", help=f"Who when: {WAVES}."
)


@click.command()
@click.argument("image")
@channel_option
@rollout_option
@click.option("--notes", default="", help="What people should know about it.")
@click.option("--minimum-version", metavar="VERSION", help="The oldest version it can be installed from.")
@click.option(
    "--patches", type=click.IntRange(0), default=3, show_default=True,
    help="Make small downloads from so many earlier releases.",
)  # fmt: skip
@click.option(
    "--extension", "extensions", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="NAME.raw", help="A system extension that belongs to it.",
)  # fmt: skip
@changing
def publish(
    desk: Desk,
    image: str,
    channel: str,
    waves: str,
    notes: str,
    minimum_version: str | None,
    patches: int,
    extensions: tuple[Path, ...],
) -> None:
    """Put IMAGE (a label of `skerry image list`) into a channel.

    Refused where the channel has this version or a later one, where hosts' slots would have less than a fifth
    of their room left, where a role is expired, and where keys are missing. Hosts see the release whole or
    not at all, whenever this is interrupted.
    """
    from skerry.entry.cli.output import progress
    from skerry.image.compose.released import release_of, version_of
    from skerry.image.release import changes
    from skerry.image.release.rollout import parse_waves

    chosen = parse_waves(waves)
    state = desk.state()
    # What can be refused is refused before the long work.
    changes.check_newer(state, channel, version_of(image))
    desk.rehearse(changes.renew(state, [channel], desk.now))
    with progress(as_json=desk.as_json) as report:
        made = release_of(
            image, desk.repository, state, channel,
            notes=notes, minimum_version=minimum_version, patches=patches, extensions=extensions,
            report=report,
        )  # fmt: skip
    change = changes.publish(state, channel, made.manifest, chosen, desk.now, made.disks)
    fresh = 0 if desk.dry_run else made.store(desk.repository)
    stored = made.stored_bytes
    version = made.manifest.version
    desk.carry_out(change, version=version, channel=channel, stored_bytes=stored, new_bytes=fresh)


@click.command()
@click.argument("version")
@click.option("--from", "source", metavar="CHANNEL", help="Where it is; else any channel that has it.")
@click.option("--to", "target", required=True, metavar="CHANNEL", help="Where it goes.")
@rollout_option
@changing
def promote(desk: Desk, version: str, source: str | None, target: str, waves: str) -> None:
    """Put a release that is in one channel into another, as it is."""
    from skerry.image.release import changes
    from skerry.image.release.rollout import parse_waves

    chosen = parse_waves(waves)
    state = desk.state()
    where = source or changes.channel_with(state, version)
    manifest = desk.repository.manifest(state, where, version)
    disks = desk.repository.disks(state, target)
    change = changes.publish(state, target, manifest, chosen, desk.now, disks)
    desk.carry_out(change, version=version, channel=target)


@click.command()
@click.argument("version")
@channel_option
@click.argument("waves", metavar="WAVES")
@changing
def rollout(desk: Desk, version: str, channel: str, waves: str) -> None:
    """Set who gets VERSION when, from now on: default, immediate, or 1%@0h,25%@12h,100%@3d."""
    from skerry.image.release import changes
    from skerry.image.release.rollout import parse_waves

    desk.carry_out(changes.rollout(desk.state(), channel, version, parse_waves(waves), desk.now))


@click.command()
@click.argument("channel")
@click.option("--reason", default="", help="Hosts show it.")
@changing
def pause(desk: Desk, channel: str, reason: str) -> None:
    """Let no host take anything from CHANNEL until it is resumed."""
    from skerry.image.release import changes

    desk.carry_out(changes.pause(desk.state(), channel, reason, desk.now))


@click.command()
@click.argument("channel")
@changing
def resume(desk: Desk, channel: str) -> None:
    """End a pause. Waves go on where they stopped."""
    from skerry.image.release import changes

    desk.carry_out(changes.resume(desk.state(), channel, desk.now))


@click.command()
@click.argument("version")
@channel_option
@click.option("--reason", required=True, help="Hosts show it.")
@changing
def withdraw(desk: Desk, version: str, channel: str, reason: str) -> None:
    """Let no host take VERSION any more. Hosts that run it stay, and are offered what is newer."""
    from skerry.image.release import changes

    desk.carry_out(changes.withdraw(desk.state(), channel, version, reason, desk.now))


@click.command()
@click.argument("version")
@channel_option
@changing
def floor(desk: Desk, version: str, channel: str) -> None:
    """Let no host take anything below VERSION, and have those below wait for no wave."""
    from skerry.image.release import changes

    desk.carry_out(changes.set_floor(desk.state(), channel, version, desk.now))


@click.command()
@click.argument("version")
@channel_option
@changing
def retire(desk: Desk, version: str, channel: str) -> None:
    """Take an old VERSION out of a channel; `gc` then removes what nothing else refers to."""
    from skerry.image.release import changes

    desk.carry_out(changes.retire(desk.state(), channel, version, desk.now))
