"""The checks of this machine, put together for an occasion.

    file-systems disk sealed-root (boot-entries)     basic
    network units skerryd podman extensions          required; units only where it is known how they were
    required.d/NAME  wanted.d/NAME                   of the machine's own, see scripts.py

What compares does so with the machine before the update, and passes where that is not known. An ordinary boot
leaves out Podman, whose start costs more than all the others: who runs containers notices by their units.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.host.health import extensions as installed
from skerry.host.health import filesystems, network, scripts, services, units
from skerry.host.health.check import Check, Outcome, Times, Weight, failed, ok
from skerry.host.health.record import DIRECTORY, Before, Occasion
from skerry.kit.errors import SkerryError
from skerry.kit.http import DEFAULT_SOCKET
from skerry.kit.run import run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from skerry.host.health.boot import Boot
    from skerry.host.health.settings import HealthSettings

SYSTEMCTL_DEADLINE_S = 30.0
DMSETUP = ("dmsetup", "status", "root")
DMSETUP_DEADLINE_S = 20.0
COMPARING = frozenset({"network", "units"})  # what they say of a moment forgives nothing later
STEADY_S = 10.0  # a service that ends sooner than this after its start is not running


def run_program(argv: Sequence[str], timeout_s: float) -> str:
    """What a program writes. Raises SkerryError."""
    return run(argv, timeout_s=timeout_s).text


@dataclass(frozen=True, slots=True)
class Machine:
    """The doors to a machine: its files, its programs, its daemon, its clock. A test gives others."""

    root: Path = Path("/")
    directory: Path = DIRECTORY
    skerryd: str = DEFAULT_SOCKET
    program: Callable[[Sequence[str], float], str] = run_program
    times: Times = time

    def listed_units(self) -> dict[str, units.UnitLook]:
        """The units as they are. Raises SkerryError."""
        return units.parse_list(self.program(units.LIST, SYSTEMCTL_DEADLINE_S))

    def shown_units(self) -> dict[str, units.UnitLook]:
        """The units worth comparing with later, and what starts them. Raises SkerryError."""
        return units.parse_show(self.program(units.SHOW, SYSTEMCTL_DEADLINE_S))

    def restarts(self, names: Sequence[str]) -> dict[str, int]:
        """How often systemd started services again. Raises SkerryError."""
        return units.parse_restarts(self.program((*units.RESTARTS, *names), SYSTEMCTL_DEADLINE_S))

    def network(self) -> network.NetworkLook:
        return network.look(self.root)


def checks(
    machine: Machine,
    boot: Boot,
    occasion: Occasion,
    settings: HealthSettings,
    *,
    before: Before | None = None,
    root_hash: str | None = None,
    extensions: Mapping[str, str] | None = None,
) -> tuple[Check, ...]:
    """All checks for the occasion; the hashes are what the manifest of the release says."""
    found: list[Check] = [
        Check("file-systems", Weight.BASIC, partial(filesystems.look_at_mounts, machine.root)),
        Check("disk", Weight.BASIC, partial(filesystems.look_at_writing, machine.directory)),
    ]
    if not boot.container:
        found.append(Check("sealed-root", Weight.BASIC, partial(_root, machine, boot, root_hash)))
    if occasion is Occasion.TRIAL and boot.counted:
        entries = machine.root / "efi/EFI/Linux"
        found.append(Check("boot-entries", Weight.BASIC, partial(filesystems.look_at_entries, entries)))
    found.append(Check("network", Weight.REQUIRED, partial(_network, machine, before)))
    steady = STEADY_S if occasion is Occasion.TRIAL and before is not None and before.units else 0
    # Without a look before, nothing shows whether a unit was broken already.
    weight = Weight.REQUIRED if before is not None else Weight.WANTED
    found.append(Check("units", weight, partial(_units, machine, before, steady_s=steady)))
    found.append(Check("skerryd", Weight.REQUIRED, partial(services.look_at_skerryd, machine.skerryd)))
    if occasion is not Occasion.BOOT:
        found.append(Check("podman", Weight.REQUIRED, partial(services.look_at_podman, machine.program)))
    if names := installed.wanted(machine.root, boot.version):
        look = partial(installed.look, machine.root, boot.version, names, extensions or {})
        found.append(Check("extensions", Weight.REQUIRED, look))
    environment = {"SKERRY_HEALTH": str(occasion), "SKERRY_VERSION": boot.version}
    found += scripts.find(machine.root, environment, timeout_s=settings.script_timeout_s)
    return tuple(found)


def _root(machine: Machine, boot: Boot, expected: str | None) -> Outcome:
    try:
        status = machine.program(DMSETUP, DMSETUP_DEADLINE_S)
    except SkerryError as error:
        return failed(f"the root is not opened through dm-verity: {error.message.splitlines()[0]}")
    return filesystems.look_at_root(boot.root_hash, expected, status)


def _network(machine: Machine, before: Before | None) -> Outcome:
    now = machine.network()
    has = f"default route for {' and '.join(now.routes)}" if now.routes else "no default route"
    if before is None or not before.network.up:
        return ok(has)
    lost = network.worse(before.network, now)
    return failed(", ".join(lost)) if lost else ok(has)


def _units(machine: Machine, before: Before | None, *, steady_s: float) -> Outcome:
    now = machine.listed_units()
    if before is None:
        broken = units.failed(now)
        return failed(", ".join(broken)) if broken else ok(f"none of {len(now)} failed")
    if worse := units.worse(before.units, now):
        return failed(", ".join(worse))
    services = [name for name, look in before.units.items() if look.must_run and name.endswith(".service")]
    if steady_s and services:
        first = machine.restarts(services)
        machine.times.sleep(steady_s)
        later = units.worse(before.units, machine.listed_units())
        if restless := units.restarting(first, machine.restarts(services)) or later:
            return failed(", ".join(restless))
    return ok(f"{len(before.units)} as before the update")
