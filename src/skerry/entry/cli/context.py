"""`skerry context`: clusters to speak to from anywhere, each with a token.

A token never comes as an argument: it would be in the shell's history and in the list of processes.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from skerry.entry.cli.contexts import (
    LOCAL,
    Context,
    ContextError,
    check_name,
    contexts_file,
    read_contexts,
    write_contexts,
)

if TYPE_CHECKING:
    from pathlib import Path

LONGEST_TOKEN = 4096


def complete_context(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The names of contexts; a shell that completes is not to be told of errors."""
    try:
        known = read_contexts(contexts_file())
    except ContextError:
        return []
    return [name for name in (LOCAL, *known.contexts) if name.startswith(incomplete)]


@click.group()
def context() -> None:
    """Speak to a cluster from this machine, by a token.

    `skerry --context NAME …` uses a context for one command, $SKERRY_CONTEXT for a shell, and
    `skerry context use` from then on. The context `local` is this machine itself.
    """


@context.command()
@click.argument("name")
@click.argument("servers", nargs=-1, required=True, metavar="SERVER...")
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False),
    help="Read the token from a file; else it is asked for, or read from standard input.",
)
def add(name: str, servers: tuple[str, ...], token_file: str | None) -> None:
    """Add a cluster: the address of one of its servers, or several.

    SERVER is https://HOST:7443, HOST:7443 or HOST. The token, which `skerry token create` makes, is read
    from standard input; it names the cluster's authority, so that no other server is ever trusted.
    """
    from skerry.entry.cli.api import client_of
    from skerry.fleet.trust.joining import fetch_authority
    from skerry.fleet.trust.token_text import TokenKind, parse_token
    from skerry.kit.http import HttpError

    check_name(name)
    path = contexts_file()
    known = read_contexts(path)
    token = parse_token(read_token(token_file), TokenKind.PERSON)
    urls = tuple(url_of_server(server) for server in servers)
    authority, troubles = "", []
    for url in urls:
        try:
            authority = fetch_authority(url, token.pin)
            break
        except HttpError as error:
            troubles.append(error.message)
    if not authority:
        raise ContextError("no server answered: " + "; ".join(troubles), hint="is its port 7443 open to you?")
    added = Context(name, urls, authority, token.text)
    answer = client_of(added).call("GET", "/v1/whoami")
    who = answer if isinstance(answer, dict) else {}
    write_contexts(path, known.adding(added))
    where = f"on the cluster {who['cluster']}" if who.get("cluster") else "there"
    click.echo(f"{name}: you are {who.get('name')} ({who.get('role')}) {where}", err=True)


@context.command()
@click.argument("name", shell_complete=complete_context)
def use(name: str) -> None:
    """Use a context from now on; `local` for this machine."""
    path = contexts_file()
    write_contexts(path, read_contexts(path).using(name))


@context.command("list")
@click.option("--no-legend", is_flag=True, help="Print no line of column names.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def list_contexts(*, no_legend: bool, as_json: bool) -> None:
    """List the contexts; no token is shown."""
    from skerry.entry.cli.output import emit_json, table

    known = read_contexts(contexts_file())
    if as_json:
        emit_json(
            [
                {"name": c.name, "servers": list(c.servers), "current": c.name == known.current}
                for c in known.contexts.values()
            ]
        )
        return
    rows = [[LOCAL, "this machine", "" if known.current else "*"]]
    rows += [
        [c.name, ", ".join(c.servers), "*" if c.name == known.current else ""]
        for c in known.contexts.values()
    ]
    table(rows, ["name", "servers", "current"], legend=not no_legend)


@context.command()
@click.argument("name", shell_complete=complete_context)
def remove(name: str) -> None:
    """Forget a context and its token; the cluster knows the token until it is revoked."""
    path = contexts_file()
    write_contexts(path, read_contexts(path).without(name))


def url_of_server(server: str) -> str:
    """HOST, HOST:PORT or https://HOST:PORT as a URL. Raises ContextError."""
    from skerry.fleet.cluster.membership import API_PORT

    if server.startswith("http://"):
        raise ContextError(f"{server} is not encrypted", hint=f"https://…:{API_PORT} is what servers speak")
    place = server.removeprefix("https://").rstrip("/")
    host, colon, port = place.rpartition(":")
    if place.count(":") > 1 and not place.startswith("["):
        return f"https://[{place}]:{API_PORT}"
    if not colon or place.endswith("]"):
        host, port = place, str(API_PORT)
    if not host or not port.isdigit() or "/" in place:
        raise ContextError(f"{server!r} is no address of a server", hint=f"as in https://10.0.0.1:{API_PORT}")
    return f"https://{host}:{port}"


def read_token(path: str | Path | None) -> str:
    """A token from a file, from a person who types unseen, or from standard input."""
    if path is not None:
        from pathlib import Path as File

        try:
            return File(path).read_text()[:LONGEST_TOKEN]
        except (OSError, UnicodeDecodeError) as error:
            raise ContextError(f"{path} cannot be read: {error}") from error
    if sys.stdin.isatty():
        return str(click.prompt("token", hide_input=True, err=True))
    return sys.stdin.read(LONGEST_TOKEN)
