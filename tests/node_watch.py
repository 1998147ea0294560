"""A watch over one test on one node: what the journal said meanwhile, and what is kept when it failed."""

from __future__ import annotations

import contextlib
import re
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from skerry_lab.errors import NodeError
from skerry_lab.journal import ALLOWED, Allowed, unexpected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from skerry_lab.node import Node

FAILED = pytest.StashKey[bool]()


@contextlib.contextmanager
def watch(request: pytest.FixtureRequest, node: Node, directory: Path) -> Iterator[list[Allowed]]:
    """Fail the test for errors in the journal that nothing explains; a test adds what it provokes itself."""
    cursor = _cursor(node)
    expected: list[Allowed] = []
    yield expected
    if request.node.stash.get(FAILED, False):
        keep(request.node.nodeid, node, directory)
        return
    if not node.running():
        return
    found = unexpected(node.journal(f"--after-cursor={cursor}"), (*ALLOWED[node.kind], *expected))
    if found:
        request.node.stash[FAILED] = True
        request.session.stash[FAILED] = True
        kept = keep(request.node.nodeid, node, directory)
        lines = "\n".join(f"  {entry}" for entry in found)
        pytest.fail(
            f"unexpected errors in the journal of {node.name} (kept in {kept}):\n{lines}", pytrace=False
        )


def leave(request: pytest.FixtureRequest, *nodes: Node) -> None:
    """The end of a module: its nodes are switched off, unless --sit keeps them to look at."""
    if not request.config.getoption("--sit"):
        for node in nodes:
            node.kill_power()


def fetch(node: Node, port: int, *, timeout_s: float = 60) -> str:
    """The page at a port of the node, once its server answers."""
    end = time.monotonic() + timeout_s
    while True:
        address, here = node.forward(port)
        try:
            with urllib.request.urlopen(f"http://{address}:{here}/", timeout=10) as answer:
                text: str = answer.read().decode()
                return text
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def keep(test: str, node: Node, directory: Path) -> Path:
    """Keep the node's console and journal under a name made from the test's."""
    place = directory / re.sub(r"[^A-Za-z0-9_.-]+", "-", test.removeprefix("tests/"))
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{node.name}.console.log").write_text(node.console())
    with contextlib.suppress(NodeError):
        text = node.try_run(["journalctl", "--no-pager", "--output=short-precise"]).text
        (place / f"{node.name}.journal.log").write_text(text)
    return place


def _cursor(node: Node) -> str:
    said = node.run(["journalctl", "--lines=0", "--show-cursor", "--quiet", "--no-pager"]).text
    return said.partition("cursor: ")[2].strip()
