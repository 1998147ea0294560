"""Units before and after: what ran must run again, and what had not failed must not have failed.

    systemctl show --property=… '*.service' …    all that is asked when an update is staged, unit by unit
    systemctl list-units --output=json           all that is asked later: one call for all
    systemctl show --property=Id,NRestarts …     of the services that must run, to see which keep restarting

A unit that was not well before the update asks for nothing. Neither does one that a boot does not start (but
a person, a message, its own socket or timer), nor one of the image that the new version no longer has: its
author took it away. Mounts that systemd only sees, and transient units, come and go and are not looked at.
"""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

import msgspec

from skerry.host.health.errors import HealthRecordError

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS = ("service", "socket", "timer", "path", "mount", "automount", "swap")
STATES = ("Id", "LoadState", "ActiveState", "SubState", "FragmentPath", "Transient")
STARTERS = ("WantedBy", "RequiredBy", "UpheldBy")
SHOW = (
    "systemctl",
    "show",
    f"--property={','.join((*STATES, *STARTERS, 'TriggeredBy'))}",
    *(f"*.{kind}" for kind in KINDS),
)
LIST = ("systemctl", "list-units", "--all", "--full", f"--type={','.join(KINDS)}", "--output=json")
RESTARTS = ("systemctl", "show", "--property=Id,NRestarts")
# Of a login, a device or this look itself.
PASSING = ("user@*", "user-runtime-dir@*", "*getty@*", "systemd-fsck@*", "modprobe@*", "efi.mount")
OURS = ("skerry-health.*", "skerry-settle.*", "skerry-probation.*", "skerry-fallback.*", "skerry-update.*")
BLESSING = ("systemd-bless-boot.service",)
RUNNING = ("active", "reloading", "refreshing")
OF_IMAGE = ("/usr/", "/lib/")
PLACED = ("/run/systemd/system/", "/run/systemd/generator")  # by skerryd and by Quadlet, at every boot anew


class UnitLook(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A unit as systemd has it. `of_image`: its file belongs to the version. `by_boot`: a boot starts it."""

    active: str
    sub: str = ""
    of_image: bool = False
    by_boot: bool = False

    @property
    def must_run(self) -> bool:
        """Whether it must run after a boot, having run before it."""
        return self.by_boot and self.active in RUNNING


class _Listed(msgspec.Struct):
    unit: str
    load: str
    active: str
    sub: str


def parse_show(text: str) -> dict[str, UnitLook]:
    """The units worth comparing with later, from what SHOW writes."""
    found = {}
    for fields in _blocks(text):
        name, file = fields.get("Id", ""), fields.get("FragmentPath", "")
        if not name or not file or fields.get("Transient") == "yes" or fields.get("LoadState") != "loaded":
            continue
        if not _passing(name):
            found[name] = UnitLook(
                active=fields.get("ActiveState", ""),
                sub=fields.get("SubState", ""),
                of_image=file.startswith(OF_IMAGE),
                by_boot=_by_boot(fields, file),
            )
    return dict(sorted(found.items()))


def parse_list(text: str) -> dict[str, UnitLook]:
    """The units as they are, from what LIST writes. Raises HealthRecordError where that is not JSON."""
    try:
        listed = msgspec.json.decode(text, type=list[_Listed])
    except msgspec.DecodeError as error:
        raise HealthRecordError(f"systemctl does not list units as JSON: {error}") from error
    return {
        unit.unit: UnitLook(unit.active, unit.sub)
        for unit in listed
        if unit.load == "loaded" and not _passing(unit.unit)
    }


def parse_restarts(text: str) -> dict[str, int]:
    """How often systemd started each service again by itself, from what RESTARTS writes."""
    found = {fields.get("Id", ""): fields.get("NRestarts", "") for fields in _blocks(text)}
    return {name: int(number) for name, number in found.items() if number.isdigit()}


def worse(before: Mapping[str, UnitLook], now: Mapping[str, UnitLook]) -> list[str]:
    """The units that were well before and are not now, in words."""
    return [said for name, look in before.items() if (said := _worse(name, look, now.get(name)))]


def restarting(first: Mapping[str, int], second: Mapping[str, int]) -> list[str]:
    """The services that systemd started again between two looks, in words."""
    return [f"{name} keeps restarting" for name, number in first.items() if second.get(name, 0) > number]


def failed(now: Mapping[str, UnitLook]) -> list[str]:
    """The units that failed, whatever was before, in words."""
    return [f"{name} failed" for name, look in now.items() if look.active == "failed"]


def _worse(name: str, before: UnitLook, now: UnitLook | None) -> str:
    if before.active == "failed":
        return ""
    if now is None:
        return f"{name} is gone" if before.must_run and not before.of_image else ""
    if now.active == "failed":
        return f"{name} failed"
    if before.must_run and now.active not in RUNNING:
        return f"{name} is {now.active} ({now.sub})" if now.sub else f"{name} is {now.active}"
    return ""


def _by_boot(fields: Mapping[str, str], file: str) -> bool:
    if fields.get("TriggeredBy"):
        return False
    return file.startswith(PLACED) or any(fields.get(starter) for starter in STARTERS)


def _passing(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in (*PASSING, *OURS, *BLESSING))


def _blocks(text: str) -> list[dict[str, str]]:
    return [dict(line.partition("=")[::2] for line in block.splitlines()) for block in text.split("\n\n")]
