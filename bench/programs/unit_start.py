"""On a node, as root: how long `skerry unit start` and `systemctl start` of the same service take, in turns.

`python3 -I - ROUNDS`; prints {"what": [milliseconds, …], …}. Both start a loaded service that is stopped in
between; what Skerry adds is the start of Python, the request, the commit to disk, the agent, and the wait
for the report.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

UNIT = "skerry-bench-start.service"
PEER = "skerry-bench-peer.service"
TEXT = "[Service]\nExecStart=/bin/sleep 1000\n"
PAUSE_S = 1.0  # one person starts one unit; reports of a machine under load are gathered


def timed(*argv: str) -> float:
    """Milliseconds that a command takes; it must succeed."""
    begun = time.perf_counter()
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begun) * 1000


def measure(rounds: int) -> dict[str, list[float]]:
    """Start and stop each way, in turns; the first turn only warms up."""
    times: dict[str, list[float]] = {"skerry unit start": [], "systemctl start": [], "skerry --help": []}
    for _ in range(rounds + 1):
        times["systemctl start"].append(timed("systemctl", "start", PEER))
        times["skerry unit start"].append(timed("skerry", "unit", "start", UNIT))
        times["skerry --help"].append(timed("skerry", "--help"))
        timed("systemctl", "stop", PEER)
        timed("skerry", "unit", "stop", UNIT)
        time.sleep(PAUSE_S)
    return {what: values[1:] for what, values in times.items()}


def main() -> None:
    peer = Path("/run/systemd/system") / PEER
    with tempfile.TemporaryDirectory() as directory:
        unit = Path(directory) / UNIT
        unit.write_text(TEXT)
        peer.write_text(TEXT)
        timed("systemctl", "daemon-reload")
        timed("skerry", "unit", "load", str(unit))
    try:
        times = measure(int(sys.argv[1]))
    finally:
        timed("systemctl", "stop", PEER)
        timed("skerry", "unit", "destroy", UNIT)
        peer.unlink()
    print(json.dumps(times))


if __name__ == "__main__":
    main()
