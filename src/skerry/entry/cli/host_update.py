"""The verbs of `skerry host` that change which version runs. They act here, as root, one at a time."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import click

from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from skerry.host.update.engine import Engine
    from skerry.host.update.preview import Preview
    from skerry.host.update.reboot import RebootPlan
    from skerry.host.update.wish import Wish

_JSON = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
_CHANNEL = click.option("--channel", metavar="NAME", help="Another channel than the settings say, this once.")
_FORCE = click.option("--force", is_flag=True, help="Try a version again that failed here before.")
_REBOOT = click.option("--reboot", is_flag=True, help="Reboot into it at once.")
_PLAN = click.option("--plan", "--dry-run", "plan", is_flag=True, help="Only show what would be done.")

# Writing down what became of a boot takes some seconds, right when a person comes to look.
PATIENCE_S = 60.0


@contextlib.contextmanager
def engine(*, as_json: bool = False, locked: bool = True) -> Iterator[Engine]:
    """This machine's engine, alone; progress goes to stderr. A test hands over its own as click's `obj`."""
    from skerry.entry.cli.output import progress, say
    from skerry.host.update import lock

    given: Callable[[], Engine] | None = click.get_current_context().find_root().obj
    if given is not None:
        yield given()
        return
    if os.geteuid() != 0:
        raise SkerryError("only root may look into updates and change them", hint="use sudo")
    from skerry.entry.update import engine as of_this_machine

    with contextlib.ExitStack() as stack:
        if locked:
            stack.enter_context(lock.held(patience_s=PATIENCE_S))
        report = stack.enter_context(progress(as_json=False))
        yield of_this_machine(report=report, say=(lambda _: None) if as_json else say)


@click.command()
@_JSON
@_CHANNEL
def check(*, as_json: bool, channel: str | None) -> int:
    """Ask the channel whether there is a newer version for this machine."""
    from skerry.entry.cli.host_show import emit

    with engine(as_json=as_json) as here:
        offer = here.check(_wish(channel=channel))
    if as_json:
        emit(offer)
    else:
        print(offer.why)
        if offer.due is not None:
            from skerry.entry.cli.host_show import show_time

            print(f"It is this machine's turn on {show_time(offer.due)}.")
    return 0


@click.command()
@_JSON
@_PLAN
@_CHANNEL
@_FORCE
@_REBOOT
@click.option("--stage", "only_stage", is_flag=True, help="Do not reboot, whatever the strategy.")
def upgrade(
    *, as_json: bool, plan: bool, channel: str | None, force: bool, reboot: bool, only_stage: bool
) -> int:
    """Bring this machine to the newest version of its channel.

    The version goes to the other slot and is tried at the next boot. It is kept if the machine is healthy
    then; otherwise the old one comes back by itself.
    """
    if reboot and only_stage:
        raise click.UsageError("--stage and --reboot exclude each other")
    return _bring(_wish(channel=channel, force=force), as_json, plan=plan, reboot=reboot, stay=only_stage)


@click.command()
@_JSON
@_PLAN
@_CHANNEL
@_FORCE
@_REBOOT
@click.option("--allow-downgrade", is_flag=True, help="Let it be older than what runs.")
@click.argument("version")
def deploy(
    *, version: str, as_json: bool, plan: bool, channel: str | None, force: bool, reboot: bool,
    allow_downgrade: bool,
) -> int:  # fmt: skip
    """Bring this machine to VERSION, which waves and pauses do not hold back."""
    from skerry.image.release.version import parse

    parse(version)
    wish = _wish(version=version, channel=channel, force=force, allow_downgrade=allow_downgrade)
    return _bring(wish, as_json, plan=plan, reboot=reboot, stay=True)


@click.command()
@_JSON
@_FORCE
@_REBOOT
@click.option("--reason", default="rolled back by hand", help="What the history says.")
def rollback(*, as_json: bool, force: bool, reboot: bool, reason: str) -> int:
    """Choose the version in the other slot. What runs now is not installed again unless forced."""
    from skerry.entry.cli.host_show import emit

    with engine(as_json=as_json) as here:
        state = here.rollback(reason=reason, force=force)
        if reboot:
            here.restart(reason)
    if as_json:
        emit(state)
    else:
        print(f"{state.target} is booted next." + ("" if reboot else " Reboot when it suits you."))
    return 0


@click.command()
@_JSON
@click.argument("version", required=False)
def pin(*, as_json: bool, version: str | None) -> int:
    """Stay on VERSION, or on the one that runs: no other is installed."""
    from skerry.entry.cli.host_show import emit
    from skerry.image.release.version import parse

    with engine(as_json=as_json) as here:
        chosen = version or here.machine.running
        parse(chosen)
        state = here.pin(chosen)
    if as_json:
        emit(state)
    else:
        print(f"Pinned to {state.pinned}.")
    return 0


@click.command()
@_JSON
def unpin(*, as_json: bool) -> int:
    """Let the version go on."""
    from skerry.entry.cli.host_show import emit

    with engine(as_json=as_json) as here:
        state = here.pin(None)
    if as_json:
        emit(state)
    else:
        print("Not pinned.")
    return 0


@click.command()
@_JSON
@_CHANNEL
@click.argument("version")
def changes(*, as_json: bool, channel: str | None, version: str) -> int:
    """Show which packages VERSION would add, remove and change, and their sizes."""
    from skerry.entry.cli.host_show import emit, show_packages

    with engine(as_json=as_json) as here:
        found = here.changes(version, channel)
    if as_json:
        emit(found)
    else:
        show_packages(found, full=True)
    return 0


def _bring(wish: Wish, as_json: bool, *, plan: bool, reboot: bool, stay: bool) -> int:
    from skerry.entry.cli.host_show import emit, show_preview

    rebooted: RebootPlan | None = None
    with engine(as_json=as_json) as here:
        preview: Preview = here.preview(wish) if plan else here.stage(wish)
        if not plan and not stay and preview.target is not None:
            rebooted = here.reboot(asked=reboot)
        elif not plan and reboot and preview.target is not None:
            rebooted = here.reboot(asked=True)
    if as_json:
        emit(preview, reboot=rebooted)
    elif plan:
        show_preview(preview)
    elif preview.target is None:
        print(preview.why)
    else:
        print(f"{preview.target} is in slot {preview.slot}, and is tried at the next boot.")
        if rebooted is not None:
            print(f"Rebooting: {rebooted.why}." if rebooted.now else f"Not rebooting: {rebooted.why}.")
    return 1 if plan and preview.obstacles else 0


def _wish(
    *,
    version: str | None = None,
    channel: str | None = None,
    force: bool = False,
    allow_downgrade: bool = False,
) -> Wish:
    from skerry.host.update.wish import Wish

    return Wish(version, channel, force, allow_downgrade)


VERBS = (check, upgrade, deploy, rollback, pin, unpin, changes)
