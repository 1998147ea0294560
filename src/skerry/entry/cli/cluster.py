"""`skerry cluster`: how the cluster is; and the verbs that build and keep it, each in a file of its own.

A verb whose file is not there is not shown: machines leave out what they have no use for.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec

import click

# verb: the module and the command in it, and what `skerry cluster --help` says of it.
VERBS = {
    "audit": ("token:audit", "Show who changed what."),
    "init": ("cluster_build:init", "Make this machine the first server of a cluster."),
    "join": ("cluster_build:join", "Make this machine a part of a cluster."),
    "leave": ("cluster_build:leave", "Take this machine out of its cluster."),
    "member": ("cluster_store:member", "Show who votes in the store; take the vote of one that is lost."),
    "migrate": ("cluster_store:migrate", "Move this machine's store into etcd, units running on."),
    "restore": ("cluster_store:restore", "Begin anew from a snapshot."),
    "snapshot": ("cluster_store:snapshot", "Write the store to a file."),
    "status": ("cluster_show:status", "Show servers, leader, quorum, store, machines, clocks."),
    "token": ("token:join_token", "Let machines join."),
}


class Verbs(click.Group):
    """A group whose commands are imported only when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(verb for verb in VERBS if _module(verb) is not None)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _module(cmd_name)
        if module is None:
            return None
        command = getattr(importlib.import_module(module), VERBS[cmd_name][0].partition(":")[2], None)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, VERBS[verb][1]) for verb in self.list_commands(ctx)])


def _module(verb: str) -> str | None:
    """The module of a verb, None where it is not here."""
    if verb not in VERBS:
        return None
    name = f"skerry.entry.cli.{VERBS[verb][0].partition(':')[0]}"
    return name if find_spec(name) else None


@click.group(cls=Verbs)
def cluster() -> None:
    """Look at the cluster; build it and keep it.

    A machine on its own is a cluster of one, with the store in a file. `init` turns it into the first server
    of a cluster that others can join; three servers go on when one is lost.

    \b
    skerry cluster init --name home                      on the first machine
    skerry cluster token create --role server --uses 2   there: for two more servers
    skerry cluster join --server https://10.0.0.1:7443   on each of them; asks for the token
    skerry cluster status                                how it is
    """
