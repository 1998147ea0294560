"""Five hundred units on one node: what skerryd takes of processor and memory while nothing happens.

On a container of the image's tree, as root. fleet's users saw 15 % of a processor for 500 idle units.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from harness import report

from skerry.image.compose.build import Store, build
from skerry_lab.lab import Lab
from skerry_lab.node import NodeImage, NodeSpec

if TYPE_CHECKING:
    from skerry_lab.node import Node

UNITS = 500
SETTLE_S = 20
REST_S = 60
MB = 1e6
UNIT = "[Service]\\nExecStart=/bin/sleep infinity\\n"


def cpu_s(node: Node, pid: str) -> float:
    fields = node.read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resting(node: Node) -> tuple[float, float]:
    """Processor, in % of one, and resident memory in MB."""
    time.sleep(SETTLE_S)
    pid = node.run(["systemctl", "show", "--value", "-p", "MainPID", "skerryd"]).text.strip()
    before, begun = cpu_s(node, pid), time.monotonic()
    time.sleep(REST_S)
    used = (cpu_s(node, pid) - before) / (time.monotonic() - begun) * 100
    status = dict(line.split(":", 1) for line in node.read(f"/proc/{pid}/status").splitlines())
    return used, int(status["VmRSS"].split()[0]) * 1024 / MB


def main() -> None:
    made = build()
    with Lab.create(f"bench-node-{os.getpid()}") as lab:
        node = lab.add(NodeSpec("many"), "nspawn", NodeImage(None, Store().path(made.label, "tree.tar")))
        node.start()
        node.wait_ready(timeout_s=60)
        empty = resting(node)
        make = f"for n in $(seq {UNITS}); do printf '{UNIT}' > u$n.service; done"
        load = f"mkdir -p /tmp/many && cd /tmp/many && {make} && skerry unit load *.service"
        node.run(["sh", "-c", load], timeout_s=600)
        loaded = resting(node)
        node.run(["sh", "-c", "skerry unit start 'u*'"], timeout_s=600)
        launched = resting(node)
        states = {f"{UNITS} units loaded": loaded, f"{UNITS} units running": launched, "no unit": empty}
        report("node_cpu", "% of one CPU", {what: [taken[0]] for what, taken in states.items()}, goal=1)
        report("node_memory", "MB", {what: [taken[1]] for what, taken in states.items()}, goal=60)


if __name__ == "__main__":
    main()
