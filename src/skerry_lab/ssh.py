"""ssh to virtual machines with the lab's own key, one connection for all commands.

Refuses to read or touch the user's own ssh files and agents.
"""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.kit.run import ProgramError, run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Ssh:
    """`key`: the private key; `control`: the socket of the shared connection."""

    key: Path
    control: Path

    def command(self, host: str, port: int, argv: Sequence[str], *, terminal: bool = False) -> list[str]:
        """The ssh command that runs a program, or a login shell, as root on the other side."""
        options = {
            "IdentityFile": str(self.key),
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": "/dev/null",
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "no",
            "UpdateHostKeys": "no",
            "LogLevel": "ERROR",
            "BatchMode": "yes",
            "ConnectTimeout": "15",
            "ServerAliveInterval": "10",
            "ServerAliveCountMax": "12",  # an emulated machine may have no breath for a minute
            "ControlMaster": "auto",
            "ControlPath": str(self.control),
            "ControlPersist": "600",
        }
        if terminal:
            # A session of a person's own, that ends when they leave it.
            options |= {"ControlMaster": "no", "RequestTTY": "no" if argv else "yes"}
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        remote = ["--", shlex.join(argv)] if argv else []
        return ["ssh", "-F", "none", *words, "-p", str(port), f"root@{host}", *remote]

    def forget(self) -> None:
        """Close the shared connection, as after a reboot, when it leads nowhere."""
        if self.control.exists():
            with contextlib.suppress(ProgramError):
                run(
                    ["ssh", "-F", "none", "-o", f"ControlPath={self.control}", "-O", "exit", "root@node"],
                    timeout_s=10,
                )
            self.control.unlink(missing_ok=True)


def make_key(path: Path) -> str:
    """Make a key pair where there is none; the public one, as authorized_keys has it."""
    if not path.exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "skerry lab", "-f", str(path)])
    return path.with_name(f"{path.name}.pub").read_text().strip()
