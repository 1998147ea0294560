"""How long `skerry --help` takes, next to the help of programs that one has beside it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from harness import milliseconds, run

PEERS = (["podman", "--help"], ["systemctl", "--help"], [sys.executable, "-I", "-c", "pass"])


def main() -> None:
    skerry = str(Path(sys.executable).parent / "skerry")
    programs = [
        argv for argv in ([skerry, "--help"], [skerry, "unit", "--help"], *PEERS) if shutil.which(argv[0])
    ]
    cases = {" ".join([Path(argv[0]).name, *argv[1:]]): milliseconds(argv) for argv in programs}
    run("cli_help", "ms", cases, goal=100)


if __name__ == "__main__":
    main()
