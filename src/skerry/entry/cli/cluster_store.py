"""`skerry cluster migrate`, `snapshot`, `restore`, `member`: the care of the servers' store."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from skerry.entry.cli.cluster_build import here
from skerry.kit.errors import SkerryError

SNAPSHOTS = Path("/var/lib/skerry/snapshots")
REMOVED = Path("/var/lib/skerry/pki/removed.json")
UNHEARD = (
    "WARNING: this server kept no list of what was removed and revoked. Machines that were removed after the "
    "snapshot was taken are members again, and people's tokens that were revoked are good again: "
    "`skerry node remove` and `skerry token revoke` them once more."
)
FORGOTTEN = (
    "What was removed or revoked after the snapshot stays out, as far as this server had heard of it "
    "(`skerry node list`, `skerry token list`). Tokens to join with are gone: make new ones."
)
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


class SnapshotFileError(SkerryError):
    """The file cannot be read or written."""


@click.command()
def migrate() -> None:
    """Move this machine's store into etcd, units running on.

    For a server of `skerry cluster init --file`: more servers can join afterwards. Changes are refused for
    the moment in which the last ones are copied.
    """
    answer = here("migrate")
    print(f"The store of {answer['name']} is in etcd now; more servers can join.")


@click.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
def snapshot(file: Path | None) -> None:
    """Write the store to a file, as it is now.

    Servers do so by themselves every six hours, and keep seven in /var/lib/skerry/snapshots. With FILE the
    snapshot is copied there. It holds tokens and secrets: keep it as you keep those.
    """
    written = Path(str(here("snapshot")["file"]))
    if file is None:
        print(written)
        return
    try:
        file.touch(mode=0o600, exist_ok=False)
        shutil.copyfile(written, file)
    except OSError as error:
        raise SnapshotFileError(f"{file} cannot be written: {error.strerror}") from error
    print(file)


@click.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_yes
@click.option("--force", is_flag=True, help="Though other servers run.")
def restore(file: Path | None, *, yes: bool, force: bool) -> None:
    """Begin anew from a snapshot, with this server alone.

    What changed since the snapshot is lost. Machines that were removed and people's tokens that were revoked
    since stay out, as far as this server had heard of it. Tokens to join with are gone. The other servers
    must not run (`systemctl stop skerryd skerry-etcd`); afterwards they leave and join again.
    Without FILE this server begins with what it holds itself, which is the way out where a majority of the
    servers is lost for good.
    """
    heard = REMOVED.exists()
    what = "what this server holds" if file is None else str(file)
    if not yes:
        click.confirm(f"Begin anew with this server alone, from {what}?", abort=True, err=True)
    if file is None:
        answer = here("rescue", force=force)
    else:
        kept = SNAPSHOTS / "restoring"
        try:
            SNAPSHOTS.mkdir(mode=0o700, parents=True, exist_ok=True)
            kept.touch(mode=0o600)
            shutil.copyfile(file, kept)
        except OSError as error:
            raise SnapshotFileError(f"{file} cannot be copied to {kept}: {error.strerror}") from error
        try:
            answer = here("restore", file=str(kept), force=force)
        finally:
            kept.unlink(missing_ok=True)
    print(
        f"{answer['name']} begins anew with this server; the others `cluster leave --force`, and join again."
    )
    if file is not None:
        print(FORGOTTEN if heard else f"{UNHEARD}\n{FORGOTTEN}", file=sys.stderr)


@click.group()
def member() -> None:
    """Show who votes in the store, and take the vote of one that is lost.

    A new member comes with a server that joins, and goes with one that leaves or is removed.
    """


@member.command("list")
def list_members() -> None:
    """Show every server's member of etcd."""
    from skerry.entry.cli.api import connect
    from skerry.entry.cli.output import table

    view = connect().cluster()
    members = () if view.store is None else view.store.members
    rows = [
        (
            m.name,
            m.address,
            "leader" if m.leader else "learner" if m.learner else "voter",
            m.version,
            m.problem or ("healthy" if m.healthy else "not healthy"),
        )
        for m in members
    ]
    table(rows, ("member", "address", "role", "version", "state"))


@member.command()
@click.argument("node")
def remove(node: str) -> None:
    """Take the vote of a server that is lost: NODE is its machine id.

    `skerry node remove` does this, too, and refuses its certificate. This is for a server of which nothing is
    left but the vote.
    """
    here("member", node=node)
    print(f"{node} has no vote any more.")
