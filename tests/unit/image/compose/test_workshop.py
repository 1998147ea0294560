"""Steps' results: whole or not at all, made once, by one builder at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING

import pytest

from skerry.image.compose.errors import NoSpaceError
from skerry.image.compose.workshop import Workshop, identity
from skerry.kit.progress import Phase, Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Told:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.events: list[Progress] = []

    def __call__(self, event: Progress) -> None:
        self.events.append(event)

    @property
    def phases(self) -> list[Phase]:
        return [event.phase for event in self.events]


def writes(text: str) -> Callable[[Path], str]:
    def produce(directory: Path) -> str:
        (directory / "result").write_text(text)
        return "a note"

    return produce


def never(_: Path) -> None:
    pytest.fail("made again")


def left(cache: Path) -> list[str]:
    """What is in the cache, but for locks."""
    return sorted(path.name for path in cache.rglob("*") if path.suffix != ".lock")


def test_a_result_is_made_once(tmp_path: Path) -> None:
    told = Told()
    first = Workshop(tmp_path, told).make("tree", "1234", writes("x"))
    again = Workshop(tmp_path, told).make("tree", "1234", never)
    assert (first, (first / "result").read_text()) == (again, "x")
    assert told.phases == [Phase.STARTED, Phase.DONE, Phase.REUSED]
    assert told.events[1].note == "a note"


def test_what_was_given_decides(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, silent)
    one, other = workshop.make("tree", "1", writes("x")), workshop.make("tree", "2", writes("y"))
    assert [(path / "result").read_text() for path in (one, other)] == ["x", "y"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_nothing_and_can_be_tried_again(tmp_path: Path, error: type[BaseException]) -> None:
    workshop = Workshop(tmp_path, silent)

    def fails(directory: Path) -> None:
        writes("half")(directory)
        raise error

    with pytest.raises(error):
        workshop.make("tree", "1", fails)
    assert left(tmp_path) == ["partial", "steps"]
    assert (workshop.make("tree", "1", writes("whole")) / "result").read_text() == "whole"


def test_the_second_builder_waits_and_reuses(tmp_path: Path) -> None:
    making, go_on, told = threading.Event(), threading.Event(), Told()

    def slowly(directory: Path) -> str:
        making.set()
        assert go_on.wait(20)
        return writes("first")(directory)

    first = threading.Thread(target=Workshop(tmp_path, silent).make, args=("tree", "1", slowly))
    first.start()
    assert making.wait(20)
    second = threading.Thread(target=Workshop(tmp_path, told).make, args=("tree", "1", never))
    second.start()
    go_on.set()
    first.join(20)
    second.join(20)
    assert told.phases == [Phase.REUSED]


def test_what_another_is_making_is_not_swept(tmp_path: Path) -> None:
    def sweeps_meanwhile(directory: Path) -> str:
        Workshop(tmp_path, silent)
        return writes("x")(directory)

    assert (Workshop(tmp_path, silent).make("tree", "1", sweeps_meanwhile) / "result").exists()


KILLED = textwrap.dedent(
    """
    import pathlib, signal, sys
    from skerry.image.compose.workshop import Workshop
    def produce(directory):
        (directory / "half").write_text("half")
        print("half", flush=True)
        signal.pause()
    Workshop(pathlib.Path(sys.argv[1]), lambda event: None).make("tree", "1", produce)
    """
)


def test_what_a_killed_builder_left_is_swept(tmp_path: Path) -> None:
    builder = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
    with builder:
        assert builder.stdout is not None
        assert builder.stdout.readline() == b"half\n"
        builder.send_signal(signal.SIGKILL)
    assert left(tmp_path) == ["half", "partial", "steps", "tree-1"]
    Workshop(tmp_path, silent)
    assert left(tmp_path) == ["partial", "steps"]


def test_a_result_never_holds_what_a_killed_builder_left(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, silent)
    (tmp_path / "partial" / "tree-1").mkdir()
    (tmp_path / "partial" / "tree-1" / "half").touch()
    assert [path.name for path in workshop.make("tree", "1", writes("x")).iterdir()] == ["result"]


def test_no_room_says_how_much_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoSpaceError, match=r"the tree needs \d+ MiB and .* has \d+ MiB free") as refused:
        Workshop(tmp_path, silent).room(1 << 62, "the tree")
    assert "SKERRY_CACHE" in (refused.value.hint or "")


def test_room_enough_is_no_error(tmp_path: Path) -> None:
    Workshop(tmp_path, silent).room(1, "a byte")


def test_prune_drops_what_nobody_used(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, silent)
    old, new = workshop.make("tree", "1", writes("12345")), workshop.make("tree", "2", writes("x"))
    os.utime(old, (time.time() - 10 * 86400,) * 2)
    assert workshop.prune(5) == 5
    assert (old.exists(), new.exists()) == (False, True)


def test_reuse_counts_as_use(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, silent)
    old = workshop.make("tree", "1", writes("x"))
    os.utime(old, (0, 0))
    workshop.make("tree", "1", never)
    assert workshop.prune(5) == 0


# --- identity


def test_identity_is_of_content_not_of_time(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    before = identity(tmp_path, [1, "two"])
    os.utime(tmp_path / "a", (0, 0))
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("y")
    assert identity(tmp_path, [1, "two"]) == before


def _content(path: Path) -> None:
    (path / "a").write_text("changed")


def _name(path: Path) -> None:
    (path / "a").rename(path / "b")


def _mode(path: Path) -> None:
    (path / "a").chmod(0o755)


def _link(path: Path) -> None:
    (path / "link").unlink()
    (path / "link").symlink_to("b")


@pytest.mark.parametrize("change", [_content, _name, _mode, _link])
def test_identity_sees_a_change(tmp_path: Path, change: Callable[[Path], None]) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "a").chmod(0o644)
    (tmp_path / "link").symlink_to("a")
    before = identity(tmp_path)
    change(tmp_path)
    assert identity(tmp_path) != before


def test_identity_tells_where_one_value_ends() -> None:
    assert identity("ab", "c") != identity("a", "bc")
