"""On a node, as root: units that are started in every way, in turns; when each was asked for and seen to run.

`python3 -I - ROUNDS [ROLE]`; with ROLE they go to machines of that label. Each start is of a unit of its own.
Prints {"what": [[unit, asked, told], …], …}, in seconds of the monotonic clock, by which systemd says itself
when it was that a unit began to run. The first turn only warms up, and is left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = ["/usr/lib/skerry", "/usr/lib/python3/dist-packages"]

from skerry.entry.rest.client import Skerry  # noqa: E402
from skerry.entry.rest.views import Offer  # noqa: E402

TEXT = "[Service]\nExecStart=/bin/sleep infinity\n"
THERE = "[X-Fleet]\nMachineMetadata=role={}\n"
UNITS = Path("/run/systemd/system")
PAUSE_S = 0.5  # one person starts one unit; reports of a machine under load are gathered


def run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def main() -> None:
    rounds = int(sys.argv[1])
    text = TEXT + (THERE.format(sys.argv[2]) if sys.argv[2:] else "")
    skerry = Skerry.local()

    def through_api(unit: str) -> None:
        skerry.start(unit, offers=[Offer(unit, text)])

    def through_command(unit: str) -> None:
        run("skerry", "unit", "start", str(folder / unit))

    def through_systemd(unit: str) -> None:
        run("systemctl", "start", unit)

    def through_file(unit: str) -> None:
        (UNITS / unit).write_text(TEXT)
        run("systemctl", "daemon-reload")
        run("systemctl", "start", unit)

    ways = {
        "API client": through_api,
        "skerry unit start": through_command,
        "systemctl start": through_systemd,
        "file, reload, systemctl start": through_file,
    }
    taken: dict[str, list[tuple[str, float, float]]] = {what: [] for what in ways}
    mark = time.monotonic_ns()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(rounds + 1):
            for way, (what, start) in enumerate(ways.items()):
                unit = f"bench-{mark}-{way}-{number}.service"
                if start is through_command:
                    (folder / unit).write_text(text)
                if start is through_systemd:
                    (UNITS / unit).write_text(TEXT)
                    run("systemctl", "daemon-reload")
                time.sleep(PAUSE_S)
                asked = time.monotonic()
                start(unit)
                if number:
                    taken[what].append((unit, asked, time.monotonic()))
    print(json.dumps(taken))


if __name__ == "__main__":
    main()
