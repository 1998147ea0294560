"""A build that is interrupted or killed: nothing runs on, nothing is mounted, the next one goes on."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.timeout(600)
PATIENCE_S = 10
SMALL = (
    (re.compile(r"install = \[.*?\n\]", re.DOTALL), 'install = ["busybox-static"]'),
    (re.compile(r'package = "linux-image-amd64"'), 'package = "dmsetup"'),
)


class Building:
    """A `skerry image build` in a cache of its own, followed by the events it tells."""

    def __init__(self, recipe: Path, cache: Path, scratch: Path) -> None:
        self.cache = cache
        self.scratch = scratch
        self._process = subprocess.Popen(
            [sys.executable, "-m", "skerry.entry.cli.main", "image", "build", "--json", str(recipe)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ | {"SKERRY_CACHE": str(cache), "TMPDIR": str(scratch)},
            start_new_session=True,
        )

    def until(self, words: bytes) -> None:
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            said.append(line)
            if words in line:
                return
        pytest.fail(f"never said {words!r}: {b''.join(said).decode()}")

    def until_it_runs(self, program: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while program not in {name(pid) for pid in processes(self.cache)}:
            assert time.monotonic() < deadline, f"{program} never ran"

    def end(self, number: signal.Signals) -> int:
        """Send a signal and return how it ended."""
        self._process.send_signal(number)
        with self._process:
            return self._process.wait(PATIENCE_S)

    def left(self) -> list[str]:
        """What is there apart from whole steps: half results and scratch files."""
        half = [path for path in (self.cache / "partial").iterdir() if path.suffix != ".lock"]
        return [path.name for path in (*half, *self.scratch.iterdir())]


def processes(cache: Path) -> Iterator[int]:
    """Processes that were started for a build in this cache, told by their words and their environment."""
    mark = str(cache).encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if mark in told:
                yield int(entry.name)


def name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def running_on(cache: Path) -> list[int]:
    """Those of them that do not end within a moment."""
    found = []
    for pid in processes(cache):
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        if not select.select([descriptor], [], [], PATIENCE_S)[0]:
            found.append(pid)
        os.close(descriptor)
    return found


def mounted(cache: Path) -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(cache) in line]


@pytest.fixture
def build(cache: Callable[..., Path], recipe: Callable[..., Path]) -> Iterator[Callable[[], Building]]:
    path = recipe()
    text = path.read_text()
    for pattern, small in SMALL:
        text, times = pattern.subn(small, text)
        assert times == 1
    path.write_text(text)
    directory = cache("tools")
    with tempfile.TemporaryDirectory(prefix="skerry-interrupted-") as scratch:
        yield lambda: Building(path, directory, Path(scratch))


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 130)], ids=["interrupted", "terminated"]
)
def test_a_build_that_is_asked_to_end_leaves_nothing(
    build: Callable[[], Building], number: signal.Signals, status: int
) -> None:
    building = build()
    building.until(b"installing essential packages")
    assert list(processes(building.cache)) != []
    assert building.end(number) == status
    assert running_on(building.cache) == []
    assert mounted(building.cache) == []
    assert building.left() == []
    assert [path.name.split("-")[0] for path in (building.cache / "steps").iterdir()] == ["tools"]


def test_a_build_that_is_killed_is_swept_by_the_next_which_goes_on(build: Callable[[], Building]) -> None:
    killed = build()
    killed.until(b"installing essential packages")
    assert killed.end(signal.SIGKILL) == -signal.SIGKILL
    assert running_on(killed.cache) == []
    assert mounted(killed.cache) == []
    (left,) = killed.left()
    assert left.startswith("packages-")
    (killed.cache / "partial" / left / "of-the-killed-one").touch()
    after = build()
    # With these few packages the next step cannot succeed; this one does.
    after.until(b'"step": "packages", "phase": "done"')
    after.end(signal.SIGTERM)
    (made,) = (path for path in (killed.cache / "steps").iterdir() if path.name == left)
    assert sorted(path.name for path in made.iterdir()) == ["packages.json", "packages.tar"]


def test_a_build_killed_in_the_sandbox_leaves_no_process(
    cache: Callable[..., Path], recipe: Callable[..., Path], tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    building = Building(recipe(), cache("tools", "packages"), scratch)
    building.until(b'"step": "tree", "phase": "started"')
    building.until_it_runs("bwrap")
    assert building.end(signal.SIGKILL) == -signal.SIGKILL
    assert running_on(building.cache) == []
    assert mounted(building.cache) == []
    assert list((building.cache).glob("images/*")) == []
