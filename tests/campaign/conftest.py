"""One upgrade, recorded write by write, for the tests of power cuts.

test_machines.py is a story of its own, so long that it has to be asked for.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from skerry_lab import campaign
from skerry_lab.repository import LabReleases, make_releases

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from skerry_lab.campaign import Recording
    from skerry_lab.lab import Lab

collect_ignore = [] if os.environ.get("SKERRY_MACHINES") else ["test_machines.py"]
PROGRAMS = {"qemu-system-x86_64": "qemu-system-x86", "e2fsck": "e2fsprogs", "debugfs": "e2fsprogs"}


@pytest.fixture(scope="session")
def releases() -> LabReleases:
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (package {package})")
    return make_releases()


@pytest.fixture(scope="session")
def recording(
    lab: Lab, releases: LabReleases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Recording]:
    """The upgrade, from a machine that is off to one that has blessed the new version and is off again."""
    directory = tmp_path_factory.mktemp("recording")
    yield campaign.record(lab, releases, directory)
    shutil.rmtree(directory)


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """For disks, which are large."""
    yield tmp_path
    shutil.rmtree(tmp_path)
