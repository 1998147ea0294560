"""`skerry completion`: the script that makes a shell complete nouns, verbs, options and units."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    \b
    bash:  skerry completion bash > /etc/bash_completion.d/skerry
    zsh:   skerry completion zsh > "${fpath[1]}/_skerry"
    fish:  skerry completion fish > ~/.config/fish/completions/skerry.fish
    """
    from click.shell_completion import get_completion_class

    from skerry.entry.cli.main import cli

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"there is no completion for {shell}")
    complete = found(cli, {}, "skerry", "_SKERRY_COMPLETE")
    # Not `source()`: that starts bash to look at its version, on a host that may have none.
    click.echo(complete.source_template % complete.source_vars())
