"""How much longer `skerry unit start` takes than `systemctl start` of the same service, on a node.

Run on a node as root: `python3 bench/unit_start.py [ROUNDS]`. Both start a loaded service that is stopped in
between, taken in turns; the difference of the medians is what Skerry adds: the start of Python, the
request, the commit to disk, the agent, and the wait for the report. Prints a table and a line of JSON.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

UNIT = "skerry-bench-start.service"
PEER = "skerry-bench-peer.service"
TEXT = "[Service]\nExecStart=/bin/sleep 1000\n"
GOAL_MS = 50
PAUSE_S = (
    1.0  # one person starts one unit: reports of a machine under load are gathered, see fleet.agent.report
)


def timed(*argv: str) -> float:
    """Milliseconds that a command takes; it must succeed."""
    begun = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begun) * 1000


def measure(rounds: int) -> dict[str, list[float]]:
    """Start and stop each way, in turns."""
    times: dict[str, list[float]] = {"systemctl start": [], "skerry unit start": [], "skerry --help": []}
    for _ in range(rounds):
        times["systemctl start"].append(timed("systemctl", "start", PEER))
        times["skerry unit start"].append(timed("skerry", "unit", "start", UNIT))
        times["skerry --help"].append(timed("skerry", "--help"))
        timed("systemctl", "stop", PEER)
        timed("skerry", "unit", "stop", UNIT)
        time.sleep(PAUSE_S)
    return times


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    peer = Path("/run/systemd/system") / PEER
    with tempfile.TemporaryDirectory() as directory:
        unit = Path(directory) / UNIT
        unit.write_text(TEXT)
        peer.write_text(TEXT)
        timed("systemctl", "daemon-reload")
        timed("skerry", "unit", "load", str(unit))
    try:
        times = measure(rounds)
    finally:
        timed("systemctl", "stop", PEER)
        timed("skerry", "unit", "destroy", UNIT)
        peer.unlink()
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        print(f"{name:20} median {medians[name]:6.1f} ms  best {min(values):6.1f}  worst {max(values):6.1f}")
    added = medians["skerry unit start"] - medians["systemctl start"]
    print(f"added by Skerry: {added:.1f} ms (goal: at most {GOAL_MS})")
    result = {"bench": "unit_start", "rounds": rounds, "medians_ms": medians, "added_ms": added}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
