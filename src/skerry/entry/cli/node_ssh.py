"""Onto machines, by the system's own ssh: a terminal on one, or a command on many side by side."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING

from skerry.entry.cli.api import connect
from skerry.entry.cli.output import RED, colour
from skerry.fleet.state.node import Liveness
from skerry.kit.errors import SkerryError
from skerry.kit.run import ProgramError, run

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from skerry.entry.rest.views import NodeView
    from skerry.kit.run import Completed

AT_ONCE = 32
CONNECT_S = 10
PASSED = ("HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK", "TERM")


class NoAddressError(SkerryError):
    """A machine has told no address to reach it at."""


def ssh_argv(node: NodeView, command: Sequence[str], *, user: str | None, batch: bool) -> list[str]:
    """The ssh that runs a command on a machine, or opens a shell there. Raises NoAddressError.

    The command is quoted, so that it arrives as the words that it is here. The host key is known by the
    machine's id, so that it holds when an address changes hands.
    """
    if not node.address:
        raise NoAddressError(
            f"{node.hostname or node.id} has told no address", hint="`skerry node show` tells how it is"
        )
    argv = ["ssh", "-o", f"HostKeyAlias=skerry-{node.id}", "-o", "CheckHostIP=no"]
    if batch:
        argv += ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S}"]
    argv.append(f"{user}@{node.address}" if user else node.address)
    return [*argv, "--", shlex.join(command)] if command else argv


def shell(word: str, command: Sequence[str], *, user: str | None) -> None:
    """Become the ssh to that machine; does not return."""
    argv = ssh_argv(connect().node(word), command, user=user, batch=False)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - the person's own terminal goes with it
    except FileNotFoundError:
        raise SkerryError(
            "this machine has no ssh client", hint="run `skerry` on your workstation, with a context"
        ) from None


def everywhere(
    words: Iterable[str], labels: Sequence[str], command: Sequence[str], *, user: str | None, timeout_s: float
) -> int:
    """Run a command on machines side by side, and print what each says; 1 where it failed on any."""
    from concurrent.futures import ThreadPoolExecutor

    skerry = connect()
    nodes = [skerry.node(word) for word in words]
    if not nodes:
        nodes = [node for node in skerry.nodes(*labels) if node.liveness is Liveness.READY]
    if not nodes:
        raise SkerryError("no machine is meant", hint="`skerry node list` shows their labels and states")
    environment = {name: os.environ[name] for name in PASSED if name in os.environ}
    width = max(len(_name(node)) for node in nodes)

    def one(node: NodeView) -> Completed | SkerryError:
        try:
            argv = ssh_argv(node, command, user=user, batch=True)
            return run(argv, timeout_s=timeout_s, env=environment, check=False)
        except (ProgramError, NoAddressError) as error:
            return error

    failed = False
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for node, done in zip(nodes, pool.map(one, nodes), strict=True):
            failed |= _print(_name(node).ljust(width), done)
    return int(failed)


def _print(name: str, done: Completed | SkerryError) -> bool:
    """What one machine said, each line with its name; whether it failed."""
    if isinstance(done, SkerryError):
        print(f"{name}  {colour(done.message.splitlines()[0], RED, sys.stderr)}", file=sys.stderr)
        return True
    for line in done.text.splitlines():
        print(f"{name}  {line}")
    for line in done.stderr.decode(errors="replace").splitlines():
        print(f"{name}  {line}", file=sys.stderr)
    if done.status:
        print(f"{name}  {colour(f'ended with status {done.status}', RED, sys.stderr)}", file=sys.stderr)
    return bool(done.status)


def _name(node: NodeView) -> str:
    return node.hostname or node.id[:8]
