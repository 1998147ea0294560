"""What a step of an update costs: bytes over the network, CPU seconds and memory of its program."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = Path(__file__).resolve().parents[1] / "programs" / "measured.py"
TIMEOUT_S = 900


@dataclass(frozen=True)
class Cost:
    """`fetched` in bytes; `peak` is the most memory that any one process of it held, in bytes."""

    fetched: int
    cpu_s: float = 0.0
    peak: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.fetched + other.fetched, self.cpu_s + other.cpu_s, max(self.peak, other.peak))


def cost(argv: Sequence[str | Path], *, cwd: Path | None = None) -> Cost:
    """Run a program to its end. Raises RuntimeError with its last words where it fails."""
    with tempfile.TemporaryDirectory(prefix="skerry-bench-") as scratch:
        result = Path(scratch, "result.json")
        limited = ["timeout", "--kill-after=5", str(TIMEOUT_S)]
        limited += [sys.executable, "-IS", str(PROGRAM), str(result)]
        done = subprocess.run(
            [*limited, *map(str, argv)], cwd=cwd, check=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode != 0:
            said = done.stdout.decode(errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(map(str, argv))} ended with {done.returncode}:\n{said}")
        used = json.loads(result.read_bytes())
    return Cost(0, used["cpu_s"], used["peak_bytes"])


def sha256(path: Path) -> str:
    """Of a whole file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def same(made: Path, wanted: Path) -> None:
    """A peer counts only where it really makes the new bytes."""
    if sha256(made) != sha256(wanted):
        raise RuntimeError(f"{made} is not what it should be, {wanted}")
