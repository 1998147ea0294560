"""Telling systemd how a service is: sd_notify(3) without a library, and sockets that systemd hands over.

Messages are datagrams of `NAME=value` lines to $NOTIFY_SOCKET ("@" begins an abstract name). Sockets
come as file descriptors from 3 on: sd_listen_fds(3). Where systemd did not start us nothing happens.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_FD = 3


def notify(message: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Send `READY=1`, `WATCHDOG=1`, `STATUS=…` and the like; whether anyone listens."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.connect("\0" + address[1:] if address[0] == "@" else address)
            sender.sendall(message.encode())
        except OSError:
            return False
    return True


def watchdog_s(environment: Mapping[str, str] = os.environ) -> float | None:
    """How often systemd wants to hear `WATCHDOG=1`, at the least; None where it does not watch."""
    period = environment.get("WATCHDOG_USEC", "")
    pid = environment.get("WATCHDOG_PID", "")
    if not period.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(period) / 1e6


def listen_fds(environment: Mapping[str, str] = os.environ) -> list[socket.socket]:
    """The sockets that systemd opened for this process, none where it did not."""
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(environment.get("LISTEN_FDS", "0"))
    return [socket.socket(fileno=fd) for fd in range(FIRST_FD, FIRST_FD + count)]
