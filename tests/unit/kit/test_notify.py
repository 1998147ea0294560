"""sd_notify and socket activation, from systemd's side."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from skerry.kit.notify import listen_fds, notify, watchdog_s

if TYPE_CHECKING:
    from pathlib import Path


def test_a_message_arrives(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        systemd.settimeout(10)
        assert notify("READY=1", {"NOTIFY_SOCKET": path})
        assert systemd.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    "environment", [{}, {"NOTIFY_SOCKET": "relative"}, {"NOTIFY_SOCKET": "/nonexistent/x"}]
)
def test_nobody_who_listens_is_no_error(environment: dict[str, str]) -> None:
    assert not notify("READY=1", environment)


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_knows_how_often_systemd_wants_to_hear(environment: dict[str, str], seconds: float | None) -> None:
    assert watchdog_s(environment) == seconds


def test_sockets_for_another_process_are_left_alone() -> None:
    assert listen_fds({"LISTEN_PID": "1", "LISTEN_FDS": "2"}) == []
