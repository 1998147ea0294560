"""How long `etcdctl set` takes, which a unit's ExecStartPost waits for: ours, and etcd's over a real etcd."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness import RESULTS, run
from store import SOURCES, served

from fakes.etcd import real_etcd

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

GOAL_MS = 80
WORDS = ("set", "/domains/example.com/10.10.10.123:8081", "running")
# As the launcher on a host does it, but for the path.
OURS = (sys.executable, "-S", "-E", "-c")
PROGRAM = f"import sys; sys.path.insert(0, {str(SOURCES / 'src')!r}); "
PROGRAM += "from skerry.entry.cli.etcdctl import main; main()"


def milliseconds(argv: Sequence[str], environment: Mapping[str, str]) -> Callable[[], float]:
    def measure() -> float:
        begun = time.perf_counter()
        subprocess.run(argv, env=environment, check=True, stdout=subprocess.DEVNULL)
        return (time.perf_counter() - begun) * 1e3

    return measure


def main() -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RESULTS) as name:
        directory = Path(name)
        with real_etcd(directory) as etcd, served(directory / "keys.db") as ours:
            path = {"PATH": os.environ["PATH"]}
            theirs = path | {"ETCDCTL_API": "2", "ETCDCTL_ENDPOINTS": etcd}
            run(
                "etcdctl_set",
                "ms",
                {
                    "our etcdctl": milliseconds([*OURS, PROGRAM, *WORDS], path | {"ETCDCTL_PEERS": ours}),
                    "etcd's etcdctl": milliseconds(["etcdctl", *WORDS], theirs),
                },
                goal=GOAL_MS,
            )


if __name__ == "__main__":
    main()
