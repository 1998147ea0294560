"""The host itself: what is to be downloaded, and on a virtual machine how it boots, idles and starts units.

Composes the image if need be, and boots it through UEFI as the lab does, three times from nothing. The
machine should have nothing else to do. As root, units are started on a container of the image's tree.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness import report

from skerry.image.compose.build import Image, Store, build
from skerry.image.content import packing
from skerry_lab.accel import choose
from skerry_lab.lab import Lab
from skerry_lab.node import Node, NodeImage, NodeSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

BOOTS = 3
UNIT_STARTS = 20
BOOT_TIMEOUT_S = 300
QUIET_S = 60  # after boot, until what it left to do is done
MB = 1e6
PROGRAMS = Path(__file__).resolve().parent / "programs"
SPAN = re.compile(r"(?:(\d+)min )?([\d.]+)(ms|s)\b")


def download(image: Image, store: Store) -> None:
    """What a host fetches that has nothing yet: root and UKI, packed as they are published."""
    packed = [packed_mb(store.path(image.label, name)) for name in ("root.erofs", "skerry.efi")]
    taken = {
        "both": [sum(packed)],
        "root": [packed[0]],
        "UKI": [packed[1]],
        "root as it is": [image.root_bytes / MB],
        "UKI as it is": [image.uki_bytes / MB],
    }
    report("download", "MB", taken, goal=70)


def packed_mb(path: Path) -> float:
    with tempfile.TemporaryFile() as file:
        packing.pack_file(path, file, level=packing.LEVEL, threads=os.cpu_count() or 1)
        return file.tell() / MB


def seconds(line: str) -> dict[str, float]:
    """`Startup finished in 2.1s (kernel) + 1min 3.0s (userspace) = …` by its words; the sum as "total"."""
    found = {}
    for part in re.split(r"[+=]", line):
        name = re.search(r"\((\w+)\)", part)
        span = SPAN.search(part)
        if span:
            value = float(span[2]) / (1000 if span[3] == "ms" else 1)
            found[name[1] if name else "total"] = int(span[1] or 0) * 60 + value
    return found


def booted(node: Node) -> dict[str, float]:
    """Switch a machine on: seconds until it answers, and systemd's own account."""
    begun = time.monotonic()
    node.start()
    node.wait_ready(timeout_s=BOOT_TIMEOUT_S)
    ready = time.monotonic() - begun
    account, reached = node.run(["systemd-analyze", "time"]).text.splitlines()[:2]
    said = seconds(account)
    kernel = said.get("kernel", 0.0)
    after = SPAN.search(reached.partition("after")[2])
    if after is None:
        raise ValueError(f"systemd-analyze says {reached!r}")
    return {
        "kernel to multi-user": kernel + int(after[1] or 0) * 60 + float(after[2]),
        "of it kernel and initrd": kernel,
        "all jobs done, skerryd answers": said["total"],
        "power on to ready, by ssh": ready,
    }


def idle(node: Node) -> None:
    """Memory, when nothing has been asked for a while."""
    time.sleep(QUIET_S)
    meminfo = {
        name: int(value.split()[0]) * 1024 / MB
        for name, value in (line.split(":", 1) for line in node.read("/proc/meminfo").splitlines())
    }
    pid = node.run(["systemctl", "show", "--value", "-p", "MainPID", "skerryd"]).text.strip()
    status = dict(line.split(":", 1) for line in node.read(f"/proc/{pid}/status").splitlines())
    used = meminfo["MemTotal"] - meminfo["MemAvailable"]
    free = meminfo["MemTotal"] - meminfo["MemFree"] - meminfo["Buffers"] - meminfo["Cached"]
    report("memory", "MB", {"not available": [used], "neither free nor cache": [free]}, goal=160)
    resident = int(status["VmRSS"].split()[0]) * 1024 / MB
    report("memory_skerryd", "MB", {"skerryd resident": [resident]}, goal=45)


def unit_start(node: Node) -> None:
    """What Skerry adds to the start of a unit."""
    program = (PROGRAMS / "unit_start.py").read_bytes()
    argv = ["/usr/bin/python3", "-I", "-", str(UNIT_STARTS)]
    times: dict[str, Sequence[float]] = json.loads(node.run(argv, stdin=program, timeout_s=600).text)
    pairs = zip(times["skerry unit start"], times["systemctl start"], strict=True)
    report(
        "unit_start", "ms", {"added by skerry": [ours - theirs for ours, theirs in pairs], **times}, goal=50
    )


def main() -> None:
    image, store = build(), Store()
    download(image, store)
    print(f"virtual machines run on {choose().name}")
    boots: list[dict[str, float]] = []
    with Lab.create(f"bench-{os.getpid()}") as lab:
        for number in range(BOOTS):
            spec = NodeSpec(f"boot{number}")
            disk = NodeImage(store.path(image.label, "disk.raw"), None)
            node = lab.add(spec, "qemu", disk)
            boots.append(booted(node))
            if number + 1 < BOOTS:
                node.kill_power()
        report("boot", "s", {what: [boot[what] for boot in boots] for what in boots[0]}, goal=20)
        idle(node)
        if os.geteuid() == 0:
            # Emulated, a start of Python costs seconds; a container runs at the machine's speed.
            node.kill_power()
            node = lab.add(NodeSpec("starts"), "nspawn", NodeImage(None, store.path(image.label, "tree.tar")))
            node.start()
            node.wait_ready(timeout_s=60)
        unit_start(node)


if __name__ == "__main__":
    main()
