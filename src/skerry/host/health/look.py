"""One look at a machine: all checks of an occasion, waited for as long as it takes, and what follows.

look(…)    -> Record and Verdict
before(…)  -> Before, how the machine is when an update is staged, for later looks to compare with
"""

from __future__ import annotations

from dataclasses import dataclass

from skerry.host.health.boot import Boot, read_boot
from skerry.host.health.check import Result, Status, Weight, settle
from skerry.host.health.decide import Trial, Verdict, decide
from skerry.host.health.machine import COMPARING, Machine, checks
from skerry.host.health.record import Before, Occasion, Record, Records
from skerry.host.health.settings import HealthSettings, read_settings
from skerry.image.release.manifest import EXTENSION, ROOT, decode
from skerry.kit.errors import SkerryError

MANIFESTS = "var/lib/skerry/update/manifests"
COMPARED = (Occasion.TRIAL, Occasion.PROBATION)
WAITING = (Occasion.TRIAL, Occasion.BOOT)


def look(
    machine: Machine,
    boot: Boot,
    occasion: Occasion,
    trial: Trial,
    settings: HealthSettings,
    known: Before | None,
) -> tuple[Record, Verdict]:
    """Look, and decide. `known` is used while the version is new, and only if it is of the one before.

    With nothing to fall back to only the basic checks are looked at: no other could change what follows.
    """
    times = machine.times
    begun = times.monotonic()
    earlier = known if occasion in COMPARED and known is not None and known.version != boot.version else None
    forgiven = earlier.results if earlier is not None else {}
    root_hash, extensions = _release(machine, boot.version)
    found = checks(
        machine, boot, occasion, settings, before=earlier, root_hash=root_hash, extensions=extensions
    )
    if trial is Trial.WITHOUT_FALLBACK:
        found = tuple(check for check in found if check.weight is Weight.BASIC)
    results = settle(
        found,
        times,
        deadline_s=settings.deadline_s if occasion in WAITING else 0,
        patience=lambda name: forgiven.get(name) is not Status.FAILED,
    )
    if settings.problem:
        results += (Result("settings", Weight.WANTED, Status.FAILED, settings.problem, 0.0),)
    verdict = decide(results, forgiven, trial)
    record = Record(
        boot_id=boot.id,
        version=boot.version,
        occasion=occasion,
        at=times.time(),
        took_s=round(times.monotonic() - begun, 3),
        decision=verdict.decision,
        reason=verdict.reason,
        results=results,
    )
    return record, verdict


def before(machine: Machine, boot: Boot, settings: HealthSettings) -> Before:
    """The machine as it is now. Raises SkerryError where systemd does not answer."""
    record, _ = look(machine, boot, Occasion.STAGING, Trial.NO, settings, None)
    return Before(
        version=boot.version,
        at=record.at,
        results={found.name: found.status for found in record.results if found.name not in COMPARING},
        units=machine.shown_units(),
        network=machine.network(),
    )


@dataclass(frozen=True, slots=True)
class Recorder:
    """host.update.around.HealthRecorder over a machine."""

    machine: Machine

    def before(self) -> None:
        """Look, and keep it. Takes as long as the machine's own checks. Raises SkerryError, OSError."""
        settings = read_settings(self.machine.root / "etc/skerry")
        Records(self.machine.directory).keep(before(self.machine, read_boot(self.machine.root), settings))


def _release(machine: Machine, version: str) -> tuple[str | None, dict[str, str]]:
    """The root hash, and those of the extensions, as the manifest of this version has them."""
    try:
        manifest = decode((machine.root / MANIFESTS / f"{version}.json").read_bytes())
    except (SkerryError, OSError):
        return None, {}
    hashes = {part.name: part.verity.root_hash for part in manifest.parts if part.verity is not None}
    named = {name.partition(EXTENSION)[2]: root_hash for name, root_hash in hashes.items()}
    return hashes.get(ROOT), {name: root_hash for name, root_hash in named.items() if name}
