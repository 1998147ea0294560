"""`skerry cluster init`, `join`, `leave`: this machine's own part in a cluster, asked of its own daemon."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from skerry.kit.http import Json

LONG_S = 600.0
_as_json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
_address = click.option(
    "--address", default="", help="Where other machines reach this one.  [default: its address to the world]"
)


class TokenFileError(SkerryError):
    """The token cannot be read."""


def here(verb: str, *, as_json: bool = False, **asked: Json) -> dict[str, Json]:
    """Ask the daemon of this very machine, whatever context is chosen; what takes its time is shown."""
    import os

    from skerry.entry.cli.api import VARIABLE
    from skerry.entry.cli.bars import ticking
    from skerry.entry.cli.output import progress
    from skerry.kit.http import DEFAULT_SOCKET, Client

    place = os.environ.get(VARIABLE) or DEFAULT_SOCKET
    with progress(as_json=as_json) as report, ticking(report, verb):
        answer = Client(place, timeout_s=LONG_S).call("POST", f"/v1/host/cluster/{verb}", asked)
    assert isinstance(answer, dict)  # noqa: S101  it is HereView
    return answer


@click.command()
@click.option("--name", default="skerry", show_default=True, help="What people call the cluster.")
@_address
@click.option(
    "--file", "as_file", is_flag=True, help="Leave the store in its file: agents may join, no more servers."
)
@_as_json
def init(*, name: str, address: str, as_file: bool, as_json: bool) -> None:
    """Make this machine the first server of a cluster.

    Its units run on, and nothing that is stored is lost. The store moves into etcd, so that more servers can
    join: three of them go on when one is lost.

    Others must reach --address at port 7443, and other servers also at 2379 and 2380.
    """
    answer = here("init", as_json=as_json, name=name, address=address, etcd=not as_file)
    if as_json:
        _json(answer)
        return
    print(f"This machine is the first server of {answer['name']}, at {_text(answer['servers'])}.")
    print("Others join with a token: `skerry cluster token create --role server`, or `--role agent`.")


@click.command()
@click.argument("token", default="-")
@click.option(
    "--server",
    "servers",
    multiple=True,
    required=True,
    metavar="URL",
    help="A server to join through, https://ADDRESS:7443; may be repeated.",
)
@click.option(
    "--role", type=click.Choice(["agent", "server"]), help="As what.  [default: what the token is for]"
)
@_address
@click.option("--force", is_flag=True, help="Also where this machine has units of its own; they are stopped.")
@_as_json
def join(
    token: str, *, servers: tuple[str, ...], role: str | None, address: str, force: bool, as_json: bool
) -> None:
    """Make this machine a part of a cluster.

    TOKEN is what `skerry cluster token create` gave; `-` reads it from stdin, and @FILE from a file, so that
    it stands in no list of processes.
    """
    answer = here(
        "join",
        as_json=as_json,
        token=read_token(token),
        servers=list(servers),
        role=role,
        address=address,
        force=force,
    )
    if as_json:
        _json(answer)
        return
    what = "a server" if answer["role"] == "server" else "an agent"
    print(f"This machine is {what} of {answer['name']}, whose servers are {_text(answer['servers'])}.")


@click.command()
@click.option("--force", is_flag=True, help="Though units are here, or no server answers.")
@_as_json
def leave(*, force: bool, as_json: bool) -> None:
    """Take this machine out of its cluster.

    It is a machine alone afterwards, with an empty store. `skerry node drain` moves its units elsewhere
    first.
    """
    answer = here("leave", as_json=as_json, force=force)
    if as_json:
        _json(answer)
        return
    print("This machine belongs to no cluster any more.")


def read_token(said: str) -> str:
    """The token itself, from stdin or a file where it says so. Raises TokenFileError."""
    where = "standard input" if said == "-" else said[1:]
    try:
        if said == "-":
            if sys.stdin.isatty():
                print("token: ", end="", file=sys.stderr, flush=True)
            return sys.stdin.readline().strip()
        if said.startswith("@"):
            return Path(where).read_text().strip()
    except OSError as error:
        raise TokenFileError(f"{where} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:  # which would show what it stumbled upon
        raise TokenFileError(
            f"{where} holds no token: it is no text", hint="a token is one line that begins with skerry1."
        ) from None
    return said


def _text(urls: Json) -> str:
    return ", ".join(str(url) for url in urls) if isinstance(urls, list) else ""


def _json(answer: Json) -> None:
    from skerry.entry.cli.output import emit_json

    emit_json(answer)
