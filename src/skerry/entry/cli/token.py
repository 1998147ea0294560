"""`skerry token`, for people and programs; `skerry cluster token`, for machines; `skerry cluster audit`.

A secret is shown once: alone on stdout, so that it can be piped, or put into a file of its owner's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from skerry.entry.cli.api import client
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from skerry.kit.http import Json

_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_as_json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
_no_legend = click.option("--no-legend", is_flag=True, help="Print no line of column names.")
_into = click.option(
    "--output", type=click.Path(dir_okay=False), help="Write the token to a new file that only you can read."
)


class TokenError(SkerryError):
    """A token cannot be made as asked."""


def _complete(path: str, field: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """What of the tokens at `path` a shell may complete; it is not to be told of errors."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        try:
            answer = client(timeout_s=1).call("GET", path)
        except SkerryError:
            return []
        words = [str(record[field]) for record in _records(answer, "tokens")]
        return [word for word in words if word.startswith(incomplete)]

    return complete


@click.group()
def token() -> None:
    """Let people and programs in, each with a token of a role.

    viewer sees everything; operator also changes units, keys and how machines are used; admin may do all;
    keys only reaches what --keys names.
    """


@token.command()
@click.argument("name")
@click.option(
    "--role", type=click.Choice(["admin", "operator", "viewer", "keys"]), default="viewer", show_default=True
)
@click.option("--ttl", default="90d", show_default=True, help="How long it is good: 12h, 90d, or `never`.")
@click.option(
    "--keys",
    "prefixes",
    multiple=True,
    metavar="/PREFIX[:ro]",
    help="Of /v2/keys, only these; may be repeated.",
)
@_into
@_as_json
def create(
    name: str, *, role: str, ttl: str, prefixes: tuple[str, ...], output: str | None, as_json: bool
) -> None:
    """Make a token for NAME, and show it this once."""
    if role == "keys" and not prefixes:
        raise click.UsageError("a token of the role keys needs --keys, or it is good for nothing")
    keys: list[Json] = [
        {"prefix": prefix.removesuffix(":ro"), "write": not prefix.endswith(":ro")} for prefix in prefixes
    ]
    asked: Json = {"name": name, "role": role, "ttl_s": ttl_seconds(ttl), "keys": keys}
    answer = client().call("POST", "/v1/tokens", asked)
    _show_created(answer, output, as_json=as_json, then="skerry context add NAME SERVER` reads it")


@token.command("list")
@_no_legend
@_as_json
def list_tokens(*, no_legend: bool, as_json: bool) -> None:
    """List the tokens of people and programs."""
    from skerry.entry.cli.output import emit_json, table

    answer = client().call("GET", "/v1/tokens")
    if as_json:
        emit_json(answer)
        return
    rows = [
        [str(t["name"]), str(t["role"]), _until(t["expires"]), _keys(t["keys"]), str(t["id"])]
        for t in _records(answer, "tokens")
    ]
    table(rows, ["name", "role", "expires", "keys", "id"], legend=not no_legend)


@token.command()
@click.argument("name", shell_complete=_complete("/v1/tokens", "name"))
def revoke(name: str) -> None:
    """Revoke a token, by its name or id: it ends at once."""
    from skerry.kit.http import quote

    client().call("DELETE", f"/v1/tokens/{quote(name)}")


@click.group("token")
def join_token() -> None:
    """Let machines join, each with a token."""


@join_token.command("create")
@click.option("--role", type=click.Choice(["agent", "server"]), default="agent", show_default=True)
@click.option("--ttl", default="1h", show_default=True, help="How long it is good: 30min, 1h, 7d.")
@click.option("--uses", default=1, show_default=True, help="For how many machines; 0 for any number.")
@_into
@_as_json
def create_join(*, role: str, ttl: str, uses: int, output: str | None, as_json: bool) -> None:
    """Make a token with which machines join, and show it this once."""
    seconds = ttl_seconds(ttl)
    if seconds is None:
        raise click.UsageError("a token to join with has an end: 30 days at most")
    answer = client().call("POST", "/v1/cluster/tokens", {"role": role, "ttl_s": seconds, "uses": uses})
    _show_created(answer, output, as_json=as_json, then="skerry cluster join` on the machine reads it")


@join_token.command("list")
@_no_legend
@_as_json
def list_joins(*, no_legend: bool, as_json: bool) -> None:
    """List the tokens to join with."""
    from skerry.entry.cli.output import emit_json, table

    answer = client().call("GET", "/v1/cluster/tokens")
    if as_json:
        emit_json(answer)
        return
    rows = [
        [
            str(t["id"]),
            str(t["role"]),
            _until(t["expires"]),
            f"{t['used']}/{t['uses'] or '∞'}",
            str(t["created_by"]),
        ]
        for t in _records(answer, "tokens")
    ]
    table(rows, ["id", "role", "expires", "used", "by"], legend=not no_legend)


@join_token.command("revoke")
@click.argument("token_id", metavar="ID", shell_complete=_complete("/v1/cluster/tokens", "id"))
def revoke_join(token_id: str) -> None:
    """Revoke a token to join with; machines that joined stay."""
    from skerry.kit.http import quote

    client().call("DELETE", f"/v1/cluster/tokens/{quote(token_id)}")


@click.command()
@click.option("-n", "--lines", default=50, show_default=True, help="How many, the newest.")
@click.option("--keys", is_flag=True, help="What was changed under /v2/keys, instead of all else.")
@_no_legend
@_as_json
def audit(*, lines: int, keys: bool, no_legend: bool, as_json: bool) -> None:
    """Show who changed what, the newest last."""
    from skerry.entry.cli.output import emit_json, table

    query = {"limit": str(lines), "series": "keys" if keys else "changes"}
    answer = client().call("GET", "/v1/audit", query=query)
    if as_json:
        emit_json(answer)
        return
    rows = [
        [
            _moment(r["at"]),
            f"{r['kind']} {r['who']}" if r["kind"] == "node" else str(r["who"]),
            str(r["address"]),
            str(r["what"]),
            str(r["outcome"]),
            str(r["detail"]),
        ]
        for r in reversed(_records(answer, "records"))
    ]
    table(rows, ["time", "who", "from", "what", "outcome", "detail"], legend=not no_legend, full=False)


def ttl_seconds(text: str) -> float | None:
    """ "12h" → 43200; "never" → None. Misuse (exit 2) for anything else."""
    if text == "never":
        return None
    found = re.fullmatch(r"([0-9]{1,6})\s*(s|min|m|h|d|w)", text)
    if found is None:
        raise click.UsageError(f"{text!r} is no span of time: write 30min, 12h or 90d")
    return float(int(found[1]) * _SECONDS[found[2]])


def _show_created(answer: Json, output: str | None, *, as_json: bool, then: str) -> None:
    from skerry.entry.cli.output import emit_json, say

    created = answer if isinstance(answer, dict) else {}
    text = str(created.get("token", ""))
    if output is not None:
        _write_new(output, text + "\n")
        created = created | {"token": output}
    if as_json:
        emit_json(created)
        return
    if output is None:
        print(text)
    say(f"This token is shown once; `{then}." if output is None else f"`{then}.")


def _write_new(path: str, text: str) -> None:
    """A file that was not there before, for its owner alone from the first moment on."""
    import os

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
    except OSError as error:
        # The token is lost with this: nobody has it, and it can be revoked by its name.
        raise TokenError(
            f"{path} cannot be written: {error.strerror}", hint="revoke the token, and try again"
        ) from error


def _records(answer: Json, name: str) -> list[dict[str, Json]]:
    found = answer.get(name) if isinstance(answer, dict) else None
    return [record for record in found if isinstance(record, dict)] if isinstance(found, list) else []


def _until(expires: Json) -> str:
    return _moment(expires) if expires else "never"


def _moment(seconds: Json) -> str:
    import time

    at = seconds if isinstance(seconds, int | float) else 0
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _keys(keys: Json) -> str:
    rights = keys if isinstance(keys, list) else []
    return ", ".join(f"{r['prefix']}{'' if r['write'] else ':ro'}" for r in rights if isinstance(r, dict))
