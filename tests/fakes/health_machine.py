"""A machine for skerry.host.health to look at, laid out as files, with programs that say what a test sets.

Sound to begin with: sealed, on the network, its units running, its daemon answering.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from skerry.host.health.machine import DMSETUP, Machine
from skerry.host.health.services import PODMAN
from skerry.host.health.units import LIST, RESTARTS, SHOW
from skerry.kit.run import ProgramError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ROOT_HASH = "ab" * 32
MOUNTINFO = """\
21 1 253:0 / / ro,nodev shared:1 - erofs /dev/dm-0 ro
22 21 8:4 / /var rw,nosuid,nodev,noatime shared:2 - ext4 /dev/sda6 rw
23 21 8:4 /lib/skerry/etc/2 /etc rw,nosuid,nodev,noatime shared:3 - ext4 /dev/sda6 rw
"""
ROUTE = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT
ens1\t00000000\t0202000A\t0003\t0\t0\t1024\t00000000\t0\t0\t0
ens1\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""


class FakeTimes:
    """The parts of the module `time` that are used; sleeping is what makes time pass."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.passed = 0.0
        self.start = now

    def time(self) -> float:
        return self.start + self.passed

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float, /) -> None:
        self.passed += seconds


def block(name: str, active: str = "active", sub: str = "running", **others: str) -> str:
    """One unit as `systemctl show` tells of it; enabled, with its file in /etc, unless told otherwise."""
    fields = {
        "Id": name,
        "LoadState": "loaded",
        "ActiveState": active,
        "SubState": sub,
        "Result": "success",
        "NRestarts": "0",
        "FragmentPath": f"/etc/systemd/system/{name}",
        "Transient": "no",
        "WantedBy": "multi-user.target",
        "RequiredBy": "",
        "UpheldBy": "",
        "TriggeredBy": "",
        **others,
    }
    return "\n".join(f"{key}={value}" for key, value in fields.items()) + "\n"


def listing(*blocks: str) -> str:
    """The same units as `systemctl list-units` tells of them."""
    found = [dict(line.partition("=")[::2] for line in text.splitlines()) for text in blocks if text]
    keys = {"unit": "Id", "load": "LoadState", "active": "ActiveState", "sub": "SubState"}
    rows = [{key: fields[name] for key, name in keys.items()} for fields in found]
    return json.dumps([{**row, "description": "a unit"} for row in rows])


@dataclass
class FakeMachine:
    """Lays out `root`; `programs` holds what each program writes, or its complaint where it fails."""

    root: Path
    times: FakeTimes = field(default_factory=FakeTimes)
    units: dict[str, str] = field(default_factory=dict)
    programs: dict[Sequence[str], str | ProgramError] = field(default_factory=dict)
    skerryd: str = ""
    looks_at_restarts: int = 0

    def __post_init__(self) -> None:
        self.write("proc/self/mountinfo", MOUNTINFO)
        self.boots("2")
        self.write("proc/sys/kernel/random/boot_id", "1b6d\n")
        self.write("proc/net/route", ROUTE)
        self.write("proc/net/ipv6_route", "")
        self.write("proc/net/if_inet6", "")
        self.write("sys/class/net/ens1/address", "52:54:00:00:00:01\n")
        self.write("sys/class/net/ens1/device/uevent", "")
        self.programs = {DMSETUP: "0 1048576 verity V", PODMAN: "overlay\n", **self.programs}
        self.skerryd = self.skerryd or str(self.root / "no.sock")

    def boots(self, version: str) -> None:
        """As a boot of that version is."""
        self.write("proc/cmdline", f"quiet skerry.image=skerry_{version} skerry.verity={ROOT_HASH},00,8 rw")
        self.write("usr/lib/os-release", f'ID=skerry\nIMAGE_VERSION="{version}"\n')

    def write(self, path: str, content: str | bytes) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        return target

    def script(self, path: str, text: str) -> None:
        self.write(f"etc/skerry/health.d/{path}", f"#!/bin/sh\n{text}\n").chmod(0o755)

    def count(self, file: str, *others: str) -> None:
        """systemd-boot counts the tries of this boot: its entry has that name now, beside others."""
        name = "sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
        self.write(name, b"\6\0\0\0" + f"\\EFI\\Linux\\{file}\0".encode("utf-16-le"))
        for entry in (file, *others):
            self.write(f"efi/EFI/Linux/{entry}", "")

    def machine(self) -> Machine:
        return Machine(
            root=self.root,
            directory=self.root / "var/lib/skerry/update/health",
            skerryd=self.skerryd,
            program=self._program,
            times=self.times,
        )

    def _program(self, argv: Sequence[str], timeout_s: float) -> str:
        if argv == SHOW:
            return "\n".join(self.units.values())
        if argv == LIST:
            return listing(*self.units.values())
        if argv[: len(RESTARTS)] == RESTARTS:
            self.looks_at_restarts += 1
            return "\n".join(self.units[name] for name in argv[len(RESTARTS) :])
        said = self.programs[tuple(argv)]
        if isinstance(said, ProgramError):
            raise said
        return said
