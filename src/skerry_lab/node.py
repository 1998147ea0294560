"""A node of a lab: one machine that runs the image, whatever kind of machine that is.

The lab's tests and commands speak only to this class. A kind implements the few methods marked abstract;
what can be said in terms of them stands here.
"""

from __future__ import annotations

import abc
import contextlib
import time
from collections.abc import Mapping  # noqa: TC003 - msgspec reads the types of NodeSpec
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from skerry_lab.errors import NodeError, NotReadyError
from skerry_lab.journal import Entry, parse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BOOT_ID = "/proc/sys/kernel/random/boot_id"
WRITE = """set -e
mkdir -p "$(dirname "$1")"
cat > "$1.new"
chmod "$2" "$1.new"
mv -f "$1.new" "$1"
"""


@dataclass(frozen=True, slots=True)
class Completed:
    """How a program on a node ended, and what it wrote."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")

    @property
    def error_text(self) -> str:
        return self.stderr.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What to make.

    `cloud_config`: the user's document, to which the lab adds the node's name and its registry, unless
    `wrap` is false. `deliver`: how it reaches a virtual machine ("credential", "cidata"). `disk`: the size
    of its disk, as qemu-img has it. `files`: content by absolute path, laid into /etc or /var of an nspawn
    node before it boots. `segment`: whether a virtual machine has a second card, on which it meets the
    lab's others (segment.py).
    """

    name: str
    cloud_config: str = ""
    memory_mib: int = 1024
    cpus: int = 2
    wrap: bool = True
    deliver: str = "credential"
    disk: str = "8G"
    segment: bool = False
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeImage:
    """What the composer made: the disk that virtual machines boot, the tree that nspawn nodes boot."""

    disk: Path | None
    tree: Path | None


class Node(abc.ABC):
    """One node. Everything is synchronous and bounded in time; errors are NodeError."""

    kind: str

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory

    @property
    def console_log(self) -> Path:
        return self.directory / "console.log"

    @abc.abstractmethod
    def start(self) -> None:
        """Switch it on. Returns before it has booted."""

    @abc.abstractmethod
    def running(self) -> bool:
        """Whether the machine is on."""

    @abc.abstractmethod
    def try_run(self, argv: Sequence[str], *, timeout_s: float = 60, stdin: bytes | None = None) -> Completed:
        """Run a program on the node as root, and say how it ended.

        Raises NodeError where the node cannot be reached, or the program does not end in time.
        """

    @abc.abstractmethod
    def command(self, argv: Sequence[str] = (), *, terminal: bool = False) -> list[str]:
        """The program here that runs one there; a login shell where none is given."""

    @abc.abstractmethod
    def forward(self, port: int) -> tuple[str, int]:
        """The address on this machine's loopback where the node's TCP port answers."""

    @property
    @abc.abstractmethod
    def address(self) -> str:
        """Where the lab's other nodes reach it. Raises NodeError where they do not."""

    @abc.abstractmethod
    def set_network(self, *, up: bool) -> None:
        """Plug the node's network cable in or out."""

    @abc.abstractmethod
    def kill_power(self) -> None:
        """Cut the power: no process on the node gets to do anything more."""

    @abc.abstractmethod
    def stop(self, *, timeout_s: float = 60) -> None:
        """Shut down in order; kill the power where that takes too long."""

    def run(self, argv: Sequence[str], *, timeout_s: float = 60, stdin: bytes | None = None) -> Completed:
        """Run a program on the node as root. Raises NodeError unless it succeeds."""
        done = self.try_run(argv, timeout_s=timeout_s, stdin=stdin)
        if done.status != 0:
            said = (done.error_text or done.text).strip()[-1000:]
            raise NodeError(f"{self.name}: {' '.join(argv)} failed with status {done.status}: {said}")
        return done

    def put(self, path: str, content: bytes | str, *, mode: int = 0o644) -> None:
        """Write a file on the node, whole or not at all."""
        data = content.encode() if isinstance(content, str) else content
        self.run(["sh", "-c", WRITE, "sh", path, f"{mode:o}"], stdin=data)

    def read(self, path: str) -> str:
        """A file of the node."""
        return self.run(["cat", path]).text

    def journal(self, *arguments: str) -> list[Entry]:
        """The journal of this boot, or what journalctl's arguments select, oldest line first."""
        chosen = arguments or ("--boot",)
        return parse(self.run(["journalctl", "--no-pager", "--output=json", "--quiet", *chosen]).text)

    def console(self) -> str:
        """Everything the node wrote to its console since it was made."""
        return self.console_log.read_text(errors="replace") if self.console_log.exists() else ""

    def boot_id(self) -> str:
        """A name of the present boot, another one after each."""
        return self.run(["cat", BOOT_ID], timeout_s=20).text.strip()

    def wait_ready(self, *, timeout_s: float = 120, other_than: str | None = None) -> str:
        """Wait until the node has booted; systemd's word for how ("running", "degraded").

        `other_than` is the id of a boot that does not count, as of the one before a reboot. Raises
        NotReadyError with the console's last lines.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not self.running():
                raise NotReadyError(f"{self.name} went off while it was booting\n{self._last_lines()}")
            left = deadline - time.monotonic()
            with contextlib.suppress(NodeError):
                if other_than is None or self.boot_id() != other_than:
                    state = self.try_run(
                        ["systemctl", "is-system-running", "--wait"], timeout_s=left
                    ).text.strip()
                    if state in {"running", "degraded"}:
                        return state
            time.sleep(0.2)
        raise NotReadyError(f"{self.name} was not ready within {timeout_s:g} s\n{self._last_lines()}")

    def reboot(self, *, timeout_s: float = 120) -> str:
        """Boot again, in order, and wait until that is done."""
        before = self.boot_id()
        with contextlib.suppress(NodeError):  # the connection may end before the command does
            self.try_run(["systemctl", "reboot"], timeout_s=20)
        return self.wait_ready(timeout_s=timeout_s, other_than=before)

    def _last_lines(self) -> str:
        return "\n".join(f"  | {line}" for line in self.console().splitlines()[-15:])
