"""`skerry kv`: etcd's v2 commands over the cluster's keys; `etcdctl` on a host is the same."""

from __future__ import annotations

import click


@click.command(
    context_settings={
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "help_option_names": [],
    }
)
@click.argument("words", nargs=-1)
def kv(words: tuple[str, ...]) -> int:
    """Read and write keys, with etcd's v2 commands.

    \b
    skerry kv set /config/motd hello
    skerry kv get /config/motd
    skerry kv ls --recursive /config
    skerry kv watch --forever --recursive /config
    """
    from skerry.entry.cli import etcdctl

    return etcdctl.run(words or ("help",))
