"""Units before and after: what ran must run again, and what had not failed must not have failed.

    systemctl show --property=… '*.service' '*.socket' …     one program, blocks of NAME=value lines

A unit that was not well before the update asks for nothing. Neither does one that a boot does not start (but
a person, a message, its own socket or timer), nor one of the image that the new version no longer has: its
author took it away. Mounts that systemd only sees, and transient units, come and go and are not looked at.
"""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS = ("service", "socket", "timer", "path", "mount", "automount", "swap")
STATES = ("Id", "LoadState", "ActiveState", "SubState", "Result", "NRestarts", "FragmentPath", "Transient")
STARTERS = ("WantedBy", "RequiredBy", "UpheldBy")
SHOW = (
    "systemctl",
    "show",
    f"--property={','.join((*STATES, *STARTERS, 'TriggeredBy'))}",
    *(f"*.{kind}" for kind in KINDS),
)
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
    result: str = ""
    restarts: int = 0
    of_image: bool = False
    by_boot: bool = False


def parse(text: str) -> dict[str, UnitLook]:
    """The units worth comparing, from what SHOW writes."""
    found = {}
    for block in text.split("\n\n"):
        fields = dict(line.partition("=")[::2] for line in block.splitlines())
        name, file = fields.get("Id", ""), fields.get("FragmentPath", "")
        if not name or not file or fields.get("Transient") == "yes" or fields.get("LoadState") != "loaded":
            continue
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in (*PASSING, *OURS, *BLESSING)):
            continue
        restarts = fields.get("NRestarts", "")
        found[name] = UnitLook(
            active=fields.get("ActiveState", ""),
            sub=fields.get("SubState", ""),
            result=fields.get("Result", ""),
            restarts=int(restarts) if restarts.isdigit() else 0,
            of_image=file.startswith(OF_IMAGE),
            by_boot=_by_boot(fields, file),
        )
    return dict(sorted(found.items()))


def worse(before: Mapping[str, UnitLook], now: Mapping[str, UnitLook]) -> list[str]:
    """The units that were well before and are not now, in words."""
    return [said for name, look in before.items() if (said := _worse(name, look, now.get(name)))]


def restarting(first: Mapping[str, UnitLook], second: Mapping[str, UnitLook]) -> list[str]:
    """The services that systemd started again between two looks, in words."""
    pairs = ((name, look, second.get(name)) for name, look in first.items())
    return [f"{name} keeps restarting" for name, a, b in pairs if b is not None and b.restarts > a.restarts]


def _worse(name: str, before: UnitLook, now: UnitLook | None) -> str:
    if before.active == "failed":
        return ""
    if now is None:
        gone = _ran(before) and not before.of_image
        return f"{name} is gone" if gone else ""
    if now.active == "failed":
        return f"{name} failed ({now.result})" if now.result else f"{name} failed"
    if _ran(before) and now.active not in RUNNING:
        return f"{name} is {now.active} ({now.sub})" if now.sub else f"{name} is {now.active}"
    return ""


def _ran(look: UnitLook) -> bool:
    return look.by_boot and look.active in RUNNING


def _by_boot(fields: Mapping[str, str], file: str) -> bool:
    if fields.get("TriggeredBy"):
        return False
    return file.startswith(PLACED) or any(fields.get(starter) for starter in STARTERS)
