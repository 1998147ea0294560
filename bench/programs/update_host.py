"""`skerry host …` on a host of files, in a process of its own: update_host.py HOST URL WORD…

HOST is a directory as bench/update_plan.py makes it. The disk, the signed repository, the download, and the
merge of /etc are real; health records nothing, and nothing reboots.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from skerry.entry.cli.main import cli, run
from skerry.entry.update import EtcOfHost
from skerry.host.etc.stage import Stager
from skerry.host.update.engine import Engine
from skerry.host.update.journal import Journal
from skerry.host.update.keep import Keep
from skerry.host.update.linux import LinuxDisk
from skerry.host.update.settings import UpdateSettings
from skerry.host.update.situation import Machine
from skerry.host.update.supply import open_repository
from skerry.kit.clock import SystemClock
from skerry.kit.progress import silent


class Around:
    def before(self) -> None:
        """No health to compare with."""

    def reboot(self, reason: str) -> None:
        raise RuntimeError(reason)

    def come_back(self, seconds: float) -> None:
        """No timer."""


def engine(host: Path, url: str) -> Engine:
    settings, clock, around = UpdateSettings(repository=url), SystemClock(), Around()
    state = host / "update"
    partitions = {number: host / f"part{number}" for number in range(1, 7)}
    stager = Stager(clock, host / "etc", host / "etc" / (host / "version").read_text(), provisioned=())
    return Engine(
        Machine("skerry", (host / "version").read_text(), "node", "boot 1"),
        LinuxDisk(host / "disk", partitions, host / "esp"),
        Journal(state),
        Keep(state, host / "extensions"),
        settings,
        clock,
        lambda: open_repository(url, host, state, clock, 0.0),
        around,
        around,
        lambda: os.statvfs(host).f_bavail * os.statvfs(host).f_frsize,
        etc=EtcOfHost(stager, settings.etc_conflicts),
        report=silent,
    )


if __name__ == "__main__":
    host, url, *words = sys.argv[1:]
    cli.context_settings["obj"] = lambda: engine(Path(host), url)
    sys.exit(run(cli, ["host", *words], name="skerry"))
