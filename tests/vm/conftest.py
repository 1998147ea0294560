"""Virtual machines that boot the very disk.

One is booted once and kept as a snapshot, from which tests start.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from node_watch import FAILED, keep, watch
from skerry_lab import updates
from skerry_lab.errors import NodeError
from skerry_lab.node import NodeImage, NodeSpec
from skerry_lab.qemu import QemuNode
from skerry_lab.repository import VARIANTS, make_releases, serve
from update_story import BLESSED, GOLDEN, STAGED, at_rest, reboot_to, settled, stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from skerry_lab.journal import Allowed
    from skerry_lab.lab import Lab
    from skerry_lab.node import Node
    from skerry_lab.repository import LabReleases

BOOT_TIMEOUT_S = 300


@pytest.fixture(scope="session")
def make_machine(lab: Lab, node_image: NodeImage) -> Callable[[NodeSpec], QemuNode]:
    """Makes a machine of one's own, switched off."""
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("QEMU is not installed (package qemu-system-x86)")

    def make(spec: NodeSpec) -> QemuNode:
        made = lab.add(spec, "qemu", node_image)
        assert isinstance(made, QemuNode)
        return made

    return make


@pytest.fixture(scope="session")
def golden(make_machine: Callable[[NodeSpec], QemuNode], logs_directory: Path) -> Iterator[QemuNode]:
    """The machine that was booted once, with an empty document."""
    made = make_machine(NodeSpec("golden"))
    made.start()
    try:
        made.wait_ready(timeout_s=BOOT_TIMEOUT_S)
        at_rest(made)
    except Exception:
        keep("vm/golden", made, logs_directory)
        raise
    made.snapshot(GOLDEN)
    yield made
    made.kill_power()


@pytest.fixture
def machine(golden: QemuNode) -> QemuNode:
    """That machine, as it was right after its first boot."""
    golden.restore(GOLDEN)
    return golden


@pytest.fixture(scope="session")
def releases(make_machine: Callable[[NodeSpec], QemuNode]) -> LabReleases:
    """The lab's own releases, all of the bad ones too."""
    return make_releases(bad=tuple(variant.channel for variant in VARIANTS))


@pytest.fixture(scope="session")
def updated(lab: Lab, releases: LabReleases, logs_directory: Path) -> Iterator[QemuNode]:
    """A machine that booted the version before, and may be updated; kept as a snapshot."""
    port = serve(lab.state, releases)
    spec = NodeSpec("updated", updates.settings(port), disk="4G")
    made = lab.add(spec, "qemu", NodeImage(releases.disk, None))
    assert isinstance(made, QemuNode)
    made.start()
    try:
        made.wait_ready(timeout_s=BOOT_TIMEOUT_S)
        at_rest(made)
    except Exception:
        keep("vm/updated", made, logs_directory)
        raise
    made.snapshot(GOLDEN)
    yield made
    made.kill_power()


@pytest.fixture
def staged(updated: QemuNode) -> QemuNode:
    """That machine where it would boot the new version next, with the extension where the story was told."""
    if not _restored(updated, STAGED):
        updated.restore(GOLDEN)
        stage(updated, "stable")
        updated.snapshot(STAGED)
    return updated


@pytest.fixture
def blessed(updated: QemuNode, releases: LabReleases) -> QemuNode:
    """That machine when it has just come to the new version and keeps it."""
    if not _restored(updated, BLESSED):
        updated.restore(GOLDEN)
        stage(updated, "stable")
        reboot_to(updated, releases.after.version)
        settled(updated, "blessed")
        updated.snapshot(BLESSED)
    return updated


def _restored(node: QemuNode, snapshot: str) -> bool:
    """Whether there was such a snapshot: the story that leaves it may not have been told."""
    try:
        node.restore(snapshot)
    except NodeError:
        node.kill_power()
        return False
    return True


@pytest.fixture(autouse=True)
def kept_logs(request: pytest.FixtureRequest, logs_directory: Path) -> Iterator[None]:
    """Of a test with `updated` that failed, keep the console and the journal."""
    yield
    if "updated" in request.fixturenames and request.node.stash.get(FAILED, False):
        node: Node = request.getfixturevalue("updated")
        keep(request.node.nodeid, node, logs_directory)


@pytest.fixture(autouse=True)
def expected_errors(request: pytest.FixtureRequest, logs_directory: Path) -> Iterator[list[Allowed]]:
    """Watches the journal of `machine` where the test uses it; a test adds the errors that it provokes."""
    if "machine" not in request.fixturenames:
        yield []
        return
    node: Node = request.getfixturevalue("machine")
    with watch(request, node, logs_directory) as expected:
        yield expected
