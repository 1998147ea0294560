"""etcdctl against the whole daemon: what it set is there after a kill, and it starts with little."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from fakes.daemon import Daemon

if TYPE_CHECKING:
    from pathlib import Path

OURS = [sys.executable, "-S", "-c", "from skerry.entry.cli.etcdctl import main; main()"]


def etcdctl(daemon: Daemon, *words: str) -> str:
    socket = str(daemon.root / "run/skerry/api.sock")
    paths = [path for path in sys.path if path]
    environment = {"PYTHONPATH": os.pathsep.join(paths), "ETCDCTL_PEERS": socket}
    done = subprocess.run([*OURS, *words], env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_what_was_set_is_there_after_a_kill(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    with daemon:
        assert etcdctl(daemon, "set", "/domains/example.com/10.10.10.123:8081", "running") == "running\n"
        assert etcdctl(daemon, "set", "/short", "1", "--ttl", "3600") == "1\n"
        daemon.kill()
        daemon.start()
        assert etcdctl(daemon, "get", "/domains/example.com/10.10.10.123:8081") == "running\n"
        assert etcdctl(daemon, "ls", "-p", "/") == "/domains/\n/short\n"
        assert etcdctl(daemon, "rm", "/domains/example.com/10.10.10.123:8081") == "PrevNode.Value: running\n"


def test_it_imports_little() -> None:
    """What a unit waits for in ExecStartPost is mostly the start of Python: these would double it."""
    show = "import sys, skerry.entry.cli.etcdctl; print(*sys.modules)"
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-S", "-c", show],
        env={"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"argparse", "asyncio", "click", "http.client", "msgspec", "ssl", "subprocess", "urllib.parse"}
    assert heavy & set(done.stdout.split()) == set()
