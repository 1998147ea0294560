"""A machine goes to the next version and back, through real boots, and takes its /etc and extensions along.

One story, in the order of its tests: BEFORE comes from the suite's release pocket, so that what is new are
real packages and a real kernel.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from skerry_lab import updates
from skerry_lab.repository import BEFORE, EXTENSION
from update_story import BLESSED, GOLDEN, STAGED, failed_units, host, reboot_to, settled, sh

if TYPE_CHECKING:
    from skerry_lab.qemu import QemuNode
    from skerry_lab.repository import LabReleases

# Its time is not that of the image, whose file it replaces: that is how a change of one's own looks.
OWN = "echo '# of our own' >> /etc/issue; echo kept > /etc/own; chmod 600 /etc/own"


@pytest.fixture(scope="module")
def story(updated: QemuNode) -> QemuNode:
    updated.restore(GOLDEN)
    updated.put("/etc/skerry/update.toml.d/99-tests.toml", f'extensions = ["{EXTENSION}"]\n')
    return updated


def test_the_plan_tells_all_and_does_nothing(story: QemuNode, releases: LabReleases) -> None:
    plan = json.loads(host(story, "upgrade", "--plan", "--json").text)
    assert plan["target"] == releases.after.version
    assert plan["obstacles"] == []
    changed = {one["name"] for one in plan["packages"]["changed"]}
    assert "linux-image-amd64" in changed
    size = releases.after.root_bytes + releases.after.uki_bytes
    assert 0 < plan["fetch"] < size / 2
    assert f"extension:{EXTENSION}" in {one["part"] for one in plan["parts"]}
    assert updates.seen(story).slot("B").version is None


def test_it_is_staged_beside_what_runs(story: QemuNode, releases: LabReleases) -> None:
    sh(story, OWN)
    done = host(story, "upgrade", "--stage")
    assert done.status == 0, done.error_text
    now = updates.seen(story)
    assert (now.step, now.target) == ("staged", releases.after.version)
    assert now.slot("B").version == releases.after.version
    assert updates.version(story) == BEFORE
    assert f"skerry_{releases.after.version}+3.efi" in sh(story, "ls /efi/EFI/Linux")
    assert sh(story, "ls /var/lib/skerry/update/blobs 2>/dev/null || true") == ""
    story.snapshot(STAGED)


def test_the_next_boot_is_the_new_version_and_is_blessed(story: QemuNode, releases: LabReleases) -> None:
    reboot_to(story, releases.after.version, "upgrade", "--reboot")
    now = settled(story, "blessed")
    assert now.slot("B").running
    assert f"skerry_{releases.after.version}.efi" in sh(story, "ls /efi/EFI/Linux").split()
    assert failed_units(story) == ""
    assert sh(story, "uname -r") == releases.after.kernel
    story.snapshot(BLESSED)


def test_the_extension_came_with_it_and_its_program_runs(story: QemuNode) -> None:
    assert sh(story, f"command -v {EXTENSION}") == f"/usr/bin/{EXTENSION}"
    assert "2 directories" in sh(story, f"mkdir -p /run/lab/twig; {EXTENSION} /run/lab")
    assert sh(story, "findmnt -n -o FSTYPE /usr") == "overlay"
    assert f"{EXTENSION} merged" in host(story, "health", "--now").text


def test_etc_came_along(story: QemuNode, releases: LabReleases) -> None:
    assert sh(story, "stat -c %a /etc/own; cat /etc/own").split() == ["600", "kept"]
    assert "# of our own" in story.read("/etc/issue")
    assert sh(story, "cat /etc/hostname") == story.name
    assert sh(story, "findmnt -n -o FSROOT /etc").endswith(f"/{releases.after.version}")


def test_rollback_brings_the_old_version_with_its_own_etc(story: QemuNode, releases: LabReleases) -> None:
    sh(story, "echo changed > /etc/own; touch /etc/after; echo data > /var/after")
    reboot_to(story, BEFORE, "rollback", "--reboot", "--reason", "it is too new")
    now = settled(story, "rolled-back")
    assert now.slot("A").running
    assert now.refused[releases.after.version].reason == "it is too new"
    assert sh(story, "cat /etc/own; test ! -e /etc/after") == "kept"
    assert sh(story, "cat /var/after") == "data"
    assert failed_units(story) == ""


def test_with_the_version_its_extension_is_gone(story: QemuNode) -> None:
    assert story.try_run([EXTENSION, "--version"]).status == 127
    assert story.try_run(["findmnt", "/usr"]).status == 1
    assert host(story, "health", "--now").status == 0


def test_what_was_left_is_not_taken_again_unless_forced(story: QemuNode, releases: LabReleases) -> None:
    again = host(story, "upgrade", "--plan", "--json")
    assert json.loads(again.text)["target"] is None
    forced = json.loads(host(story, "upgrade", "--plan", "--force", "--json").text)
    assert forced["target"] == releases.after.version
    assert forced["fetch"] == 0 or forced["fetch"] < releases.after.uki_bytes
    assert "too new" in host(story, "status").text
