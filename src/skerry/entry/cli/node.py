"""`skerry node`: the machines of a cluster; what people want of them, and a way onto them.

NODE is a machine id, the beginning of one, a host name or an address, as long as it means one machine. `ssh`
and `exec` use this system's ssh client and whatever it is configured with; nothing of ours listens there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from skerry.entry.cli.api import client, connect
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.group()
def node() -> None:
    """Look at the machines of the cluster, and say what is wanted of them.

    NODE is a machine id, its beginning, a host name or an address.

    \b
    skerry node list                     which machines there are, and how they are
    skerry node label web-1 disk=ssd     units choose machines by labels (MachineMetadata=)
    skerry node drain web-1              before you work on a machine
    skerry node uncordon web-1           when you are done
    """


def complete_node(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Host names and ids of machines; a shell that completes is not to be told of errors."""
    from click.shell_completion import CompletionItem as Item

    try:
        answer = client(timeout_s=1).call("GET", "/v1/nodes")
    except SkerryError:
        return []
    found = answer.get("nodes") if isinstance(answer, dict) else None
    machines = [n for n in found if isinstance(n, dict)] if isinstance(found, list) else []
    items = []
    for machine in machines:
        name, id_ = str(machine.get("hostname") or ""), str(machine["id"])
        about = f"{machine['liveness']}, {machine.get('address') or 'no address'}"
        if name.startswith(incomplete) and name:
            items.append(Item(name, help=about))
        elif id_.startswith(incomplete):
            items.append(Item(id_, help=about))
    return items


_one = click.argument("word", metavar="NODE", shell_complete=complete_node)
_as_json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")


@node.command("list")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Only machines with this label.")
@click.option("--fields", metavar="A,B,...", help="The columns to print.")
@click.option("--no-legend", is_flag=True, help="Print no line of column names.")
@click.option("-l", "--full", is_flag=True, help="Shorten nothing.")
@click.option("--watch", is_flag=True, help="Go on with a line for every change.")
@_as_json
def list_nodes(
    *, labels: tuple[str, ...], fields: str | None, no_legend: bool, full: bool, watch: bool, as_json: bool
) -> None:
    """List the machines of the cluster.

    \b
    STATE is ready, lost (not heard of in time) or left (shut down in order), and what people want of it:
    cordoned (nothing new is placed there) or draining (its units go elsewhere, too).
    Fields: machine, ip, metadata, name, state, units, role, cpus, memory, disk, os, version, kernel, since.
    """
    from skerry.entry.cli import node_show

    node_show.list_nodes(labels, fields, legend=not no_legend, full=full, watch=watch, as_json=as_json)


@node.command()
@_one
@_as_json
def show(word: str, *, as_json: bool) -> None:
    """Show one machine: what it is, how it is, and what runs on it."""
    from skerry.entry.cli import node_show

    node_show.show(word, as_json=as_json)


@node.command()
@_one
@click.argument("labels", nargs=-1, required=True, metavar="KEY=VALUE|KEY-...")
@_as_json
def label(word: str, labels: tuple[str, ...], *, as_json: bool) -> None:
    """Set labels of a machine (KEY=VALUE), or take them away (KEY-).

    Labels set here go before those of the machine's own skerryd.toml, and survive a restart. Units that may
    no longer run there are moved.
    """
    from skerry.entry.cli import node_show

    changes: dict[str, str | None] = {}
    for text in labels:
        key, equals, value = text.partition("=")
        if equals and key and value:
            changes[key] = value
        elif not equals and text.endswith("-") and len(text) > 1:
            changes[text[:-1]] = None
        else:
            raise click.UsageError(f"{text!r} is neither KEY=VALUE nor KEY-")
    node_show.tell(connect().label(word, changes), as_json=as_json)


@node.command()
@_one
@_as_json
def cordon(word: str, *, as_json: bool) -> None:
    """Place no new units on a machine; those that it has stay."""
    from skerry.entry.cli import node_show

    node_show.tell(connect().cordon(word), as_json=as_json)


@node.command()
@_one
@_as_json
def uncordon(word: str, *, as_json: bool) -> None:
    """Place units on a machine again, after `cordon` and after `drain`."""
    from skerry.entry.cli import node_show

    node_show.tell(connect().uncordon(word), as_json=as_json)


@node.command()
@_one
@click.option("--no-block", is_flag=True, help="Do not wait until the machine is empty.")
@_as_json
def drain(word: str, *, no_block: bool, as_json: bool) -> None:
    """Move a machine's units elsewhere, and wait until it is empty.

    Units are stopped here and started there, as each one's own stop time allows. Nothing new is placed on the
    machine until `skerry node uncordon`. Breaking off leaves the drain going on.
    """
    from skerry.entry.cli import node_show

    node_show.drain(word, wait=not no_block, as_json=as_json)


@node.command()
@_one
@click.option("--force", is_flag=True, help="Though it lives and holds units.")
def remove(word: str, *, force: bool) -> None:
    """Take a machine out of the cluster for good: its certificate is revoked at once.

    Its units go elsewhere. What runs on it goes on there until someone stops it: drain it first if you can.
    """
    connect().remove(word, force=force)


_user = click.option("-u", "--user", envvar="SKERRY_SSH_USER", help="Log in as; else as ssh is configured.")


@node.command(context_settings=PASS_ON)
@_one
@click.argument("command", nargs=-1)
@_user
def ssh(word: str, command: tuple[str, ...], user: str | None) -> None:
    """Open a shell on a machine, or run COMMAND there."""
    from skerry.entry.cli import node_ssh

    node_ssh.shell(word, _bare(command), user=user)


@node.command("exec", context_settings=PASS_ON)
@click.option(
    "--label", "labels", multiple=True, metavar="KEY=VALUE", help="On the machines with this label."
)
@click.option("--all", "everywhere", is_flag=True, help="On every machine that lives.")
@click.option("-t", "--timeout", default=60.0, show_default=True, help="Seconds that each may take.")
@_user
@click.argument("words", nargs=-1, required=True, metavar="[NODE...] -- COMMAND...")
def exec_(
    words: tuple[str, ...], *, labels: tuple[str, ...], everywhere: bool, timeout: float, user: str | None
) -> int:
    """Run a command on several machines at once; each line of output begins with the machine.

    \b
    skerry node exec web-1 web-2 -- systemctl is-system-running
    skerry node exec --all -- uptime

    Exits with 1 where the command failed anywhere.
    """
    from skerry.entry.cli import node_ssh

    names, command = _split(words)
    if not command:
        raise click.UsageError("no command is given: it follows --")
    if bool(names) + bool(labels) + everywhere != 1:
        raise click.UsageError("name machines, or give --label, or --all")
    return node_ssh.everywhere(names, labels, command, user=user, timeout_s=timeout)


def _bare(command: tuple[str, ...]) -> tuple[str, ...]:
    return command[1:] if command[:1] == ("--",) else command


def _split(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words before and after `--`; click has taken one that stood first away."""
    if "--" in words:
        place = words.index("--")
        return words[:place], words[place + 1 :]
    return (), words
