"""A power cut while units are changed loses nothing that was acknowledged."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from skerry.kit.run import environment

if TYPE_CHECKING:
    from skerry_lab.qemu import QemuNode

# Says the name of each unit once skerryd has acknowledged it.
SUBMIT = """
cd /run
for i in $(seq 1000); do
    printf '[Service]\\nExecStart=/bin/sleep %d\\n' $i > cut$i.service
    skerry unit submit ./cut$i.service > /dev/null && echo cut$i.service
done
"""
ENOUGH = 5


@pytest.mark.parametrize("round_", [1, 2])
def test_what_was_acknowledged_is_there_after_the_cut(machine: QemuNode, round_: int) -> None:
    acknowledged: list[str] = []
    argv = machine.command(["sh", "-c", SUBMIT])
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment(), text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            acknowledged.append(line.strip())
            if len(acknowledged) == ENOUGH * round_:
                machine.kill_power()
                break
        writer.kill()
    machine.start()
    machine.wait_ready(timeout_s=300)
    stored = {
        unit["name"] for unit in json.loads(machine.run(["skerry", "unit", "list-files", "--json"]).text)
    }
    assert set(acknowledged) <= stored
    assert machine.run(["systemctl", "list-units", "--failed", "--no-legend", "--plain"]).text == ""
