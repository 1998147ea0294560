"""skerry-update: what the timer starts, and the one place where updates are put together.

    skerry-update      skerry-update.service: arrive, ask the channel, and as far as the strategy goes,
                       stage and reboot

Ends with 0 where there was nothing to do or something stood in the way that is not a fault of this machine;
what it was is in the journal and in `skerry host status`. `skerry host …` builds its engine here, too.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from skerry.host.etc.stage import Stager
    from skerry.host.update.around import EtcPreview
    from skerry.host.update.engine import Engine
    from skerry.host.update.settings import UpdateSettings
    from skerry.host.update.situation import Machine
    from skerry.kit.progress import Reporter

UPDATE = "var/lib/skerry/update"
EXTENSIONS = "var/lib/skerry/extensions"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
MADE = "usr/lib/clock-epoch"  # of all files of an image, the one with the time of its version
ALARM = "skerry-update-window"
_ERROR, _WARNING, _NOTE = "<3>", "<4>", "<6>"  # sd-daemon(3)
_IMAGE = re.compile(r"\bskerry\.image=([^\s_]+)_(\S+)")


def main(argv: list[str] | None = None) -> int:
    """One turn of the timer."""
    if (sys.argv[1:] if argv is None else argv) != []:
        sys.stderr.write("usage: skerry-update\n")
        return 2
    from skerry.host.update import lock
    from skerry.host.update.errors import BusyError, RefusedError
    from skerry.kit.errors import SkerryError
    from skerry.kit.transport import TransportError

    os.umask(0o022)
    try:
        with lock.held():
            _say(_NOTE, engine(say=lambda text: _say(_NOTE, text)).turn())
    except (BusyError, RefusedError, TransportError) as error:
        # The next turn may find it otherwise.
        _tell(_WARNING, error)
    except SkerryError as error:
        _tell(_ERROR, error)
        return 1
    return 0


def engine(
    root: Path = Path("/"), *, report: Reporter | None = None, say: Callable[[str], None] = lambda _: None
) -> Engine:
    """The engine of this machine. Raises SkerryError where it cannot be updated, and says why."""
    from skerry.host.health.evidence import cause
    from skerry.host.health.look import Recorder
    from skerry.host.health.machine import Machine as HealthMachine
    from skerry.host.update.engine import Engine
    from skerry.host.update.journal import Journal
    from skerry.host.update.keep import Keep
    from skerry.host.update.linux import this_machine
    from skerry.host.update.settings import read_settings
    from skerry.host.update.supply import open_repository
    from skerry.kit.clock import SystemClock
    from skerry.kit.progress import silent

    facts, settings, clock = machine(root), read_settings(root), SystemClock()
    directory = root / UPDATE
    return Engine(
        facts,
        this_machine(root),
        Journal(directory),
        Keep(directory, root / EXTENSIONS),
        settings,
        clock,
        lambda: open_repository(settings.repository, root, directory, clock, facts.built),
        Recorder(HealthMachine()),
        SystemdPower(),
        lambda: _free(root / "var"),
        etc=_etc(settings),
        evidence=lambda state: cause(root, state.since),
        report=report or silent,
        say=say,
    )


def machine(root: Path = Path("/")) -> Machine:
    """What runs. Raises DiskError where it is no Skerry image that was booted from a disk."""
    from skerry.host.update.errors import DiskError
    from skerry.host.update.situation import Machine

    found = _IMAGE.search(_read(root / "proc/cmdline"))
    if found is None:
        raise DiskError(
            "this machine was not booted from a slot",
            hint="updates are for hosts that booted a Skerry disk; containers get theirs with the image",
        )
    made = root / MADE
    kind = platform.machine()
    return Machine(
        found[1],
        found[2],
        _read(root / "etc/machine-id"),
        _read(root / "proc/sys/kernel/random/boot_id"),
        ARCHITECTURES.get(kind, kind),
        made.stat().st_mtime if made.exists() else 0.0,
    )


class SystemdPower:
    """Reboots in good order, and sets an alarm, both through systemd."""

    def reboot(self, reason: str) -> None:
        from skerry.kit.run import run

        run(["systemctl", "reboot", "--no-block", f"--message={reason}"], timeout_s=60)

    def come_back(self, seconds: float) -> None:
        from skerry.kit.run import ProgramError, run

        with contextlib.suppress(ProgramError):  # the timer comes anyhow, every hour
            run(["systemctl", "stop", f"{ALARM}.timer"], timeout_s=30, check=False)
            run(
                ["systemd-run", "--quiet", "--collect", f"--unit={ALARM}", f"--on-active={int(seconds) + 1}s",
                 "systemctl", "start", "--no-block", "skerry-update.service"],
                timeout_s=30,
            )  # fmt: skip


@dataclass(frozen=True)
class EtcOfHost:
    """host.etc's stager as updates ask for it."""

    stager: Stager
    policy: str

    def preview(self, defaults: IO[bytes], version: str, from_version: str) -> EtcPreview:
        from skerry.host.etc.actions import Policy
        from skerry.host.update.around import EtcChange, EtcPreview

        found = self.stager.preview(defaults, version, from_version, Policy(self.policy))
        changes = tuple(EtcChange(one.path, one.result.value, one.why) for one in found.changes)
        conflicts = tuple(EtcChange(one.path, one.result.value, one.why) for one in found.conflicts)
        return EtcPreview(changes, conflicts, self.policy, found.refused)

    def stage(self, version: str, from_version: str) -> None:
        from skerry.host.etc.actions import Policy

        self.stager.stage(version, from_version, Policy(self.policy))

    def unstage(self, version: str) -> None:
        self.stager.unstage(version)

    def prune(self, keep: Collection[str]) -> None:
        self.stager.prune(keep)


def _etc(settings: UpdateSettings) -> EtcOfHost:
    from skerry.host.etc.stage import Stager
    from skerry.kit.clock import SystemClock

    return EtcOfHost(Stager(SystemClock()), settings.etc_conflicts)


def _free(directory: Path) -> int:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _tell(level: str, error: Exception) -> None:
    _say(level, str(error))
    hint = getattr(error, "hint", None)
    if hint:
        _say(level, f"hint: {hint}")


def _say(level: str, text: str) -> None:
    sys.stderr.write("".join(f"{level}{line}\n" for line in text.splitlines()))


if __name__ == "__main__":
    sys.exit(main())
