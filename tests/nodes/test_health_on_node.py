"""The real units of health on a booted node: what reaches boot-complete.target, and what leaves the boot.

A container has no boot loader. So that a boot is counted here, the node is given a /sys whose firmware holds
the variable that systemd-boot leaves, and an /efi with two entries; both are gone after a reboot.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import pytest

from skerry_lab.errors import NodeError
from skerry_lab.journal import Allowed

if TYPE_CHECKING:
    from skerry.kit.http import Json
    from skerry_lab.node import Node

HEALTH_D = "/etc/skerry/health.d"
STATE = "/var/lib/skerry/update/state.json"
RECORDS = "/var/lib/skerry/update/health"
VARIABLE = "LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
COUNT = f"""set -e
if [ ! -d /run/sys ]; then
    mkdir -p /run/sys
    mount -t tmpfs none /run/sys
    for directory in /sys/*; do
        name=${{directory##*/}}
        [ "$name" != firmware ] || continue
        mkdir "/run/sys/$name"
        mount --rbind "$directory" "/run/sys/$name"
    done
    mkdir -p /run/sys/firmware/efi/efivars
    mount --rbind /run/sys /sys
    mount -t tmpfs none /efi
    mkdir -p /efi/EFI/Linux
fi
cat > /sys/firmware/efi/efivars/{VARIABLE}
rm -f /efi/EFI/Linux/*
for entry; do touch "/efi/EFI/Linux/$entry"; done
"""


def version_of(node: Node) -> str:
    return node.run(["sh", "-c", ". /etc/os-release; echo $IMAGE_VERSION"]).text.strip()


def count_tries(node: Node, *others: str) -> str:
    """Have the boot counted as the first of three tries, beside other entries; its version."""
    version = version_of(node)
    entry = f"skerry_{version}+2-1.efi"
    content = b"\6\0\0\0" + f"\\EFI\\Linux\\{entry}\0".encode("utf-16-le")
    node.run(["sh", "-c", COUNT, "sh", entry, *others], stdin=content)
    state = {"step": "rebooting", "running": "1", "target": version, "previous": "1", "boot_id": "x"}
    node.put(STATE, json.dumps({**state, "format": 1}))
    return version


def wait_for_record(node: Node, boot: str) -> dict[str, Json]:
    """What was found in a boot, once it is written."""
    path = f"{RECORDS}/{boot}.json"
    script = 'for i in $(seq 300); do [ -e "$1" ] && exit 0; sleep 0.1; done; exit 1'
    node.run(["sh", "-c", script, "sh", path])
    found: dict[str, Json] = json.loads(node.read(path))
    return found


@pytest.fixture(autouse=True)
def clean(node: Node) -> None:
    node.run(["sh", "-c", f"rm -rf {HEALTH_D} /etc/skerry/health.toml {STATE}"])
    node.run(["systemctl", "stop", "skerry-health.service", "boot-complete.target"])
    node.run(["systemctl", "reset-failed"])


def test_an_ordinary_boot_is_looked_at_once_and_is_well(node: Node) -> None:
    found = wait_for_record(node, node.boot_id())
    assert (found["occasion"], found["decision"]) == ("boot", "good")
    started = node.journal("--boot", "-t", "skerry-health")
    assert [entry.message for entry in started] == [f"version {version_of(node)}, boot: good"]


def test_a_healthy_trial_reaches_the_target_that_blesses(node: Node) -> None:
    count_tries(node, "skerry_1.efi")
    node.run(["systemctl", "start", "boot-complete.target"], timeout_s=120)
    found = json.loads(node.read(f"{RECORDS}/{node.boot_id()}.json"))
    assert (found["occasion"], found["decision"]) == ("trial", "good")
    assert {result["name"] for result in found["results"]} >= {"skerryd", "podman", "units", "boot-entries"}
    assert json.loads(node.read(STATE))["step"] == "trying"


def test_what_is_only_wanted_keeps_no_boot_from_its_bless(node: Node) -> None:
    node.put(f"{HEALTH_D}/wanted.d/backup", "#!/bin/sh\necho no backup since monday\nexit 1\n", mode=0o755)
    count_tries(node, "skerry_1.efi")
    node.run(["systemctl", "start", "boot-complete.target"], timeout_s=120)
    shown = node.try_run(["skerry", "host", "health"])
    assert shown.status == 1
    assert "healthy, with remarks" in shown.text
    assert "no backup since monday" in shown.text


def test_without_another_version_a_boot_that_is_not_well_is_kept(node: Node) -> None:
    node.put(f"{HEALTH_D}/required.d/db", "#!/bin/sh\nexit 1\n", mode=0o755)
    count_tries(node)
    node.run(["systemctl", "start", "boot-complete.target"], timeout_s=120)
    assert node.journal("--boot", "-t", "skerry-health", "-n", "1")[0].message.endswith("there is no other")


def test_without_its_disks_not_even_that_is_blessed_but_it_stays_up(
    node: Node, expected_errors: list[Allowed]
) -> None:
    expected_errors += [
        Allowed("skerry-health", "^boot-entries: /efi/EFI/Linux holds no entry", "this test says so"),
        Allowed("skerry-health", "there is no other version: staying up, not blessed", "this test says so"),
        Allowed("systemd", "^Failed to start skerry-health.service", "this test says so"),
    ]
    node.put("/etc/skerry/health.toml", 'deadline = "0s"\n')
    count_tries(node)
    node.run(["sh", "-c", "rm -f /efi/EFI/Linux/*"])
    before = node.boot_id()
    assert node.try_run(["systemctl", "start", "boot-complete.target"], timeout_s=120).status != 0
    node.run(["systemctl", "start", "--wait", "skerry-fallback.service"])
    assert node.boot_id() == before


def test_a_script_that_hangs_is_ended_and_the_machine_leaves_the_version(
    node: Node, expected_errors: list[Allowed]
) -> None:
    expected_errors += [
        Allowed("skerry-health", "^required.d/hangs: did not end within 2 s", "this test says so"),
        Allowed("skerry-health", "^this boot is not good: rebooting, so that skerry_1", "this test says so"),
        Allowed("systemd", "^Failed to start skerry-health.service", "this test says so"),
    ]
    node.put(f"{HEALTH_D}/required.d/hangs", "#!/bin/sh\nsleep 1000 & sleep 1000\n", mode=0o755)
    node.put("/etc/skerry/health.toml", 'script_timeout = "2s"\n')
    version = count_tries(node, "skerry_1.efi")
    before = node.boot_id()
    try:  # the node may be gone before it can answer
        refused = node.try_run(["systemctl", "start", "boot-complete.target"], timeout_s=120).status != 0
    except NodeError:
        refused = True
    assert refused
    node.wait_ready(timeout_s=60, other_than=before)
    found = json.loads(node.read(f"{RECORDS}/{before}.json"))
    assert (found["version"], found["decision"]) == (version, "fall-back")
    assert found["reason"] == "required.d/hangs: did not end within 2 s"
    # Without a boot loader the same version came up again: uncounted it stays up, and says what is wrong.
    again = wait_for_record(node, node.boot_id())
    assert (again["occasion"], again["decision"]) == ("boot", "tolerated")


def test_a_version_whose_python_does_not_start_is_left_too(
    node: Node, expected_errors: list[Allowed]
) -> None:
    expected_errors += [
        Allowed("skerry-health", "^this boot is not good: rebooting, so that skerry_1", "this test says so"),
        Allowed("systemd", "^Failed to start skerry-health.service", "this test says so"),
    ]
    override = "/run/systemd/system/skerry-health.service.d/broken.conf"
    node.put(
        override, "[Service]\nExecStart=\nExecStart=/usr/bin/python3 -IS -c 'import nothing_of_that_name'\n"
    )
    node.run(["systemctl", "daemon-reload"])
    count_tries(node, "skerry_1.efi")
    before = node.boot_id()
    with contextlib.suppress(NodeError):
        node.try_run(["systemctl", "start", "boot-complete.target"], timeout_s=120)
    node.wait_ready(timeout_s=60, other_than=before)
    assert node.boot_id() != before
