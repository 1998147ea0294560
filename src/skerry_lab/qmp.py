"""QEMU's machine protocol, as much of it as a lab needs: one command at a time over a Unix socket.

QEMU speaks JSON lines: a greeting, then answers ("return" or "error") among events, which are passed over.
Source: QEMU's docs/interop/qmp-spec.
"""

from __future__ import annotations

import contextlib
import json
import socket
from typing import TYPE_CHECKING

from skerry_lab.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader
    from pathlib import Path


class Qmp:
    """An open conversation."""

    def __init__(self, connection: socket.socket, answers: BufferedReader) -> None:
        self._connection = connection
        self._answers = answers

    def command(self, name: str, /, **arguments: object) -> object:
        """Have QEMU do something; what it returns. Raises NodeError as it says."""
        message = {"execute": name} | ({"arguments": arguments} if arguments else {})
        try:
            self._connection.sendall(json.dumps(message).encode() + b"\n")
            while line := self._answers.readline():
                answer = json.loads(line)
                if "error" in answer:
                    raise NodeError(f"QEMU refuses {name}: {answer['error'].get('desc')}")
                if "return" in answer:
                    returned: object = answer["return"]
                    return returned
        except OSError as error:
            raise NodeError(f"QEMU does not answer {name}: {error}") from error
        raise NodeError(f"QEMU went away during {name}")

    def monitor(self, line: str) -> str:
        """A line for the human monitor, for what has no command of its own; what it prints."""
        return str(self.command("human-monitor-command", **{"command-line": line}))


@contextlib.contextmanager
def converse(path: Path, *, timeout_s: float = 60) -> Iterator[Qmp]:
    """Open QEMU's socket for a few commands. Raises NodeError where nobody is there."""
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(socket.socket(socket.AF_UNIX))
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(path))
        except OSError as error:
            raise NodeError(f"no QEMU answers at {path}: {error.strerror}") from error
        answers = stack.enter_context(connection.makefile("rb"))
        answers.readline()
        qmp = Qmp(connection, answers)
        qmp.command("qmp_capabilities")
        yield qmp
