"""/v1/host: which version this machine runs, from which slot, how it came up, and how it is.

Everything is read when it is asked for, from files: os-release, the kernel's command line, procfs, and
the report that provisioning left, and what updates wrote down. Nothing here needs the store, so it answers
when the store cannot be opened, and then says why.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from starlette.routing import Route

import skerry
from skerry.entry.rest.codec import respond
from skerry.entry.rest.openapi import described
from skerry.host.update.status import UpdateStatus, read_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from skerry.kit.http import Json

PROVISION_REPORT = "var/lib/skerry/provision/report.json"
# The words of the kernel's command line and the name of the device: see os/initrd/init.
_ROOT_HASH = re.compile(r"\bskerry\.verity=([0-9a-f]{64}),")
_ROOT_DEVICE = "root"
# The number of a slot's root among the partitions: see image.compose.disk.
_SLOTS = {2: "A", 4: "B"}


class Memory(msgspec.Struct, frozen=True):
    """Bytes; `skerryd_bytes` is the resident set of the daemon itself."""

    total_bytes: int
    available_bytes: int
    skerryd_bytes: int


class Os(msgspec.Struct, frozen=True):
    """`version` and `image_version` are os-release's; "" where it says nothing."""

    name: str
    version: str
    image_version: str
    kernel: str


class Boot(msgspec.Struct, frozen=True):
    """`verity` is "active" where / is opened with the root hash on the kernel's command line, else "off"."""

    slot: str
    verity: str
    root_hash: str
    boot_id: str
    uptime_s: float
    entry: str


class HostStatus(msgspec.Struct, frozen=True):
    """`healthy` is false where `problems` holds sentences about this machine."""

    skerry_version: str
    hostname: str
    machine_id: str
    os: Os
    boot: Boot
    memory: Memory
    load_average: tuple[float, float, float]
    healthy: bool
    problems: tuple[str, ...]
    provision: msgspec.Raw
    update: UpdateStatus


@dataclass(frozen=True, slots=True)
class Host:
    """Reads under `root`, so that tests have a machine of their own; `degraded` says what is wrong."""

    machine_id: str
    degraded: Callable[[], str | None] = lambda: None
    root: Path = Path("/")

    def routes(self) -> list[Route]:
        return [Route("/v1/host", self.get, methods=["GET"])]

    @described(gives=HostStatus)
    async def get(self, request: Request) -> Response:
        """How this machine is: version, slot, memory, provisioning."""
        return respond(self.status())

    def status(self) -> HostStatus:
        """How this machine is now."""
        release = self._os_release()
        provision = self._provision()
        problems = [said for said in (self.degraded(),) if said]
        if isinstance(provision, dict) and provision.get("result") not in ("applied", "unchanged"):
            problems.append("provisioning left out a part of the cloud-config: see `skerry provision show`")
        uname = os.uname()
        return HostStatus(
            skerry_version=skerry.__version__,
            hostname=uname.nodename,
            machine_id=self.machine_id,
            os=Os(
                release.get("PRETTY_NAME", release.get("NAME", "")),
                release.get("VERSION_ID", ""),
                release.get("IMAGE_VERSION", ""),
                uname.release,
            ),
            boot=self._boot(),
            memory=self._memory(),
            load_average=os.getloadavg(),
            healthy=not problems,
            problems=tuple(problems),
            provision=msgspec.Raw(msgspec.json.encode(provision)),
            update=read_status(release.get("IMAGE_VERSION", ""), self.root),
        )

    def _boot(self) -> Boot:
        root_hash = _ROOT_HASH.search(self._read("proc/cmdline"))
        device = self._root_device()
        uptime = self._read("proc/uptime").split()
        return Boot(
            slot=self._slot(device) if device else "",
            verity="active" if root_hash and device else "off",
            root_hash=root_hash[1] if root_hash else "",
            boot_id=self._read("proc/sys/kernel/random/boot_id").strip(),
            uptime_s=float(uptime[0]) if uptime else 0.0,
            entry=self._booted_entry(),
        )

    def _root_device(self) -> Path | None:
        """The device mapper's device that the initrd opened for /."""
        for name in (self.root / "sys/class/block").glob("dm-*/dm/name"):
            if name.read_text().strip() == _ROOT_DEVICE:
                return name.parent.parent
        return None

    def _slot(self, device: Path) -> str:
        """Which slot the device's partitions are of: the lower of their two numbers is the root's."""
        numbers = [int(path.read_text()) for path in device.glob("slaves/*/partition")]
        return _SLOTS.get(min(numbers, default=0), "")

    def _booted_entry(self) -> str:
        """The entry that systemd-boot started: an EFI variable, 4 bytes of attributes, then UTF-16."""
        name = "LoaderEntrySelected-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
        try:
            raw = (self.root / "sys/firmware/efi/efivars" / name).read_bytes()
        except OSError:
            return ""
        return raw[4:].decode("utf-16-le", errors="replace").rstrip("\0")

    def _memory(self) -> Memory:
        sizes = {}
        for line in self._read("proc/meminfo").splitlines():
            name, _, rest = line.partition(":")
            sizes[name] = int(rest.split()[0]) * 1024 if rest.split() else 0
        pages = self._read("proc/self/statm").split()
        resident = int(pages[1]) * os.sysconf("SC_PAGESIZE") if len(pages) > 1 else 0
        return Memory(sizes.get("MemTotal", 0), sizes.get("MemAvailable", 0), resident)

    def _os_release(self) -> dict[str, str]:
        text = self._read("etc/os-release") or self._read("usr/lib/os-release")
        pairs = (line.partition("=") for line in text.splitlines() if "=" in line and line[0] != "#")
        return {name: value.strip("\"'") for name, _, value in pairs}

    def _provision(self) -> Json:
        """The report as provisioning wrote it; None where this machine was given nothing."""
        text = self._read(PROVISION_REPORT)
        if not text:
            return None
        try:
            value: Json = json.loads(text)
        except ValueError:
            return {"result": "damaged", "problems": [f"/{PROVISION_REPORT} is not JSON"]}
        return value

    def _read(self, path: str) -> str:
        try:
            return (self.root / path).read_text(errors="replace")
        except OSError:
            return ""
