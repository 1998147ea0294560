"""`skerry <noun> <verb>`: finds the noun's file, and is the one place where errors are shown.

The help lines of the nouns stand in the table below, so that `skerry --help` imports nothing else and
answers in under 100 ms. Exit codes: 0 done, 1 failed, 2 misused.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

import skerry
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Sequence

# noun: what `skerry --help` says of it. The noun's module is skerry.entry.cli.<noun>, and holds a
# click command of the same name.
NOUNS = {
    "cluster": "Look at the cluster; build and keep it.",
    "completion": "Complete words in your shell.",
    "context": "Speak to a cluster from this machine.",
    "demo": "Show the whole: compose, boot, run containers.",
    "etc": "Compare /etc with its defaults; settle conflicts.",
    "host": "Look at this machine: version, slots, health.",
    "image": "Compose images of the operating system.",
    "kv": "Read and write keys, with etcd's v2 commands.",
    "lab": "Run nodes on this machine, to try things out.",
    "node": "Look at machines; label, drain, remove them.",
    "provision": "Check a cloud-config, or apply it.",
    "release": "Publish images to channels, signed.",
    "token": "Let people and programs in.",
    "unit": "Run units: containers and everything systemd runs.",
}
FAILED = 1
INTERRUPTED = 130


def nouns() -> dict[str, str]:
    """The nouns that are here: a host leaves out those that compose images and run labs."""
    return {noun: text for noun, text in NOUNS.items() if find_spec(f"skerry.entry.cli.{noun}")}


class Nouns(click.Group):
    """A group whose commands are imported only when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(nouns())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in nouns():
            return None
        command = getattr(importlib.import_module(f"skerry.entry.cli.{cmd_name}"), cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"skerry.entry.cli.{cmd_name}.{cmd_name} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Nouns"):
            formatter.write_dl(sorted(nouns().items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in nouns() and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], nouns(), n=1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            if args[0] in NOUNS:
                meant = " It is for a workstation; a host does not have it."
            ctx.fail(f"No such noun {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)


def _contexts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from skerry.entry.cli.context import complete_context

    return complete_context(ctx, param, incomplete)


@click.group(cls=Nouns, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(skerry.__version__, prog_name="skerry", message="%(prog)s %(version)s")
@click.option(
    "--context",
    metavar="NAME",
    shell_complete=_contexts,
    help="The cluster to speak to; `skerry context list` names them.",
)
def cli(context: str | None) -> None:
    """Skerry: a small, immutable host for containers.

    `skerry NOUN --help` tells what can be done with each.
    """
    if context is not None:
        os.environ["SKERRY_CONTEXT"] = context


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command and exit; every SkerryError becomes `error: …` and `hint: …` on stderr."""
    sys.exit(run(cli, sys.argv[1:] if argv is None else list(argv), name="skerry"))


def run(command: click.Command, argv: list[str], *, name: str) -> int:
    """Run a click command and return its exit code, with errors shown as everywhere in Skerry."""
    try:
        result = command.main(argv, prog_name=name, standalone_mode=False)
    except click.ClickException as error:
        show_error(SkerryError(error.format_message(), hint=_usage(error, name)))
        return error.exit_code
    except SkerryError as error:
        show_error(error)
        return FAILED
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our answer has had enough; keep the interpreter from flushing into the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return result if isinstance(result, int) else 0


def _usage(error: click.ClickException, name: str) -> str | None:
    """Where a person who misused a command reads on."""
    if not isinstance(error, click.UsageError):
        return None
    return f"`{error.ctx.command_path if error.ctx else name} --help` tells how it is used"


def show_error(error: SkerryError) -> None:
    """`error:` and `hint:` on stderr, red where a person looks on."""
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    prefix = "\033[31merror:\033[0m" if colour else "error:"
    print(f"{prefix} {error.message}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)


if __name__ == "__main__":
    main()
