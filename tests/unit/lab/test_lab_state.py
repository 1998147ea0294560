"""A lab takes away what it made, and nothing else."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from skerry_lab.errors import LabError
from skerry_lab.process import MARK, find, marked
from skerry_lab.state import JOURNAL, create, open_state

if TYPE_CHECKING:
    from pathlib import Path

SLEEP = ["sleep", "1000"]


def test_down_ends_the_processes_and_removes_the_directory(tmp_path: Path) -> None:
    state = create(tmp_path / "one", "one")
    process = state.spawn(SLEEP, what="sleeper", log=tmp_path / "log")
    assert process.alive()
    open_state(tmp_path / "one").undo()
    assert not process.alive()
    assert not (tmp_path / "one").exists()


def test_down_finds_what_was_started_and_never_recorded(tmp_path: Path) -> None:
    state = create(tmp_path / "one", "one")
    process = state.spawn(SLEEP, what="sleeper", log=tmp_path / "log")
    journal = tmp_path / "one" / JOURNAL
    journal.write_text(journal.read_text().splitlines(keepends=True)[0])
    assert list(marked(state.mark)) == [process]
    state.undo()
    assert not process.alive()


def test_another_process_under_a_recorded_pid_is_left_alone(tmp_path: Path) -> None:
    """What a pid means changes; the start time tells."""
    state = create(tmp_path / "one", "one")
    with subprocess.Popen(SLEEP) as other:
        found = find(other.pid)
        assert found is not None
        earlier = replace(found, start=found.start - 1)
        with (tmp_path / "one" / JOURNAL).open("a") as file:
            file.write(
                f'{{"made": "process", "pid": {earlier.pid}, "start": {earlier.start}, '
                f'"boot": "{earlier.boot}", "what": "x"}}\n'
            )
        state.undo()
        assert other.poll() is None
        other.kill()


def test_a_line_cut_off_by_a_crash_is_passed_over(tmp_path: Path) -> None:
    state = create(tmp_path / "one", "one")
    with (tmp_path / "one" / JOURNAL).open("a") as file:
        file.write('{"made": "proc')
    state.undo()
    assert not (tmp_path / "one").exists()


def test_a_second_lab_of_a_name_is_refused(tmp_path: Path) -> None:
    create(tmp_path / "one", "one")
    with pytest.raises(LabError, match="already a lab one"):
        create(tmp_path / "one", "one")


def test_a_lab_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="there is no lab two") as caught:
        open_state(tmp_path / "two")
    assert caught.value.hint == "skerry lab list shows those there are"


@pytest.mark.parametrize(
    "text", ["", "nonsense\n", '{"version": 1}\n', '{"version": 9, "name": "x", "mark": "y"}\n']
)
def test_a_journal_that_cannot_be_read_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / JOURNAL).write_text(text)
    with pytest.raises(LabError, match=r"lost its journal|another version"):
        open_state(tmp_path)


def test_a_lab_is_locked_while_it_is_changed(tmp_path: Path) -> None:
    state = create(tmp_path / "one", "one")
    with state.locked(), pytest.raises(LabError, match="being changed"), state.locked(timeout_s=0):
        pass


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    state = create(tmp_path / "one", "one")
    with pytest.raises(LabError, match="no-such-program could not be started"):
        state.spawn(["no-such-program"], what="x", log=tmp_path / "log")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_down_takes_small_disks_off(tmp_path: Path) -> None:
    state = create(tmp_path / "one", "one")
    place = tmp_path / "one" / "disk"
    place.mkdir()
    state.small_disk(place, 65536)
    with pytest.raises(OSError, match="No space left"):
        (place / "much").write_bytes(bytes(131072))
    state.undo()
    assert not (tmp_path / "one").exists()


def test_our_own_process_carries_no_mark() -> None:
    assert MARK not in os.environ
