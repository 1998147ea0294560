"""A boot after an update merges /etc before anything reads it, and later boots leave it alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry_lab.qemu import QemuNode

BOOT_S = 300
# What staging leaves, for the version that runs: it "comes" from 1.0.0, whose /etc is the machine's own.
STAGE = """
set -eu
version=$(sed -n 's/^IMAGE_VERSION=//p' /usr/lib/os-release)
cd /var/lib/skerry/etc
useradd --create-home tester
sed -i '1i # mine' /etc/services
rm /etc/motd
cp -a "$version" 1.0.0
cp -a "$version.defaults" 1.0.0.defaults
sed -i '$d' 1.0.0/services 1.0.0.defaults/services
echo old > 1.0.0.defaults/issue
echo mine > 1.0.0/issue
echo '{"format": 1, "from": "1.0.0", "policy": "mine", "provisioned": []}' > "$version.plan"
sync
"""


def sh(machine: QemuNode, script: str) -> str:
    return machine.run(["sh", "-c", script]).text.strip()


def reboot(machine: QemuNode) -> None:
    machine.stop()
    machine.start()
    machine.wait_ready(timeout_s=BOOT_S)


def test_the_boot_after_an_update_merges_etc(machine: QemuNode) -> None:
    before = sh(machine, "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub")
    sh(machine, STAGE)
    reboot(machine)
    assert sh(machine, "ls /var/lib/skerry/etc | grep -c -e plan -e new -e old || true") == "0"
    assert sh(machine, "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub") == before
    assert sh(machine, "id -un tester; head -n1 /etc/services; cat /etc/issue").splitlines() == [
        "tester", "# mine", "mine"
    ]  # fmt: skip
    assert "from 1.0.0" in sh(machine, "dmesg | grep skerry-etc")
    shown = json.loads(sh(machine, "skerry etc show --json"))
    assert [one["path"] for one in shown["open"]] == ["issue"]
    results = {one["path"]: one["result"] for one in shown["report"]["changes"]}
    assert (results["services"], results["motd"], results["issue"]) == ("merged", "deleted", "conflict")
    sh(machine, "skerry etc merge /etc/issue --take theirs && skerry etc reset /etc/motd")
    reboot(machine)
    assert sh(machine, "skerry etc diff | awk '{print $1}' | grep -e issue -e motd || true") == ""
    assert sh(machine, "systemctl list-units --failed --no-legend --plain") == ""
