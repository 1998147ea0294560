"""What a machine says of itself, read from files under a root."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from skerry.fleet.presence.facts import BOOT_FILE, boot_id, os_release, read_facts
from skerry.fleet.state.node import Role

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in {
        "proc/meminfo": "MemTotal:        2048 kB\nMemFree:   5 kB\n",
        "proc/sys/kernel/osrelease": "6.12.1\n",
        "etc/os-release": 'NAME="Skerry"\nVERSION_ID=2026.1.1\nIMAGE_VERSION="2026.1.2"\n# no\n',
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_what_is_said(root: Path) -> None:
    facts = read_facts(root, metadata={"disk": "ssd"}, role=Role.SERVER, addresses=["10.0.0.1"])
    assert (facts.memory_bytes, facts.kernel, facts.os_version) == (2048 * 1024, "6.12.1", "2026.1.2")
    assert (facts.metadata, facts.role, facts.addresses) == ({"disk": "ssd"}, Role.SERVER, ("10.0.0.1",))
    assert facts.cpus >= 1
    assert 0 <= facts.disk_free_bytes <= facts.disk_bytes
    assert facts.boot_id == (root / BOOT_FILE).read_text().strip()


def test_nothing_changes_by_itself(root: Path) -> None:
    before = read_facts(root, metadata={})
    (root / "some file").write_bytes(b"x" * 4096)
    assert read_facts(root, metadata={}) == before


def test_a_boot_has_one_name_until_the_next(root: Path) -> None:
    first = boot_id(root)
    assert boot_id(root) == first
    shutil.rmtree(root / "run")
    assert boot_id(root) not in ("", first)


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    facts = read_facts(tmp_path, metadata={})
    assert (facts.memory_bytes, facts.kernel, facts.os_version) == (0, "", "")
    assert os_release(tmp_path) == {}
