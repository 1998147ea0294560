"""Nodes that boot the image's tree as containers: one for each module, ready in about a second."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from cluster_story import watch_all
from node_watch import leave, watch
from skerry_lab.node import NodeSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from skerry_lab.journal import Allowed
    from skerry_lab.lab import Lab
    from skerry_lab.node import Node, NodeImage


@pytest.fixture(scope="module")
def node(request: pytest.FixtureRequest, lab: Lab, node_image: NodeImage) -> Iterator[Node]:
    """A booted node. A module may set CLOUD_CONFIG, its document."""
    if os.geteuid() != 0:
        pytest.skip("nspawn nodes need root")
    if shutil.which("systemd-nspawn") is None:
        pytest.skip("systemd-nspawn is not installed (package systemd-container)")
    name = request.module.__name__.rpartition(".")[2].removeprefix("test_").replace("_", "-")[:40]
    document = getattr(request.module, "CLOUD_CONFIG", "")
    made = lab.add(NodeSpec(name, document), "nspawn", node_image)
    made.start()
    made.wait_ready(timeout_s=60)
    yield made
    leave(request, made)


@pytest.fixture(autouse=True)
def expected_errors(request: pytest.FixtureRequest, logs_directory: Path) -> Iterator[list[Allowed]]:
    """Watches the journal, of all nodes where the module has a cluster; a test adds to this list the errors
    that it provokes."""
    if "cluster" in request.fixturenames:
        watching = watch_all(request, request.getfixturevalue("cluster"), logs_directory)
    else:
        watching = watch(request, request.getfixturevalue("node"), logs_directory)
    with watching as expected:
        yield expected
